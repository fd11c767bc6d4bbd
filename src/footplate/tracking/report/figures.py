"""Which charts tell something about a run; the data are what its journal and its result hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from footplate.profile.metrics import get_rank
from footplate.record.journal_reader import Point
from footplate.tracking.charts.chart import Chart, Heatmap, Histogram, LineChart, Mark, Series
from footplate.tracking.report.seen import Seen

__all__ = ["draw_curves", "draw_layers", "draw_machine", "draw_result"]

_MAX_METRICS = 6
_MAX_LAYERS = 8
_MAX_HISTOGRAMS = 6
_MAX_CLASSES = 40
_MAX_MARKS = 12
_MARKED = {"best": "best weights", "resume": "went on from a checkpoint", "out_of_memory": "out of memory"}
"""Events that stand on the curves, of which frequent ones only the last."""
_WORDS = {"best": "best", "resume": "resume", "out_of_memory": "memory"}
_OF_LOOP = ("lr", "grad_norm", "samples_per_s", "steps_per_s", "tokens_per_s", "data_wait_share", "mfu", "batch_size")
"""Metrics of the training loop, which have charts of their own or none."""
_LOG_RANGE = 50.0
"""A loss that falls by more than this factor is drawn on a logarithmic axis."""


def draw_curves(seen: Seen) -> list[Chart]:
    """Return the learning curves, training and validation together, then what drives them."""
    marks = _list_marks(seen)
    names = {name.partition("/")[2] for name in seen.metrics if name.startswith(("train/", "val/"))}
    others = sorted(names - {"loss", *_OF_LOOP}, key=get_rank)
    charts: list[Chart] = []
    for name in ["loss", *others[:_MAX_METRICS]]:
        series = _make_series(seen.metrics, {f"{split}/{name}": split for split in ("train", "val")})
        if series:
            split = f" ({series[0].name})" if len(series) == 1 else ""
            title = f"{'Loss' if name == 'loss' else name}{split}"
            is_log = name == "loss" and _falls_far(series)
            charts.append(LineChart(title=title, x_label="step", series=series, marks=marks, log_y=is_log))
    for name, title in (("lr", "Learning rate"), ("grad_norm", "Norm of the gradients")):
        series = _make_series(seen.metrics, {f"train/{name}": title})
        if series:
            charts.append(LineChart(title=title, x_label="step", series=series, log_y=_falls_far(series)))
    if not names:
        charts += _draw_own(seen)
    return charts


def _draw_own(seen: Seen) -> list[Chart]:
    """Return the metrics that a job of the user's has named itself."""
    own = [name for name in seen.metrics if not name.startswith("system/") and len(seen.metrics[name]) > 1]
    return [
        LineChart(title=name, x_label="step", series=_make_series(seen.metrics, {name: name}))
        for name in own[:_MAX_METRICS]
    ]


def draw_machine(seen: Seen) -> list[Chart]:
    """Return what the machine did: speed, load, memory, heat, power."""
    charts: list[Chart] = []
    for name, title in (("samples_per_s", "Samples per second"), ("data_wait_share", "Share of time waiting for data")):
        series = _make_series(seen.metrics, {f"train/{name}": title})
        if series:
            charts.append(LineChart(title=title, x_label="step", series=series))
    for title, endings in (
        ("Load, %", ("cpu_percent", "_utilization")),
        ("Memory, GB", ("memory_gb",)),
        ("Temperature, °C", ("temperature_c",)),
        ("Power, W", ("power_w",)),
    ):
        found = {
            name: name.removeprefix("system/").removesuffix("_gb").removesuffix("_c").removesuffix("_w")
            for name in seen.metrics
            if name.startswith("system/") and name.endswith(endings)
        }
        series = _make_series(seen.metrics, found)
        if series:
            charts.append(LineChart(title=title, x_label="seconds since the start", series=series))
    return charts


def draw_layers(seen: Seen) -> list[Chart]:
    """Return the looks into the layers: gradients, updates, and the last histograms of weights."""
    charts: list[Chart] = []
    for front, title in (("grad_norm", "Norm of the gradients, by layer"), ("update_ratio", "Update-to-weight ratio")):
        names = [name for name in seen.metrics if name.startswith(f"{front}/") and len(seen.metrics[name]) > 1]
        series = _make_series(seen.metrics, {name: name.partition("/")[2] for name in _choose(names, _MAX_LAYERS)})
        if series:
            charts.append(LineChart(title=title, x_label="step", series=series, log_y=True))
    layers: Mapping[str, Any] = seen.tables.get("weights") or {}
    for name in _choose([name for name in layers if layers[name].get("counts")], _MAX_HISTOGRAMS):
        one = layers[name]
        title = f"Weights of {name}"
        charts.append(Histogram(title=title, x_label="weight", low=one["low"], high=one["high"], counts=one["counts"]))
    return charts


def draw_result(seen: Seen) -> list[Chart]:
    """Return what the final evaluation shows of the predictions."""
    charts: list[Chart] = []
    tables = seen.result.get("tables") or {}
    counts: Sequence[Sequence[int]] = tables.get("confusion") or ()
    if counts and len(counts) <= _MAX_CLASSES:
        names = [str(name) for name in tables.get("classes") or range(len(counts))]
        charts.append(
            Heatmap(title="Confusion matrix", x_label="predicted", y_label="true", names=names, values=counts)
        )
    for name, title, x_label, y_label in (
        ("roc", "ROC", "false positive rate", "true positive rate"),
        ("precision_recall", "Precision and recall", "recall", "precision"),
        ("calibration", "Calibration", "confidence", "share that is right"),
    ):
        curves = seen.tables.get(name) or {}
        series = [Series(name=key, x=one["x"], y=one["y"]) for key, one in curves.items() if len(one["x"]) > 1]
        if series:
            charts.append(
                LineChart(
                    title=title,
                    x_label=x_label,
                    y_label=y_label,
                    series=series,
                    with_diagonal=name != "precision_recall",
                )
            )
    for key, one in (seen.tables.get("residuals") or {}).items():
        charts += _draw_residuals(key, one)
    return charts


def _draw_residuals(name: str, table: Mapping[str, Any]) -> list[Chart]:
    points = Series(name="samples", x=table["true"], y=table["predicted"], is_line=False)
    histogram = table["histogram"]
    return [
        LineChart(title=f"{name}: predicted and true", x_label="true", series=[points], with_diagonal=True),
        Histogram(
            title=f"{name}: errors",
            x_label="predicted − true",
            low=histogram["low"],
            high=histogram["high"],
            counts=histogram["counts"],
        ),
    ]


def _make_series(metrics: Mapping[str, Sequence[Point]], names: Mapping[str, str]) -> list[Series]:
    """Return a series for each of the metrics that has more than one point, under its name for the reader."""
    return [
        Series(name=told, x=[point.step for point in points], y=[point.value for point in points])
        for name, told in names.items()
        if len(points := metrics.get(name, ())) > 1
    ]


def _falls_far(series: Iterable[Series]) -> bool:
    values = [value for one in series for value in one.y if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) > _LOG_RANGE * min(values)


def _list_marks(seen: Seen) -> list[Mark]:
    marked = [entry.data for entry in seen.events if entry.data.get("name") in _MARKED and "step" in entry.data]
    best = [data for data in marked if data["name"] == "best"][-1:]
    rest = [data for data in marked if data["name"] != "best"]
    return [
        Mark(x=float(data["step"]), text=f"{_MARKED[data['name']]}, step {data['step']:,}", word=_WORDS[data["name"]])
        for data in [*best, *rest[-_MAX_MARKS:]]
    ]


def _choose(names: Sequence[str], most: int) -> list[str]:
    """Return some names, evenly over all: the first and the last among them."""
    if len(names) <= most:
        return list(names)
    places = [round(index * (len(names) - 1) / (most - 1)) for index in range(most)]
    return [names[place] for place, _ in groupby(places)]
