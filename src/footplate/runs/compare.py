"""What differs between runs: profile, code, data, environment, result; and which of them is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footplate.errors import FootplateError, InputError
from footplate.profile.metrics import get_rank, is_smaller_better
from footplate.record.rundir import RunDir
from footplate.runs.summary import Summary, summarize
from footplate.tracking.params import flatten

__all__ = ["Choice", "Comparison", "Difference", "choose_best", "compare", "find_best_index"]

_ABOUT_CODE = "files"
_MAX_FILES = 50
_RESULT_FACTS = ("state", "cause", "duration_s", "attempt", "host")
_LOOP_METRICS = ("train/lr", "train/batch_size")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not the same in all runs."""

    section: str
    """``profile``, ``code``, ``data``, ``environment`` or ``result``."""
    name: str
    values: tuple[Any, ...]
    """One for each run; None where it has none."""
    best: int | None = None
    """Which run's value is the best; None where none is better."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between some runs, and how much is the same."""

    ids: tuple[str, ...]
    differences: tuple[Difference, ...]
    num_equal: Mapping[str, int]
    """Section → how many of its values are the same in all runs."""
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best of some runs by a metric."""

    metric: str
    smaller_is_better: bool
    ranking: tuple[tuple[str, float], ...]
    """Ids and values, the best first; equal ones with the newer first."""
    left_out: tuple[str, ...]
    """Ids of runs without a finite value of it."""


def compare(runs: Sequence[RunDir]) -> Comparison:
    """Return what differs between two or more runs."""
    summaries = tuple(summarize(run) for run in runs)
    if len({summary.run.id for summary in summaries}) < 2:
        raise InputError("a comparison needs two runs or more", hint="footplate compare q3 q7")
    sections = {
        "profile": [dict(summary.params) for summary in summaries],
        "code": [_read_code(summary.run) for summary in summaries],
        "data": [_read_data(summary.run) for summary in summaries],
        "environment": [_read_environment(summary.run) for summary in summaries],
        "result": [_read_result(summary) for summary in summaries],
    }
    differences: list[Difference] = []
    equal: dict[str, int] = {}
    for section, each in sections.items():
        found, equal[section] = _find_differences(section, each)
        differences += found
    return Comparison(
        ids=tuple(summary.run.id for summary in summaries),
        differences=tuple(differences),
        num_equal=equal,
        summaries=summaries,
    )


def choose_best(summaries: Sequence[Summary], metric: str, *, mode: str = "") -> Choice:
    """Return the runs by a metric, the best first; ``mode`` is min or max, else the metric's own way.

    InputError when no run has a value of it, with the metrics that they have.
    """
    smaller = is_smaller_better(metric) if not mode else mode == "min"
    values = {summary.run.id: _to_finite(summary.find(f"metrics.{metric}")) for summary in summaries}
    ranked = [(run_id, value) for run_id, value in values.items() if value is not None]
    if not ranked:
        known = sorted(
            {name for summary in summaries for name in summary.metrics}, key=lambda name: (get_rank(name), name)
        )
        told = f"they have {', '.join(known[:12])}" if known else "they have no metrics"
        raise InputError(f"no run has a value of {metric}", hint=told)
    ranked.sort(key=lambda one: one[1] if smaller else -one[1])  # the order of the runs, newest first, among equals
    return Choice(
        metric=metric,
        smaller_is_better=smaller,
        ranking=tuple(ranked),
        left_out=tuple(run_id for run_id, value in values.items() if value is None),
    )


def find_best_index(name: str, values: Sequence[Any]) -> int | None:
    """Return which of the values of a metric is the best; None where that cannot be told, or all are the same."""
    finite = [(value, index) for index, value in enumerate(values) if _to_finite(value) is not None]
    if len({value for value, _ in finite}) < 2:
        return None
    return (min if is_smaller_better(name) else max)(finite, key=lambda one: one[0])[1]


def _find_differences(section: str, each: Sequence[Mapping[str, Any]]) -> tuple[list[Difference], int]:
    names = list(dict.fromkeys(name for values in each for name in values))
    if section == "result":
        names.sort(key=lambda name: (name in _RESULT_FACTS, not name.startswith("test/"), get_rank(name), name))
    found, num_equal = [], 0
    for name in names:
        values = tuple(one.get(name) for one in each)
        if all(value == values[0] for value in values):
            num_equal += 1
            continue
        is_metric = section == "result" and "/" in name and name not in _LOOP_METRICS
        best = find_best_index(name, values) if is_metric else None
        found.append(Difference(section=section, name=name, values=values, best=best))
    return found, num_equal


def _read_code(run: RunDir) -> dict[str, Any]:
    code = _find(run, "code.json")
    files = {str(path): str(digest)[:12] for path, _, digest in code.get(_ABOUT_CODE, ())}
    if code.get("git_commit"):
        files["git commit"] = str(code["git_commit"])[:12] + (" + changes" if code.get("git_dirty") else "")
    return files


def _read_data(run: RunDir) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, one in (_find(run, "data.json").get("sets") or {}).items():
        if one.get("version"):
            values[key] = f"{one.get('source')}, {one['version']}"
        for file in (one.get("files") or ())[:_MAX_FILES]:
            values[f"{key}: {file['path']}"] = str(file.get("sha256", ""))[:12]
    return values


def _read_environment(run: RunDir) -> dict[str, Any]:
    values = flatten({name: value for name, value in _find(run, "env.json").items() if name != "variables"})
    return {name: value if isinstance(value, str | int | float) else str(value) for name, value in values.items()}


def _read_result(summary: Summary) -> dict[str, Any]:
    values: dict[str, Any] = dict(summary.metrics)
    if not values:  # no result: a command of the user's, or a run that has not finished
        values = {name: points[-1].value for name, points in summary.series.items() if not name.startswith("system/")}
    best = summary.result.get("best") or {}
    if best:
        values["best step"] = best.get("step")
    for key in ("steps", "epochs", "samples_per_s", "stopped_by"):
        if key in summary.result:
            values[key] = summary.result[key]
    if "peak_gb" in (memory := summary.result.get("memory") or {}):
        values["peak memory, GB"] = memory["peak_gb"]
    return values | {name: value for name in _RESULT_FACTS if (value := summary.find(name)) is not None}


def _find(run: RunDir, name: str) -> Mapping[str, Any]:
    try:
        value = run.find_json(name)
    except FootplateError:
        return {}
    return value if isinstance(value, Mapping) else {}


def _to_finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
