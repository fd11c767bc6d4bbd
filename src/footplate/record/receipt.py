"""receipt.json: what the wrapper saw of one attempt. Only the wrapper writes it."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from footplate.errors import RecordError
from footplate.record.cause import Cause
from footplate.record.clock import get_utc_text
from footplate.record.files import read_json, write_json
from footplate.record.process import find_start_time, get_boot_id, get_host
from footplate.record.rundir import Attempt, RunDir

__all__ = ["Receipt", "find_receipt", "make_attempt", "make_receipt", "write_receipt"]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Who runs an attempt, where, since when, and how it ended. Times are ISO 8601, UTC."""

    run_id: str
    attempt: int
    host: str
    boot_id: str = ""
    """Changes when the machine is started again: the PIDs of a receipt mean nothing after that."""
    wrapper_pid: int
    wrapper_start: float
    """The start time of the process as the system counts it; with the PID it names one process for ever."""
    pid: int | None = None
    """The job's, None until it is started."""
    pid_start: float | None = None
    started_at: str
    starts_at: str | None = None
    """While the attempt waits: when its job is started."""
    heartbeat_at: str
    ended_at: str | None = None
    exit_code: int | None = None
    """The job's own; 128 + n when signal n killed it."""
    signal: str | None = None
    """The signal that killed the job, such as ``SIGKILL``."""
    cause: Cause | None = None
    cancelled: bool = False
    evidence: str = ""
    """How the cause was found, in words."""
    last_checkpoint: str | None = None
    """Name of the newest checkpoint below ``checkpoints`` that is whole, such as ``step-00001000``."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Receipt:
        """Read it back; keys of a later version are ignored. Raises ValueError or TypeError when it is not one."""
        known = {field.name for field in dataclasses.fields(cls)}
        fields = {key: item for key, item in value.items() if key in known}
        fields["cause"] = Cause(fields["cause"]) if fields.get("cause") else None
        return cls(**fields)


def make_receipt(run: RunDir, number: int) -> Receipt:
    """Return the first receipt of an attempt: this process is at it."""
    now, pid = get_utc_text(), os.getpid()
    return Receipt(
        run_id=run.id,
        attempt=number,
        host=get_host(),
        boot_id=get_boot_id(),
        wrapper_pid=pid,
        wrapper_start=find_start_time(pid) or 0.0,
        started_at=now,
        heartbeat_at=now,
    )


def write_receipt(attempt: Attempt, receipt: Receipt) -> None:
    """Write the receipt in one step; RecordError when that fails."""
    write_json(attempt.receipt_path, receipt.to_json())


def find_receipt(attempt: Attempt) -> Receipt | None:
    """Return the attempt's receipt, or None when there is none yet; RecordError when it is damaged."""
    if not attempt.receipt_path.exists():
        return None
    value = read_json(attempt.receipt_path)
    try:
        return Receipt.from_json(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordError(f"{attempt.receipt_path}: not a receipt: {error}") from error


def make_attempt(run: RunDir, receipt: Receipt) -> Attempt | None:
    """Make the attempt that a receipt names, receipt included, in one step; None when another process has made it.

    Of two processes that go on with a run at the same time only one gets the attempt. RecordError when it cannot be
    made.
    """
    attempt = run.get_attempt(receipt.attempt)
    half_made = Attempt(number=attempt.number, path=attempt.path.with_name(f".{attempt.number}.{secrets.token_hex(4)}"))
    try:
        half_made.path.mkdir(parents=True)
        write_receipt(half_made, receipt)
        os.rename(half_made.path, attempt.path)  # fails when there is one with anything in it
    except OSError as error:
        shutil.rmtree(half_made.path, ignore_errors=True)
        if attempt.receipt_path.exists():
            return None
        raise RecordError(f"{attempt.path}: cannot be made: {error.strerror}") from error
    return attempt
