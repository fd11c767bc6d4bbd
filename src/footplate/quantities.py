"""Writes counts, sizes and times as people read them."""

from __future__ import annotations

__all__ = ["format_count", "format_duration", "format_size"]


def format_count(number: float, word: str, words: str = "") -> str:
    """Return a count with its word: ``1 step``, ``1,540 steps``, ``1.39 epochs``, ``2 classes``."""
    shown = f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"
    return f"{shown} {word if number == 1 else words or word + 's'}"


def format_size(num_bytes: float) -> str:
    """Return a size to three digits in the unit that suits it: ``304 kB``, ``1.66 MB``, ``25.3 GB`` (1 kB = 1000 B)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(num_bytes) < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"


def format_duration(seconds: float) -> str:
    """Return a time in words: ``4.2 ms``, ``12.3 s``, ``3 min 20 s``, ``11 h 40 min``, ``9 days 4 h``."""
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 59.5:
        return f"{seconds:.3g} s"
    if seconds < 3599.5:
        return _join_units(round(seconds), 60, "min", "s")
    if seconds < 48 * 3600:
        return _join_units(round(seconds / 60), 60, "h", "min")
    return _join_units(round(seconds / 3600), 24, "days", "h")


def _join_units(count: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(count, size)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
