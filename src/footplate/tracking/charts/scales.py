"""Axes: from values to places, ticks that people read easily, and fewer points with the same look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Scale", "format_tick", "make_scale", "thin_out"]

_MAX_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values to places on a line from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def takes(self, value: float) -> bool:
        """Tell whether a value can be drawn."""
        return math.isfinite(value) and (value > 0 or not self.is_log)


def make_scale(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    num_ticks: int = 5,
    is_log: bool = False,
    is_tight: bool = True,
) -> Scale:
    """Return a scale for values, with at least two ticks; ``is_tight``: it ends with them, not at ticks beyond."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)]
    low, high = (min(finite), max(finite)) if finite else (1.0, 10.0) if is_log else (0.0, 1.0)
    if is_log:
        lowest = math.floor(math.log10(low))
        highest = max(math.ceil(math.log10(high)), lowest + 1)
        ticks = [10.0**power for power in range(lowest, highest + 1, max(1, math.ceil((highest - lowest) / num_ticks)))]
        return Scale(low=10.0**lowest, high=10.0**highest, start=start, end=end, ticks=ticks, is_log=True)
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = _choose_step((high - low) / num_ticks)
    if not is_tight:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first = math.ceil(low / step - 1e-9)
    ticks = [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return Scale(low=low, high=high, start=start, end=end, ticks=ticks)


def _choose_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10 … times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def format_tick(value: float) -> str:
    """Return a number as it stands at an axis: ``12k``, ``0.25``, ``1e-5``."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit and size < 1e13:
            return f"{value / limit:.4g}{letter}"
    if size and size < 1e-3:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def thin_out(x: Sequence[float], y: Sequence[float], most: int = _MAX_POINTS) -> tuple[list[float], list[float]]:
    """Return fewer points with the same look: of each stretch the lowest and the highest, and both ends."""
    if len(x) <= most:
        return list(x), list(y)
    stretches = most // 2 - 1
    kept = {0, len(x) - 1}
    for index in range(stretches):
        start, end = index * len(x) // stretches, (index + 1) * len(x) // stretches
        finite = [at for at in range(start, end) if math.isfinite(y[at])] or [start]
        kept |= {min(finite, key=lambda at: y[at]), max(finite, key=lambda at: y[at])}
    order = sorted(kept)
    return [x[at] for at in order], [y[at] for at in order]
