"""The page as markdown; charts lie beside it as SVG, where they are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from footplate.tracking.charts.chart import Chart
from footplate.tracking.report.blocks import Block, Code, Figures, Heading, Items, Table, Text

__all__ = ["name_chart", "render_markdown"]


def render_markdown(blocks: Iterable[Block], place_chart: Callable[[Chart], str] | None = None) -> str:
    """Return the page; ``place_chart`` puts a chart somewhere and returns its address, without it there are none."""
    parts: list[list[str]] = []
    for block in blocks:
        lines = _render(block, place_chart)
        if lines:
            parts.append(lines)
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def name_chart(chart: Chart, number: int) -> str:
    """Return a file name for a chart."""
    words = re.sub(r"[^a-z0-9]+", "-", chart.title.lower()).strip("-")
    return f"{number:02}-{words[:40] or 'chart'}.svg"


def _render(block: Block, place_chart: Callable[[Chart], str] | None) -> list[str]:
    if isinstance(block, Heading):
        return [f"{'#' * block.level} {block.text}"]
    if isinstance(block, Text):
        return block.text.split("\n")
    if isinstance(block, Items):
        return [f"- {item}" for item in block.items]
    if isinstance(block, Table):
        return _render_table(block)
    if isinstance(block, Code):
        return [f"```{block.language}", *block.text.split("\n"), "```"]
    return _place(block, place_chart)


def _place(figures: Figures, place_chart: Callable[[Chart], str] | None) -> list[str]:
    return [f"![{chart.title}]({place_chart(chart)})" for chart in figures.charts] if place_chart else []


def _render_table(table: Table) -> list[str]:
    lines: list[Sequence[str]] = [table.head, ["---"] * len(table.head), *table.rows]
    return ["| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines]


def _escape(cell: str) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")
