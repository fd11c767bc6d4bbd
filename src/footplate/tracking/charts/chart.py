"""What a chart shows, without a word about how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Chart", "Heatmap", "Histogram", "LineChart", "Mark", "Series"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind, in the order in which a line joins them."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    is_line: bool = True
    """False: points that are not joined."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something that happened at one place of the x axis."""

    x: float
    text: str
    word: str = ""
    """What is written beside it."""


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Some series over one pair of axes. Values that are not finite interrupt a line."""

    title: str
    x_label: str
    series: Sequence[Series]
    y_label: str = ""
    log_y: bool = False
    """Values of 0 and below are left out then."""
    with_diagonal: bool = False
    """Draws the line on which y is x: what chance, or perfection, would give."""
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often values lie in each of equal intervals between ``low`` and ``high``."""

    title: str
    x_label: str
    low: float
    high: float
    counts: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """A table of counts; each row is shaded by its share of the row."""

    title: str
    x_label: str
    y_label: str
    names: Sequence[str]
    values: Sequence[Sequence[float]]


Chart = LineChart | Histogram | Heatmap
