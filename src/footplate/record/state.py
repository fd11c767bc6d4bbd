"""The state of a run, from its receipt, its processes and its heartbeat; each answer comes with its evidence."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from footplate.errors import RecordError
from footplate.record import exit_codes
from footplate.record.cause import Cause
from footplate.record.clock import parse_utc
from footplate.record.journal_reader import read_last_events
from footplate.record.process import find_by_variable, get_boot_id, get_host, is_alive
from footplate.record.receipt import Receipt, find_receipt
from footplate.record.rundir import Attempt, RunDir

__all__ = ["MAX_HANDOVER_S", "Cause", "RunState", "Status", "get_status"]

_MAX_SILENCE_S = 60.0
MAX_HANDOVER_S = 10.0
"""From the end of the process that launches an attempt, which may be killed, to the wrapper's first receipt."""


class RunState(StrEnum):
    """Where a run stands."""

    queued = "queued"
    starting = "starting"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    lost = "lost"
    """It did not end and nothing of it is left."""
    unknown = "unknown"
    """What can be seen from here does not tell."""

    @property
    def is_final(self) -> bool:
        """Tell whether the run has ended."""
        return self in {RunState.succeeded, RunState.failed, RunState.cancelled, RunState.lost}


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a run's last attempt and how it is known. Times are ISO 8601, UTC."""

    state: RunState
    cause: Cause | None = None
    evidence: tuple[str, ...] = ()
    attempt: int = 0
    """Zero when there was none."""
    exit_code: int | None = None
    signal: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    heartbeat_at: str | None = None
    last_seen_at: str | None = None
    """The last sign of life of a run that is over although its end was not recorded."""
    orphan_pid: int | None = None
    """The process that goes on although its wrapper is gone: its end will not be recorded."""
    host: str = ""
    last_checkpoint: str | None = None
    """Name of the newest whole checkpoint."""


def get_status(run: RunDir, *, now: datetime | None = None) -> Status:
    """Return the state of a run as its record and this machine show it."""
    attempts = run.attempts()
    if not attempts:
        if not run.path.exists():
            return Status(state=RunState.lost, evidence=(f"its directory is gone: {run.path}",))
        return Status(state=RunState.queued, evidence=("no attempt yet",))
    attempt = attempts[-1]
    try:
        receipt = find_receipt(attempt)
    except RecordError as error:
        return Status(state=RunState.unknown, evidence=(str(error),), attempt=attempt.number)
    if receipt is None:
        return Status(state=RunState.queued, evidence=("no receipt yet",), attempt=attempt.number)
    if receipt.ended_at is not None:
        return _make_status(receipt, _get_final_state(receipt), receipt.evidence)
    if receipt.host == get_host():
        status = _look_here(attempt, receipt, now or datetime.now(UTC))
        if status.state.is_final and status.ended_at is None:
            return replace(status, last_seen_at=_find_last_sign(attempt, receipt))
        return status
    return _look_from_afar(receipt, now or datetime.now(UTC))


def _get_final_state(receipt: Receipt) -> RunState:
    if receipt.cancelled:
        return RunState.cancelled
    if receipt.cause is Cause.preempted and receipt.exit_code == exit_codes.CHECKPOINTED:
        return RunState.queued
    return RunState.succeeded if receipt.exit_code == exit_codes.DONE else RunState.failed


def _look_here(attempt: Attempt, receipt: Receipt, now: datetime) -> Status:
    """Decide by the processes of this machine."""
    boot_id = get_boot_id()
    restarted = bool(receipt.boot_id and boot_id and receipt.boot_id != boot_id)
    if not restarted and is_alive(receipt.wrapper_pid, receipt.wrapper_start):
        if receipt.starts_at is not None:
            return _make_status(receipt, RunState.queued, _describe_start(receipt), receipt.evidence)
        if receipt.pid is None:
            return _make_status(receipt, RunState.starting, f"process {receipt.wrapper_pid} is starting it")
        if receipt.exit_code is not None:
            ended = "the command has ended; its artifacts are being listed"
            return _make_status(receipt, RunState.running, receipt.evidence, ended)
        return _make_status(receipt, RunState.running, f"process {receipt.pid} under wrapper {receipt.wrapper_pid}")
    if not restarted and is_alive(receipt.pid, receipt.pid_start):
        gone = f"its wrapper {receipt.wrapper_pid} is gone"
        return _make_orphan_status(receipt, receipt.pid, gone)
    reason = f"{receipt.host} was restarted" if restarted else f"its processes on {receipt.host} are gone"
    # The wrapper may have written the end between the two looks.
    latest = find_receipt(attempt)
    if latest is not None and latest.ended_at is not None:
        return _make_status(latest, _get_final_state(latest), latest.evidence)
    if latest is not None and latest.exit_code is not None:
        killed = "its wrapper was killed before it had listed the artifacts"
        return _make_status(latest, _get_final_state(latest), latest.evidence, killed)
    if any(entry.data.get("name") == "finish" for entry in read_last_events(attempt)):
        said = "the journal says that the training finished"
        return _make_status(receipt, RunState.succeeded, said, f"no end in the receipt: {reason}")
    if latest is not None and latest.starts_at is not None:
        what = f"attempt {latest.attempt} was to start at {_get_local_time(latest.starts_at)}"
        return _make_status(latest, RunState.lost, f"{what}, and {reason}", latest.evidence)
    if latest is not None and latest.pid is None and (early := _find_early_state(attempt, latest, now)):
        return early
    return _make_status(receipt, RunState.lost, f"no end in the receipt, and {reason}")


def _describe_start(receipt: Receipt) -> str:
    return f"attempt {receipt.attempt} starts at {_get_local_time(receipt.starts_at or '')}"


def _get_local_time(moment: str) -> str:
    return parse_utc(moment).astimezone().strftime("%H:%M:%S")


def _find_early_state(attempt: Attempt, receipt: Receipt, now: datetime) -> Status | None:
    """Return the state between the launch and the receipt that names the command; None when nobody is at it."""
    pid = find_by_variable("FOOTPLATE_RUN_ID", receipt.run_id)
    if pid is not None:
        return _make_orphan_status(receipt, pid, "its wrapper was killed when it had just started it")
    try:
        since_s = now.timestamp() - attempt.job_path.stat().st_mtime
    except OSError:
        return None
    if since_s > MAX_HANDOVER_S:
        return None
    return _make_status(receipt, RunState.starting, "what launched it is gone; its wrapper may be starting")


def _make_orphan_status(receipt: Receipt, pid: int | None, reason: str) -> Status:
    said = f"{reason}: its end will not be recorded; stop it with: kill {pid}"
    return replace(_make_status(receipt, RunState.running, f"process {pid} is alive", said), orphan_pid=pid)


def _find_last_sign(attempt: Attempt, receipt: Receipt) -> str:
    """Return when the run was last seen alive: its heartbeat, or what it wrote later to its log or journal."""
    times = [parse_utc(receipt.heartbeat_at)]
    for path in (*attempt.path.glob("log.*.txt"), *attempt.path.glob("journal.rank*.jsonl")):
        with suppress(OSError):  # the run may be removed meanwhile
            times.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    return max(times).isoformat()


def _look_from_afar(receipt: Receipt, now: datetime) -> Status:
    silence_s = (now - parse_utc(receipt.heartbeat_at)).total_seconds()
    said = f"heartbeat from {receipt.host} {max(silence_s, 0.0):,.0f} s ago"
    if silence_s < _MAX_SILENCE_S:
        if receipt.starts_at is not None:
            return _make_status(receipt, RunState.queued, _describe_start(receipt), receipt.evidence, said)
        state = RunState.running if receipt.pid is not None else RunState.starting
        return _make_status(receipt, state, said)
    if receipt.exit_code is not None:
        return _make_status(receipt, _get_final_state(receipt), receipt.evidence, said)
    return _make_status(
        receipt, RunState.unknown, said, f"the limit is {_MAX_SILENCE_S:.0f} s, and {receipt.host} cannot be seen here"
    )


def _make_status(receipt: Receipt, state: RunState, *evidence: str) -> Status:
    return Status(
        state=state,
        cause=receipt.cause,
        evidence=tuple(text for text in evidence if text),
        attempt=receipt.attempt,
        exit_code=receipt.exit_code,
        signal=receipt.signal,
        started_at=receipt.started_at,
        ended_at=receipt.ended_at,
        heartbeat_at=receipt.heartbeat_at,
        host=receipt.host,
        last_checkpoint=receipt.last_checkpoint,
    )
