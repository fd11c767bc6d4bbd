"""receipt.json: what the wrapper saw of one attempt. Only the wrapper writes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from footplate.errors import RecordError
from footplate.record.cause import Cause
from footplate.record.files import read_json, write_json
from footplate.record.rundir import Attempt

__all__ = ["Receipt", "find_receipt", "write_receipt"]


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
