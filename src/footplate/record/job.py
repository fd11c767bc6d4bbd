"""job.json: what the wrapper is to start, and what is to become of it when it ends early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footplate.errors import RecordError
from footplate.record.files import read_json, write_json
from footplate.record.restart import RestartPolicy
from footplate.record.rundir import Attempt

__all__ = ["Job", "copy_job", "move_sidecars"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command of one attempt."""

    argv: list[str]
    cwd: str
    sidecars: list[list[str]]
    """Commands that run beside it and are ended with it."""
    prelude: list[str]
    """Command that prints, as JSON, what is added to the environment; none when empty. The job starts without it when
    it fails or takes longer than ``prelude_limit_s``."""
    prelude_limit_s: float
    shipper: list[str]
    """Command that tells trackers what is recorded, beside the job and beyond its end; none when empty."""
    ship_grace_s: float
    """How long it may take, after the attempt has ended, to tell what is left; the rest is told by a later sync."""
    redact: Mapping[str, Any]
    """What personal data in its output are found by, before it reaches the log; empty: it stays as it is."""
    heartbeat_s: float
    stop_grace_s: float
    """How long it may take to end after it was asked to."""
    ignores_preemption: bool
    """Whether it starts with SIGUSR1 ignored: a launcher then lives on while its workers save a checkpoint."""
    num_processes: int
    """Processes that each leave a word about their end; fewer words than processes: one has died."""
    restart: RestartPolicy | None
    """None: it is never started again."""

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read a job.json; RecordError when it is not one."""
        value: Mapping[str, Any] = read_json(path)
        try:
            restart = value.get("restart")
            return cls(
                argv=[str(word) for word in value["argv"]],
                cwd=str(value["cwd"]),
                sidecars=[[str(word) for word in sidecar] for sidecar in value.get("sidecars", [])],
                prelude=[str(word) for word in value.get("prelude", [])],
                prelude_limit_s=float(value.get("prelude_limit_s", 15.0)),
                shipper=[str(word) for word in value.get("shipper", [])],
                ship_grace_s=float(value.get("ship_grace_s", 18.0)),
                redact=dict(value.get("redact") or {}),
                heartbeat_s=float(value.get("heartbeat_s", 5.0)),
                stop_grace_s=float(value.get("stop_grace_s", 30.0)),
                ignores_preemption=bool(value.get("ignores_preemption", False)),
                num_processes=int(value.get("num_processes", 1)),
                restart=None if restart is None else RestartPolicy.from_json(restart),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{path}: not a job: {error!r}") from error


def copy_job(source: Attempt, target: Attempt) -> None:
    """Write the job of an attempt as that of a later one: sidecars write to the new place, resume arguments are added.

    RecordError when it cannot be read or written.
    """
    value = read_json(source.job_path)
    value["sidecars"] = move_sidecars(value.get("sidecars", []), source, target)
    more = [str(word) for word in value.get("resume_args", ())]
    if more and value["argv"][-len(more) :] != more:
        value["argv"] = [*value["argv"], *more]
    write_json(target.job_path, value)


def move_sidecars(sidecars: Sequence[Sequence[str]], source: Attempt, target: Attempt) -> list[list[str]]:
    """Return the sidecars' commands of an attempt with the place of another one."""
    old, new = str(source.path), str(target.path)
    return [[new if word == old else word for word in argv] for argv in sidecars]
