"""Lays a chart out and draws it on a canvas; the same lines and letters whatever the canvas makes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal, Protocol

from footplate.tracking.charts.chart import Chart, Heatmap, Histogram, LineChart, Series
from footplate.tracking.charts.scales import Scale, format_tick, make_scale, thin_out

__all__ = ["HEIGHT", "MAX_SERIES", "WIDTH", "Anchor", "Canvas", "draw"]

WIDTH = 480.0
"""Of every chart, in units of its own."""
HEIGHT = 270.0
"""Of every chart, in the same units."""
MAX_SERIES = 8
"""Colours and dashes that can be told apart; further series are drawn like the first ones."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 12.0, 44.0, 40.0
_LEGEND_GAP = 14.0
_LETTER = 5.6
"""Width of a letter of the small text, about."""
_MAX_DOTS = 1000
_MAX_NAME = 12

Anchor = Literal["start", "middle", "end"]


class Canvas(Protocol):
    """What a chart is drawn on: a plane of WIDTH × HEIGHT, the origin in its top left corner.

    ``style`` is a name: ``axis``, ``grid``, ``mark``, ``diagonal``, ``bar``, ``cell``, ``title``, ``label``, ``small``,
    or ``s0`` … for the series.
    """

    def line(self, points: Sequence[tuple[float, float]], style: str, told: str = "") -> None:
        """Draw a line through points; ``told`` is said when somebody points at it."""
        ...

    def dot(self, x: float, y: float, style: str, told: str = "") -> None:
        """Draw a small dot."""
        ...

    def box(self, place: tuple[float, float, float, float], style: str, shade: float, told: str = "") -> None:
        """Fill a rectangle (x, y, width, height); ``shade`` from 0 (nothing) to 1."""
        ...

    def text(self, x: float, y: float, words: str, style: str, anchor: Anchor = "start") -> None:
        """Write a line of text on its base line."""
        ...


def draw(chart: Chart, canvas: Canvas) -> None:
    """Draw a chart."""
    canvas.text(_LEFT - 44, 16, chart.title, "title")
    if isinstance(chart, LineChart):
        _draw_lines(chart, canvas)
    elif isinstance(chart, Histogram):
        _draw_histogram(chart, canvas)
    else:
        _draw_heatmap(chart, canvas)


def _draw_lines(chart: LineChart, canvas: Canvas) -> None:
    xs = [value for series in chart.series for value in series.x]
    ys = [value for series in chart.series for value in series.y]
    if chart.with_diagonal:
        ys = [*ys, *((min(xs), max(xs)) if xs else ())]
    x_scale = make_scale(xs, _LEFT, WIDTH - _RIGHT)
    y_scale = make_scale(ys, HEIGHT - _BOTTOM, _TOP, is_log=chart.log_y, is_tight=False)
    _draw_axes(canvas, x_scale, y_scale, chart.x_label, chart.y_label)
    if chart.with_diagonal:
        ends = (x_scale.low, x_scale.high)
        canvas.line([(x_scale.place(at), y_scale.place(at)) for at in ends], "diagonal")
    for mark in chart.marks:
        if x_scale.low <= mark.x <= x_scale.high:
            x = x_scale.place(mark.x)
            canvas.line([(x, HEIGHT - _BOTTOM), (x, _TOP)], "mark", mark.text)
            is_late = x > (_LEFT + WIDTH) / 2
            canvas.text(x - 3 if is_late else x + 3, _TOP + 9, mark.word, "small", "end" if is_late else "start")
    for number, series in enumerate(chart.series):
        _draw_series(canvas, series, f"s{number % MAX_SERIES}", x_scale, y_scale)
    _draw_legend(canvas, chart.series)


def _draw_axes(canvas: Canvas, x_scale: Scale, y_scale: Scale, x_label: str, y_label: str) -> None:
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    for tick in y_scale.ticks:
        y = y_scale.place(tick)
        canvas.line([(left, y), (right, y)], "grid")
        canvas.text(left - 5, y + 3.5, format_tick(tick), "small", "end")
    for tick in x_scale.ticks:
        x = x_scale.place(tick)
        canvas.line([(x, bottom), (x, bottom + 4)], "axis")
        canvas.text(x, bottom + 15, format_tick(tick), "small", "middle")
    canvas.line([(left, top), (left, bottom), (right, bottom)], "axis")
    canvas.text((left + right) / 2, HEIGHT - 8, x_label, "label", "middle")
    if y_label:
        canvas.text(right, 16, f"↑ {y_label}", "small", "end")  # beside the title: above the axis the legend stands


def _draw_series(canvas: Canvas, series: Series, style: str, x_scale: Scale, y_scale: Scale) -> None:
    told = _describe(series)
    if not series.is_line:
        step = max(1, -(-len(series.x) // _MAX_DOTS))
        for x, y in list(zip(series.x, series.y, strict=True))[::step]:
            if x_scale.takes(x) and y_scale.takes(y):
                canvas.dot(x_scale.place(x), y_scale.place(y), style)
        return
    points = zip(*thin_out(series.x, series.y), strict=True)
    for is_drawn, part in groupby(points, lambda point: y_scale.takes(point[1])):
        places = [(x_scale.place(x), y_scale.place(y)) for x, y in part] if is_drawn else []
        if len(places) == 1:
            canvas.dot(*places[0], style, told)
        elif places:
            canvas.line(places, style, told)


def _describe(series: Series) -> str:
    if not series.y:
        return series.name
    ends = f"first {format_tick(series.y[0])}, last {format_tick(series.y[-1])}"
    return f"{series.name}: {ends}, lowest {format_tick(min(series.y))}, highest {format_tick(max(series.y))}"


def _draw_legend(canvas: Canvas, series: Sequence[Series]) -> None:
    if len(series) < 2:
        return
    x, y = _LEFT, 31.0
    for number, one in enumerate(series[:MAX_SERIES]):
        width = 20 + len(one.name) * _LETTER + _LEGEND_GAP
        if x + width > WIDTH and number:
            canvas.text(x, y, f"and {len(series) - number} more", "small")
            return
        style = f"s{number}"
        if one.is_line:
            canvas.line([(x, y - 3.5), (x + 16, y - 3.5)], style)
        else:
            canvas.dot(x + 8, y - 3.5, style)
        canvas.text(x + 20, y, one.name, "small")
        x += width


def _draw_histogram(chart: Histogram, canvas: Canvas) -> None:
    x_scale = make_scale((chart.low, chart.high), _LEFT, WIDTH - _RIGHT)
    y_scale = make_scale((0.0, *chart.counts), HEIGHT - _BOTTOM, _TOP, is_tight=False)
    _draw_axes(canvas, x_scale, y_scale, chart.x_label, "how many")
    width = (x_scale.high - x_scale.low) / max(1, len(chart.counts))
    for index, count in enumerate(chart.counts):
        start = x_scale.low + index * width
        left, right, top = x_scale.place(start), x_scale.place(start + width), y_scale.place(count)
        told = f"{format_tick(start)} to {format_tick(start + width)}: {format_tick(count)}"
        canvas.box((left, top, max(0.5, right - left - 1), HEIGHT - _BOTTOM - top), "bar", 1.0, told)


def _draw_heatmap(chart: Heatmap, canvas: Canvas) -> None:
    num, longest = len(chart.names), max((len(name) for name in chart.names), default=1)
    left = 24 + min(longest, _MAX_NAME) * _LETTER + 12
    top, size = 44.0, min((WIDTH - left - _RIGHT), 1e9) / max(1, num)
    height = (HEIGHT - top - 24) / max(1, num)
    with_numbers = size >= 16 and height >= 11
    for row, line in enumerate(chart.values):
        total = sum(line) or 1
        y = top + row * height
        if height >= 8:
            canvas.text(left - 5, y + height / 2 + 3.5, _cut(chart.names[row]), "small", "end")
        for column, count in enumerate(line):
            x = left + column * size
            told = f"{chart.names[row]} taken for {chart.names[column]}: {count:g} of {total:g}"
            canvas.box((x + 0.5, y + 0.5, size - 1, height - 1), "cell", count / total, told)
            if count and with_numbers:
                style = "onDark" if count / total > 0.5 else "small"
                canvas.text(x + size / 2, y + height / 2 + 3.5, format_tick(count), style, "middle")
    for column, name in enumerate(chart.names):
        if size >= min(len(name), 4) * _LETTER:
            canvas.text(left + (column + 0.5) * size, top - 5, _cut(name, int(size / _LETTER)), "small", "middle")
    canvas.text(left + num * size / 2, HEIGHT - 8, f"{chart.x_label} →", "label", "middle")
    canvas.text(6, 34, f"{chart.y_label} ↓", "label")


def _cut(name: str, most: int = _MAX_NAME) -> str:
    return name if len(name) <= most else f"{name[: max(1, most - 1)]}…"
