"""Draws charts as SVG: a few kilobytes each, in the colours of the page they stand in, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from footplate.tracking.charts.chart import Chart
from footplate.tracking.charts.draw import HEIGHT, WIDTH, Anchor, draw

__all__ = ["COLOURS", "DASHES", "STYLE", "render_svg"]

COLOURS = (
    ("#0072b2", "#5ab4f0"),
    ("#d55e00", "#ff9b57"),
    ("#009e73", "#4cd6ae"),
    ("#a44a86", "#ea9bd0"),
    ("#8a6d00", "#e6c229"),
    ("#4a5fc1", "#9fb0ff"),
    ("#7a3b10", "#d6a077"),
    ("#555555", "#bbbbbb"),
)
"""Of the series, on a light and on a dark ground: Okabe and Ito's, whom red-green blindness does not confuse, darkened
or lightened for contrast."""
DASHES = ("", "6 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2", "1 4", "8 2 2 2 2 2")
"""Of the series, so that colour is never alone."""

_LIGHT = "--ink:#1d2733;--soft:#5b6875;--grid:#dde3e9;--mark:#8a8f98;" + "".join(
    f"--c{number}:{light};" for number, (light, _) in enumerate(COLOURS)
)
_DARK = "--ink:#e6ebf0;--soft:#a5b0bb;--grid:#39424d;--mark:#8f98a3;" + "".join(
    f"--c{number}:{dark};" for number, (_, dark) in enumerate(COLOURS)
)
STYLE = (
    f":root{{{_LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    "svg.chart{width:100%;height:auto;font-family:system-ui,sans-serif}"
    "svg.chart text{fill:var(--soft);font-size:11px}svg.chart .title{fill:var(--ink);font-size:13px;font-weight:600}"
    "svg.chart .onDark{fill:#fff}"
    "svg.chart polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    "svg.chart .axis{stroke:var(--soft);stroke-width:1}svg.chart .grid{stroke:var(--grid);stroke-width:1}"
    "svg.chart .mark{stroke:var(--mark);stroke-width:1.2;stroke-dasharray:3 3}"
    "svg.chart .diagonal{stroke:var(--mark);stroke-width:1;stroke-dasharray:5 4}"
    "svg.chart .bar,svg.chart .cell{fill:var(--c0)}"
    + "".join(
        f"svg.chart polyline.s{number}{{stroke:var(--c{number});stroke-dasharray:{dash or 'none'}}}"
        f"svg.chart circle.s{number}{{fill:var(--c{number});fill-opacity:.6}}"
        for number, dash in enumerate(DASHES)
    )
)
"""CSS of all charts of a page."""


def render_svg(chart: Chart, *, with_style: bool = False) -> str:
    """Return a chart as SVG; ``with_style`` makes it a file of its own."""
    canvas = _SvgCanvas()
    draw(chart, canvas)
    head = f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img"'
    style = f"<style>{STYLE}</style>" if with_style else ""
    return f'{head} aria-label="{escape(chart.title)}">{style}{"".join(canvas.parts)}</svg>'


class _SvgCanvas:
    """Collects the elements."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def line(self, points: Sequence[tuple[float, float]], style: str, told: str = "") -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(_close("polyline", f'class="{style}" points="{places}"', told))

    def dot(self, x: float, y: float, style: str, told: str = "") -> None:
        self.parts.append(_close("circle", f'class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"', told))

    def box(self, place: tuple[float, float, float, float], style: str, shade: float, told: str = "") -> None:
        x, y, width, height = place
        opacity = f' fill-opacity="{max(shade, 0.04):.2f}"' if style == "cell" else ""
        at = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0):.1f}"'
        self.parts.append(_close("rect", f'class="{style}" {at}{opacity}', told))

    def text(self, x: float, y: float, words: str, style: str, anchor: Anchor = "start") -> None:
        place = f'class="{style}" x="{x:.1f}" y="{y:.1f}"'
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(f"<text {place}{at}>{escape(words)}</text>")


def _close(name: str, attributes: str, told: str) -> str:
    return f"<{name} {attributes}><title>{escape(told)}</title></{name}>" if told else f"<{name} {attributes}/>"
