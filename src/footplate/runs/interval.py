"""How often to save a checkpoint, from what it costs and how often a training is interrupted; pure arithmetic."""

from __future__ import annotations

import math

__all__ = ["MAX_OVERHEAD", "get_checkpoint_interval"]

MAX_OVERHEAD = 0.02
"""Share of the time that checkpoints may take at most."""


def get_checkpoint_interval(cost_s: float, mean_time_between_failures_s: float) -> float:
    """Return the time between two checkpoints, in seconds, that loses least, after Young (1974) and Daly (2006).

    Saving often costs time, saving seldom loses work at each failure. It never takes more than 2 % of the time,
    however often there are failures.
    """
    mean = mean_time_between_failures_s
    if cost_s <= 0 or mean <= 0:
        return 0.0
    if cost_s >= 2 * mean:
        return max(mean, cost_s / MAX_OVERHEAD)
    ratio = cost_s / (2 * mean)
    best = math.sqrt(2 * cost_s * mean) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s
    return max(best, cost_s / MAX_OVERHEAD)
