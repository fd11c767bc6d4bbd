"""Charts: ticks people read, fewer points with the same look, and drawings that say what they show."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footplate.tracking.charts.chart import Chart, Heatmap, Histogram, LineChart, Mark, Series
from footplate.tracking.charts.draw import HEIGHT, WIDTH
from footplate.tracking.charts.scales import format_tick, make_scale, thin_out
from footplate.tracking.charts.svg import COLOURS, DASHES, render_svg

NAME = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.0, 1.0), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((3.0, 3.0), [2.8, 3, 3.2]),
        ((0.0, 4700.0), [0, 1000, 2000, 3000, 4000]),
        ((-0.3, 0.2), [-0.3, -0.2, -0.1, 0, 0.1, 0.2]),
        ((), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((math.nan, math.inf, 5.0, 10.0), [5, 6, 7, 8, 9, 10]),
    ],
)
def test_ticks_are_round_numbers(values: tuple[float, ...], ticks: list[float]) -> None:
    assert list(make_scale(values, 0, 100).ticks) == pytest.approx(ticks)


def test_a_logarithmic_axis_has_powers_of_ten_and_takes_no_zero() -> None:
    scale = make_scale((0.0, 0.02, 30.0), 0, 100, is_log=True)
    assert list(scale.ticks) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert scale.place(1.0) == pytest.approx(50)
    assert not scale.takes(0.0)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=30), st.booleans())
def test_a_scale_is_made_of_whatever_values_there_are(values: list[float], is_log: bool) -> None:
    scale = make_scale(values, 0, 100, is_log=is_log, is_tight=False)
    assert scale.low < scale.high
    assert len(scale.ticks) >= 2
    places = [scale.place(value) for value in values if scale.takes(value)]
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (12_000, "12k"), (3.5e6, "3.5M"), (1e-5, "1e-5"), (-0.5, "-0.5")]
)
def test_numbers_at_an_axis_are_short(value: float, text: str) -> None:
    assert format_tick(value) == text


def test_fewer_points_keep_both_ends_and_every_peak() -> None:
    y = [math.sin(index / 50) for index in range(100_000)]
    y[54_321], y[77_777] = 9.0, -9.0
    x, thinned = thin_out(range(100_000), y)
    assert len(x) <= 400
    assert (x[0], x[-1]) == (0, 99_999)
    assert (54_321, 9.0) in zip(x, thinned, strict=True)
    assert (77_777, -9.0) in zip(x, thinned, strict=True)


CHARTS: list[Chart] = [
    LineChart(
        title="Loss <b>",
        x_label="step",
        series=[
            Series(name="train", x=[0, 1, 2, 3], y=[3.0, math.nan, 2.0, 1.0]),
            Series(name='val "x"', x=[1, 3], y=[2.5, 1.5]),
            Series(name="dots", x=[1, 2], y=[1.0, 2.0], is_line=False),
        ],
        marks=[Mark(x=2, text="best", word="best")],
        with_diagonal=True,
    ),
    LineChart(title="nothing", x_label="step", series=[Series(name="a", x=[], y=[])]),
    LineChart(title="log", x_label="step", series=[Series(name="a", x=[0, 1], y=[0.0, 0.0])], log_y=True),
    Histogram(title="weights", x_label="w", low=-1.0, high=1.0, counts=[1, 0, 3]),
    Histogram(title="one value", x_label="w", low=0.5, high=0.5, counts=[4]),
    Heatmap(title="Confusion", x_label="predicted", y_label="true", names=["a", "b"], values=[[9, 1], [0, 0]]),
    Heatmap(title="Many", x_label="p", y_label="t", names=[f"class {i}" for i in range(40)], values=[[1.0] * 40] * 40),
]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.title)
def test_a_drawing_is_whole_and_stays_within_its_plane(chart: Chart) -> None:
    root = ElementTree.fromstring(render_svg(chart, with_style=True))
    assert root.get("aria-label") == chart.title
    places: list[tuple[float, float]] = []
    for line in root.iter(f"{NAME}polyline"):
        places += [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]  # type: ignore[misc]
    places += [(float(box.get("x") or 0), float(box.get("y") or 0)) for box in root.iter(f"{NAME}rect")]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)


def test_a_line_is_interrupted_where_a_value_is_no_number() -> None:
    root = ElementTree.fromstring(render_svg(CHARTS[0]))
    lines = [line for line in root.iter(f"{NAME}polyline") if line.get("class") == "s0"]
    dots = [dot for dot in root.iter(f"{NAME}circle") if dot.get("class") == "s0"]
    assert len(lines) == 1 + 1  # the part after the gap, and the legend
    assert len(dots) == 1


def test_what_is_pointed_at_is_told() -> None:
    text = render_svg(CHARTS[5])
    assert "<title>a taken for b: 1 of 10</title>" in text
    assert "<title>train: first 3, last 1" in render_svg(CHARTS[0])


def test_no_series_is_told_by_its_colour_alone() -> None:
    assert len(set(DASHES)) == len(DASHES) == len(COLOURS) == len(set(COLOURS))
