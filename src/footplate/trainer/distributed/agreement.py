"""What all processes must decide alike: whether to stop, and what goes by a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed as dist

from footplate.trainer.distributed.world import World
from footplate.trainer.schedule import IsDue

__all__ = ["Agreement"]

_STOPS = ("", "preempted", "interrupted")
"""Why someone asks to stop, the graver last."""
_VOTE_EVERY_S = 0.05


class Agreement:
    """Lets the processes learn of a request after the same step, without waiting for one another.

    A signal reaches the processes at different steps. Each one starts a vote in one step and reads it in a later one:
    the largest word of all counts, and all read the same one. A vote is started at most every 0.05 s of steps
    (``set_step_s``). Alone nothing is asked.
    """

    def __init__(self, world: World, find_stop: Callable[[], str]) -> None:
        self._world = world
        self._find_stop = find_stop
        self._stop = ""
        self._clocks: list[Callable[[], bool]] = []
        self._due: list[bool] = []
        self._vote: tuple[Any, torch.Tensor] | None = None
        self._interval = 1
        self._asked = 0

    def find_stop(self) -> str:
        """Return why someone asks to stop, the same in all processes, which must ask equally often."""
        if self._world.size == 1:
            return self._find_stop()
        self._asked += 1
        if not self._stop and self._asked >= self._interval:
            self._asked = 0
            self._read()
            self._start()
        return self._stop

    def by_first(self, is_due: IsDue) -> IsDue:
        """Return what says in all processes after the same step what a clock of the first one has said.

        It is asked after ``find_stop``; what the clock says counts once.
        """
        if self._world.size == 1:
            return is_due
        number = len(self._clocks)
        self._clocks.append(lambda: False)
        self._due.append(False)

        def is_due_for_all(progress: Any) -> bool:
            self._clocks[number] = lambda: is_due(progress)
            due, self._due[number] = self._due[number], False
            return due

        return is_due_for_all

    def set_step_s(self, seconds: float) -> None:
        """Adapt how often is voted to the time of a step; all must give the same."""
        self._interval = max(1, min(1000, int(_VOTE_EVERY_S / max(seconds, 1e-6))))

    def close(self) -> None:
        """Read what was started last, so that nothing is on its way when the processes part."""
        self._read()

    def _start(self) -> None:
        words = [_STOPS.index(self._find_stop())]
        # What is due in this step is not due again: its clock starts anew when it has been done.
        clocks = zip(self._clocks, self._due, strict=True)
        words += [int(self._world.is_first and not is_due and clock()) for clock, is_due in clocks]
        vote = torch.tensor(words, dtype=torch.int32)
        work = dist.all_reduce(vote, dist.ReduceOp.MAX, group=self._world.group, async_op=True)
        self._vote = work, vote

    def _read(self) -> None:
        if self._vote is None:
            return
        work, vote = self._vote
        self._vote = None
        work.wait()
        self._stop = _STOPS[int(vote[0])]
        self._due = [before or bool(word) for before, word in zip(self._due, vote[1:].tolist(), strict=True)]
