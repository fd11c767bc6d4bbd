"""The tasks: how each is told, and the losses that fit it. A new task begins here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from footplate.profile.facts import TaskKind

__all__ = ["IGNORED", "MAX_CONFUSION_CLASSES", "TASKS", "TaskInfo", "find_tasks_of_loss"]

IGNORED = -100
"""A target that does not count: padding, a pixel nobody has labelled (torch's own number for it)."""
MAX_CONFUSION_CLASSES = 100
"""A confusion matrix of more classes is not recorded: nobody reads it, and it grows with their square."""


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """What is to be known of a task before any data are seen."""

    words: str
    """How people call it, with its article."""
    losses: tuple[str, ...]
    """Values of `training.loss.type` that fit; `auto` is the first one."""
    has_confusion: bool = False
    """Whether each sample, position or pixel has one class, so that it can be taken for another."""


TASKS: Mapping[TaskKind, TaskInfo] = MappingProxyType(
    {
        "classification": TaskInfo(
            words="a classification", losses=("cross_entropy", "binary_cross_entropy"), has_confusion=True
        ),
        "regression": TaskInfo(words="a regression", losses=("mse", "mae", "huber")),
        "multi_label": TaskInfo(words="a multi-label classification", losses=("binary_cross_entropy",)),
        "sequence": TaskInfo(words="a classification of positions", losses=("cross_entropy",), has_confusion=True),
        "language_model": TaskInfo(words="a language model", losses=("cross_entropy",)),
        "segmentation": TaskInfo(
            words="a segmentation", losses=("cross_entropy", "dice_cross_entropy"), has_confusion=True
        ),
    }
)


def find_tasks_of_loss(loss: str) -> tuple[TaskKind, ...]:
    """Return the tasks that a value of `training.loss.type` fits; `auto` fits all."""
    return tuple(kind for kind, info in TASKS.items() if loss == "auto" or loss in info.losses)
