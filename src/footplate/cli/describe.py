"""What verbs say about a run: as lines for a reader, as JSON for a program, as an exit code."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from footplate.cli.output import (
    EXIT_CHECKPOINTED,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    format_fact,
    format_path,
)
from footplate.cli.trackers import TRACKER, describe_trackers
from footplate.errors import FootplateError
from footplate.quantities import format_count, format_duration, format_size
from footplate.record.artifacts import is_half_written
from footplate.record.journal_reader import read_journal
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, Status
from footplate.runs.sync import list_trackers

__all__ = [
    "count_artifacts",
    "describe_end",
    "describe_seconds",
    "find_result",
    "format_command",
    "get_exit_code",
    "get_seconds",
    "read_last_metrics",
    "run_to_json",
]

_TAIL_BYTES = 262_144  # the last values of all metrics stand in the last lines


def get_exit_code(status: Status) -> int:
    """Return what the command line ends with after a run."""
    if status.state is RunState.succeeded:
        return EXIT_OK
    if status.state is RunState.cancelled:
        return EXIT_INTERRUPTED
    return EXIT_CHECKPOINTED if status.exit_code == EXIT_CHECKPOINTED else EXIT_FAILED


def get_seconds(status: Status) -> float | None:
    """Return how long the last attempt took, or takes so far; None when it was never started."""
    if status.started_at is None:
        return None
    start = datetime.fromisoformat(status.started_at)
    last = status.ended_at
    if last is None and status.state.is_final:
        last = status.last_seen_at or status.heartbeat_at  # its end is not recorded
    seconds = ((datetime.fromisoformat(last) if last else datetime.now(UTC)) - start).total_seconds()
    return max(seconds, 0.0)  # a clock that was set back meanwhile


def describe_seconds(status: Status) -> str:
    """Return how long the last attempt took in words, ``at least`` so long when its end is not recorded."""
    seconds = get_seconds(status)
    if seconds is None:
        return ""
    words = format_duration(seconds)
    if status.ended_at:
        return words
    return f"at least {words}" if status.state.is_final else f"{words} so far"


def describe_end(run: RunDir, status: Status) -> list[str]:
    """Return the lines that are shown when a run has ended: state, cause, artifacts, what to do next."""
    if not status.state.is_final and status.ended_at is None:
        return _describe_going_on(run, status)
    code = f" (exit code {status.exit_code})" if status.exit_code else ""
    words = describe_seconds(status)
    lines = [f"{run.id} {status.state}{code}" + (f" after {words}" if words else "")]
    if status.state is not RunState.succeeded:
        cause = f"{status.cause}: " if status.cause else ""
        lines.append(format_fact("why", f"{cause}{'; '.join(status.evidence)}"))
    num_files, num_bytes = count_artifacts(run)
    if num_files:
        text = f"{format_count(num_files, 'file')}, {format_size(num_bytes)} in {format_path(run.artifacts)}"
        lines.append(format_fact("artifacts", text))
    lines += [format_fact(TRACKER, text) for text in describe_trackers(run)]
    if run.path.exists():
        again = "rerun" if status.state is RunState.succeeded else "resume"
        lines.append(format_fact("next", f"footplate logs {run.id} · footplate {again} {run.id}"))
    return lines


def _describe_going_on(run: RunDir, status: Status) -> list[str]:
    """Return the lines about a run that is left although it has not ended."""
    if status.orphan_pid is None:
        lines = [f"{run.id} {status.state}", format_fact("why", "; ".join(status.evidence))]
    else:
        lines = [
            f"{run.id} goes on without its wrapper: its end will not be recorded",
            format_fact("stop it", f"kill {status.orphan_pid}"),
        ]
    return [*lines, format_fact("next", f"footplate logs -f {run.id} · footplate status {run.id}")]


def run_to_json(run: RunDir, status: Status) -> dict[str, object]:
    """Return a run as the JSON that verbs print; the keys are stable."""
    value: dict[str, object] = {"run_id": run.id, "state": status.state.value, "run_dir": str(run.path)}
    try:
        info = read_run_info(run)
    except FootplateError as error:
        value["damaged"] = error.message
    else:
        value |= {
            "name": info.name,
            "kind": info.kind,
            "experiment": info.experiment,
            "parent": info.parent,
            "command": list(info.argv),
            "cwd": info.cwd,
            "created_at": info.created_at,
        }
    num_files, num_bytes = count_artifacts(run)
    return value | {
        "cause": status.cause.value if status.cause else None,
        "evidence": list(status.evidence),
        "exit_code": status.exit_code,
        "signal": status.signal,
        "attempt": status.attempt,
        "last_checkpoint": status.last_checkpoint,
        "host": status.host,
        "started_at": status.started_at,
        "ended_at": status.ended_at,
        "heartbeat_at": status.heartbeat_at,
        "last_seen_at": status.last_seen_at,
        "orphan_pid": status.orphan_pid,
        "duration_s": get_seconds(status),
        "artifacts": {"files": num_files, "bytes": num_bytes},
        "metrics": dict(find_result(run)),
        "trackers": [asdict(one) for one in list_trackers(run)],
    }


def count_artifacts(run: RunDir) -> tuple[int, int]:
    """Return number and bytes of the files that a run has made so far."""
    num_files = num_bytes = 0
    for folder, _, names in os.walk(run.artifacts):
        for name in names:
            if is_half_written(name):
                continue
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue  # a job's temporary file, gone since it was listed
            if stat.S_ISREG(status.st_mode):  # what artifacts.json lists at the end
                num_files, num_bytes = num_files + 1, num_bytes + status.st_size
    return num_files, num_bytes


def find_result(run: RunDir) -> Mapping[str, float]:
    """Return the final metrics of a run; none when it has written no result."""
    try:
        result = run.find_json("result.json")
    except FootplateError:
        return {}
    metrics = result.get("metrics") if isinstance(result, dict) else None
    return metrics if isinstance(metrics, dict) else {}


def read_last_metrics(run: RunDir) -> dict[str, tuple[int, float]]:
    """Return the last step and value of each metric in the journals of the last two attempts, by name."""
    last: dict[str, tuple[int, float]] = {}
    for attempt in run.attempts()[-2:]:  # the newest one may not have begun to tell
        for path in attempt.journals():
            for entry in read_journal(path, max(0, path.stat().st_size - _TAIL_BYTES)):
                if entry.kind == "metrics":
                    last |= {name: (entry.data["step"], value) for name, value in entry.data["values"].items()}
    return dict(sorted(last.items()))


def format_command(argv: tuple[str, ...]) -> str:
    """Return a command as one could type it."""
    return shlex.join(argv)
