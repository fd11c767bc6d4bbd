"""exit.rankR.json: what each process of a training says about its end; launchers make 1 of every exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from footplate.errors import RecordError
from footplate.record import exit_codes
from footplate.record.files import read_json, write_json
from footplate.record.rundir import Attempt

__all__ = ["RankExit", "choose_exit", "read_exits", "write_exit"]

_WEIGHTIEST = (exit_codes.CONFIG_ERROR, exit_codes.OUT_OF_MEMORY)


@dataclass(frozen=True, kw_only=True)
class RankExit:
    """How one process has ended."""

    rank: int
    exit_code: int
    reason: str = ""
    """In words: an exception, or why it stopped early."""
    step: int | None = None
    """Optimiser steps done."""
    written_ns: int = 0
    """When it was written, in nanoseconds since 1970."""


def write_exit(attempt: Attempt, rank: int, exit_code: int, *, reason: str = "", step: int | None = None) -> None:
    """Write how a process ends, in one step; RecordError when that fails."""
    write_json(attempt.path / f"exit.rank{rank}.json", {"exit_code": exit_code, "reason": reason, "step": step})


def read_exits(attempt: Attempt) -> list[RankExit]:
    """Return what the processes have left, by rank; a file that cannot be read says nothing."""
    found = []
    for path in attempt.path.glob("exit.rank*.json"):
        try:
            rank = int(path.name.removeprefix("exit.rank").removesuffix(".json"))
            value = read_json(path)
            step = value.get("step")
            found.append(
                RankExit(
                    rank=rank,
                    exit_code=int(value["exit_code"]),
                    reason=str(value.get("reason") or ""),
                    step=None if step is None else int(step),
                    written_ns=path.stat().st_mtime_ns,
                )
            )
        except (RecordError, OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return sorted(found, key=lambda one: one.rank)


def choose_exit(exits: Sequence[RankExit]) -> RankExit | None:
    """Return the end that tells why the others ended; None when none of them failed or stopped early.

    A mistake in the configuration and a lack of memory tell most. Between the others the first one to end does: when
    one fails, the launcher asks the rest to stop, and they save a checkpoint; when all were asked to stop, one may
    fail because another has left.
    """
    ends = [one for one in exits if one.exit_code != exit_codes.DONE]
    for code in _WEIGHTIEST:
        if same := [one for one in ends if one.exit_code == code]:
            return min(same, key=lambda one: one.rank)
    return min(ends, key=lambda one: (one.written_ns, one.rank), default=None)
