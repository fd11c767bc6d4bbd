"""The metrics: which there are, for which task, and which way each is better. A new metric begins here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from footplate.profile.facts import TaskKind
from footplate.profile.tasks import TASKS

__all__ = ["KNOWN_METRICS", "METRICS", "MetricInfo", "get_metrics", "get_rank", "is_smaller_better"]


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What is to be known of a metric before it is computed."""

    tasks: tuple[TaskKind, ...]
    """Tasks that have it; empty: the evaluation itself measures it, whatever the task."""
    smaller_is_better: bool


def _larger(*tasks: TaskKind) -> MetricInfo:
    return MetricInfo(tasks=tasks, smaller_is_better=False)


def _smaller(*tasks: TaskKind) -> MetricInfo:
    return MetricInfo(tasks=tasks, smaller_is_better=True)


METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        "loss": _smaller(*TASKS),
        "perplexity": _smaller("language_model"),
        "bits_per_byte": _smaller("language_model"),
        "iou": _larger("segmentation"),
        "accuracy": _larger("classification", "multi_label", "sequence", "language_model", "segmentation"),
        "f1": _larger("classification", "multi_label", "sequence", "segmentation"),
        "f1_micro": _larger("multi_label"),
        "precision": _larger("classification", "multi_label", "sequence", "segmentation"),
        "recall": _larger("classification", "multi_label", "sequence", "segmentation"),
        "auc": _larger("classification", "multi_label"),
        "mae": _smaller("regression"),
        "mse": _smaller("regression"),
        "rmse": _smaller("regression"),
        "r2": _larger("regression"),
        "inference_time": _smaller(),
        "latency_ms": _smaller(),
        "memory_mb": _smaller(),
    }
)
"""By the name under which it is recorded behind its split: ``accuracy`` of ``val/accuracy``."""

KNOWN_METRICS = tuple(name for name, info in METRICS.items() if info.tasks or name == "inference_time")
"""Names that a list of metrics may hold."""

_HEADLINES = ("perplexity", "iou", "accuracy", "rmse", "r2", "mae")


def get_metrics(task: TaskKind) -> tuple[str, ...]:
    """Return the metrics of the predictions of a task, in their order."""
    return tuple(name for name, info in METRICS.items() if task in info.tasks)


def is_smaller_better(name: str) -> bool:
    """Tell whether smaller values of a metric (``loss`` or ``val/loss``) are better; what is not known is not."""
    info = METRICS.get(name.rpartition("/")[2])
    return info is not None and info.smaller_is_better


def get_rank(name: str) -> int:
    """Return the place of a metric (``test/accuracy``) where a few are shown: what people ask for first comes first."""
    short = name.rpartition("/")[2]
    return _HEADLINES.index(short) if short in _HEADLINES else len(_HEADLINES)
