"""What a page is made of, before it is HTML, markdown or PDF.

Texts may hold ``**bold**`` and `` `code` `` and nothing else that means something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from footplate.tracking.charts.chart import Chart

__all__ = ["Block", "Code", "Figures", "Heading", "Items", "Table", "Text"]


@dataclass(frozen=True)
class Heading:
    """A title: of the page, or of a section."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; lines stay lines where the format has them."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_drawn: bool = False
    """Whether a chart shows the same: it is left out where there are charts."""


@dataclass(frozen=True)
class Code:
    """Text as it is, with its spaces."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Figures:
    """Charts, side by side where there is room."""

    charts: Sequence[Chart]


Block = Heading | Text | Items | Table | Code | Figures
