"""Numbers and times as a page shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

__all__ = ["draw_curve", "format_value", "show_clock", "show_time", "to_seconds"]

_BARS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 32


def draw_curve(values: Sequence[float], width: int = _CURVE_WIDTH) -> str:
    """Return the course of a metric as one line of bars; × stands for what is not finite."""
    if len(values) > width:
        edges = [round(index * len(values) / width) for index in range(width + 1)]
        values = [_mean(values[start:end]) for start, end in pairwise(edges)]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "×" * len(values)
    low, span = min(finite), max(finite) - min(finite)
    return "".join(
        _BARS[round((value - low) / span * (len(_BARS) - 1)) if span else 0] if math.isfinite(value) else "×"
        for value in values
    )


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def format_value(value: object) -> str:
    """Return a metric's value with the digits that matter: ``0.9889``, ``12,345``, ``3.2e-05``, ``NaN``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    text = f"{value:.4g}"
    return f"{value:.6g}" if float(text).is_integer() else text  # 0.99997 is not 1


def to_seconds(text: str) -> float:
    """Return a time in ISO 8601 as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def show_time(text: str) -> str:
    """Return a time in ISO 8601 as people read it; nothing for nothing."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def show_clock(time: float) -> str:
    """Return seconds since 1970 as a time of day."""
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")
