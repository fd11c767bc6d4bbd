"""The page on which runs are compared: what differs, and their curves over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from footplate.errors import RecordError
from footplate.profile.metrics import get_rank
from footplate.record.journal_reader import Point
from footplate.runs.compare import Comparison
from footplate.tracking.charts.chart import LineChart, Series
from footplate.tracking.report.blocks import Block, Figures, Heading, Table, Text
from footplate.tracking.report.html import render_page
from footplate.tracking.report.values import format_value

__all__ = ["render_comparison", "write_page"]

_MAX_CHARTS = 12
_LEFT_OUT = ("rank", "checkpoint/", "grad_norm/", "weight_rms/", "update_ratio/", "system/")
_TITLES = (
    ("result", "Result"),
    ("profile", "Profile"),
    ("code", "Code"),
    ("data", "Data"),
    ("environment", "Environment"),
)


def write_page(comparison: Comparison, path: Path) -> Path:
    """Write the page and return its path; RecordError when it cannot be written."""
    try:
        path.write_text(render_comparison(comparison), encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be written: {error.strerror}", hint="choose another place: -o FILE"
        ) from error
    return path


def render_comparison(comparison: Comparison) -> str:
    """Return the page as HTML that needs nothing else."""
    blocks: list[Block] = [Heading("Comparison", level=1), Text(" · ".join(comparison.ids))]
    charts = _draw_curves(comparison)
    if charts:
        blocks += [Heading("Curves"), Figures(charts)]
    for section, title in _TITLES:
        found = [one for one in comparison.differences if one.section == section]
        if found:
            rows = [
                (one.name, *(_show(value, is_best=index == one.best) for index, value in enumerate(one.values)))
                for one in found
            ]
            blocks += [Heading(title), Table(("", *comparison.ids), rows)]
    same = [f"{title.lower()} {comparison.num_equal[key]}" for key, title in _TITLES if comparison.num_equal.get(key)]
    blocks.append(Text(f"The same in all: {', '.join(same) or 'nothing'} (values)."))
    return render_page(f"{len(comparison.ids)} runs compared", blocks, foot="The best value of a metric is bold.")


def _draw_curves(comparison: Comparison) -> list[LineChart]:
    names = {
        name
        for summary in comparison.summaries
        for name, points in summary.series.items()
        if len(points) > 1 and not name.startswith(_LEFT_OUT)
    }
    order = sorted(
        names, key=lambda name: (not name.endswith("/loss"), name.startswith("train/"), get_rank(name), name)
    )
    return [_draw(comparison, name) for name in order[:_MAX_CHARTS]]


def _draw(comparison: Comparison, name: str) -> LineChart:
    series = [
        Series(name=summary.run.id, x=[point.step for point in points], y=[point.value for point in points])
        for summary in comparison.summaries
        if (points := _get(summary.series.get(name)))
    ]
    return LineChart(title=name, x_label="step", series=series)


def _get(points: Sequence[Point] | None) -> Sequence[Point]:
    return points or ()


def _show(value: Any, *, is_best: bool) -> str:
    text = "" if value is None else format_value(value)
    return f"**{text}**" if is_best else text
