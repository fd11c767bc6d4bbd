"""When the model is evaluated while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from footplate.profile.model import Profile
from footplate.trainer.progress import Progress

__all__ = ["IsDue", "Timer", "make_is_due", "make_timer"]

IsDue = Callable[[Progress], bool]


class Timer:
    """Is due whenever its time has passed since it was due last."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last = time.monotonic()

    def __call__(self, _: Progress) -> bool:
        if time.monotonic() - self._last < self._interval_s:
            return False
        self._last = time.monotonic()
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the time that has passed: a clock of another process tells nothing."""
        return {"wall_s": time.monotonic() - self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken."""
        self._last = time.monotonic() - float(state["wall_s"])


def make_is_due(
    profile: Profile,
    evaluation_interval: int | None,
    by_first: Callable[[IsDue], IsDue] = lambda is_due: is_due,
    timer: Timer | None = None,
) -> IsDue:
    """Return what says after a step whether an evaluation is due: by steps, by time, or at the end of each epoch.

    ``by_first`` makes a clock that all processes go by of the first one's; ``timer`` is that clock where it is given.
    """
    strategy = profile.validation.strategy
    if strategy == "time_interval":
        return by_first(timer or make_timer(profile))
    if strategy != "epoch_end" and profile.training.eval_frequency is not None and evaluation_interval is not None:
        return lambda progress: progress.step % evaluation_interval == 0
    return lambda progress: progress.position == 0


def make_timer(profile: Profile) -> Timer:
    """Return the clock of evaluations by time."""
    return Timer(profile.validation.interval or 600.0)
