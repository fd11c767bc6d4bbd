"""Metrics of quantities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from footplate.trainer.metrics.plots import Residuals
from footplate.trainer.metrics.protocol import Floats, Metrics, State
from footplate.trainer.task import Task

__all__ = ["RegressionMetrics"]


class RegressionMetrics(Metrics):
    """Mean absolute and squared errors and R² in the targets' own unit; R² is the mean over the outputs.

    Targets are summed as differences from the first batch's mean: squares of large numbers would lose the digits.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        super().__init__(task, names)
        self._count = 0
        self._shift: Any = 0.0
        self._absolute: Any = 0.0
        self._squared: Any = 0.0
        self._sum: Any = 0.0
        self._sum_of_squares: Any = 0.0
        self._residuals = Residuals()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        wanted = self._to_own_unit(targets)
        error = self._to_own_unit(outputs.reshape(targets.shape)) - wanted
        if self._count == 0:
            self._shift = wanted.mean(axis=0)
        shifted = wanted - self._shift
        self._count += len(wanted)
        self._absolute = self._absolute + np.abs(error).sum(axis=0)
        self._squared = self._squared + np.square(error).sum(axis=0)
        self._sum = self._sum + shifted.sum(axis=0)
        self._sum_of_squares = self._sum_of_squares + np.square(shifted).sum(axis=0)
        self._residuals.add(wanted, wanted + error)

    def get_state(self) -> State:
        return {
            "count": self._count,
            "shift": self._shift,
            "absolute": self._absolute,
            "squared": self._squared,
            "sum": self._sum,
            "sum_of_squares": self._sum_of_squares,
            "residuals": self._residuals.get_state(),
        }

    def merge(self, state: State) -> None:
        count = state["count"]
        if not count:
            return
        if self._count == 0:
            self._shift = state["shift"]
        # Differences from the other's mean become differences from this one's: sums grow by count times the way.
        way = state["shift"] - self._shift
        self._sum_of_squares = self._sum_of_squares + (
            state["sum_of_squares"] + 2 * way * state["sum"] + count * np.square(way)
        )
        self._sum = self._sum + (state["sum"] + count * way)
        self._count += count
        self._absolute = self._absolute + state["absolute"]
        self._squared = self._squared + state["squared"]
        self._residuals.merge(state["residuals"])

    def compute(self, loss: float) -> dict[str, float]:  # noqa: ARG002
        if not self._count:
            return {}
        mse = float(np.mean(self._squared) / self._count)
        values = {
            "mae": float(np.mean(self._absolute) / self._count),
            "mse": mse,
            "rmse": mse**0.5,
            "r2": self._get_r2(),
        }
        return self._select(values)

    def make_tables(self) -> dict[str, Any]:
        return self._residuals.make_tables(())

    def _get_r2(self) -> float:
        """Return 1 - squared error / variance; for targets that do not vary 1 when they are met, else 0."""
        spread = np.maximum(self._sum_of_squares - np.square(self._sum) / self._count, 0.0)
        constant = np.where(self._squared == 0, 1.0, 0.0)
        return float(np.mean(np.where(spread > 0, 1.0 - self._squared / np.where(spread > 0, spread, 1.0), constant)))

    def _to_own_unit(self, values: Tensor) -> Floats:
        numbers = values.to(torch.float32).cpu().numpy().astype(np.float64)
        return np.asarray(self._task.scaler.restore_targets(numbers), dtype=np.float64)
