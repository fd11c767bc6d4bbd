"""When the model is evaluated while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable

from footplate.profile.model import Profile
from footplate.trainer.progress import Progress

__all__ = ["IsDue", "make_is_due"]

IsDue = Callable[[Progress], bool]


def make_is_due(
    profile: Profile, evaluation_interval: int | None, by_first: Callable[[IsDue], IsDue] = lambda is_due: is_due
) -> IsDue:
    """Return what says after a step whether an evaluation is due: by steps, by time, or at the end of each epoch.

    ``by_first`` makes a clock that all processes go by of the first one's.
    """
    strategy = profile.validation.strategy
    if strategy == "time_interval":
        return by_first(_make_timer(profile.validation.interval or 600.0))
    if strategy != "epoch_end" and profile.training.eval_frequency is not None and evaluation_interval is not None:
        return lambda progress: progress.step % evaluation_interval == 0
    return lambda progress: progress.position == 0


def _make_timer(interval_s: float) -> IsDue:
    last = time.monotonic()

    def is_due(_: Progress) -> bool:
        nonlocal last
        if time.monotonic() - last < interval_s:
            return False
        last = time.monotonic()
        return True

    return is_due
