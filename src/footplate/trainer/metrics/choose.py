"""Which metrics are computed: those asked for that fit the task, by the class that computes them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from footplate.errors import InputError
from footplate.profile.facts import TaskKind
from footplate.profile.metrics import KNOWN_METRICS, get_metrics, is_smaller_better
from footplate.trainer.metrics.classification import ClassificationMetrics
from footplate.trainer.metrics.labels import LabelMetrics
from footplate.trainer.metrics.language import LanguageMetrics
from footplate.trainer.metrics.positions import PositionMetrics
from footplate.trainer.metrics.protocol import Metrics
from footplate.trainer.metrics.regression import RegressionMetrics
from footplate.trainer.task import Task

__all__ = ["choose_metrics", "make_metrics", "wants_smaller"]

_log = logging.getLogger("footplate")

_MEASURED_ELSEWHERE = ("inference_time", "latency", "memory_footprint")
"""Names that are no metric of a prediction: the evaluation itself measures them."""
_METRICS: Mapping[TaskKind, type[Metrics]] = MappingProxyType(
    {
        "classification": ClassificationMetrics,
        "regression": RegressionMetrics,
        "multi_label": LabelMetrics,
        "sequence": PositionMetrics,
        "language_model": LanguageMetrics,
        "segmentation": PositionMetrics,
    }
)


def choose_metrics(asked: Iterable[str], task: Task) -> tuple[str, ...]:
    """Return the metrics to compute: those asked for that fit the task; nothing asked means all that fit.

    The log says which were asked for and are left out.
    Raises InputError for a name that is no metric.
    """
    fitting = tuple(name for name in get_metrics(task.kind) if name != "bits_per_byte" or task.has_byte_tokens)
    names = tuple(name.rpartition("/")[2] for name in asked)
    for name in names:
        if name not in KNOWN_METRICS and name not in _MEASURED_ELSEWHERE:
            raise InputError(f"there is no metric {name!r}; there are: {', '.join(KNOWN_METRICS)}")
    chosen = tuple(name for name in names if name in fitting)
    left_out = [name for name in names if name not in fitting and name not in _MEASURED_ELSEWHERE]
    if left_out:
        _log.warning("metrics left out, %s has none such: %s", task.kind, ", ".join(dict.fromkeys(left_out)))
    return tuple(dict.fromkeys(("loss", *chosen))) if chosen else fitting


def wants_smaller(name: str, mode: str) -> bool:
    """Return whether smaller values of a metric (``val/loss``) are better; ``mode`` is auto, min or max."""
    return is_smaller_better(name) if mode == "auto" else mode == "min"


def make_metrics(task: Task, names: Iterable[str]) -> Metrics:
    """Return empty metrics for the task."""
    return _METRICS[task.kind](task, names)
