"""What every set of metrics can do: take batches, add up with those of other processes, tell its values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from footplate.trainer.task import Task

__all__ = ["Counts", "Floats", "Metrics", "State", "divide"]

Counts: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
State: TypeAlias = Mapping[str, Any]
"""Numbers and arrays by name."""


class Metrics(ABC):
    """Takes batches of outputs and targets and knows the metrics of them all.

    Nothing of it is in a checkpoint: an evaluation that was broken off is done again.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        self._task = task
        self._names = frozenset(names)

    @abstractmethod
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take a batch."""

    @abstractmethod
    def get_state(self) -> State:
        """Return what was seen, for ``merge`` of another process."""

    @abstractmethod
    def merge(self, state: State) -> None:
        """Add what another process has seen; states merged in the same order give the same bits."""

    @abstractmethod
    def compute(self, loss: float) -> dict[str, float]:
        """Return the metrics asked for; ``loss`` is the mean loss over the same samples."""

    def get_confusion(self) -> Counts | None:
        """Return how many of each class (row) were taken for each class (column); None where there is no such table."""
        return None

    def make_tables(self) -> dict[str, Any]:
        """Return the data of plots about the predictions, by name: plain lists and numbers."""
        return {}

    def _select(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in values.items() if name in self._names}


def divide(above: Floats, below: Floats) -> Floats:
    """Return the quotients, 0 where the divisor is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
