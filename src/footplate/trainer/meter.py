"""Reads what the loop did, every so many steps: the only place where it waits for the device."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from footplate.errors import RunFailedError
from footplate.trainer.distributed.world import ALONE, World

__all__ = ["Meter", "Reading"]

_MAX_WAITING = 1000
"""Losses kept on the device at most; more are read before the next reading is due."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the steps since the last reading have shown."""

    step: int
    """Optimiser steps done."""
    loss: float
    """Mean loss over the samples of these steps, or over their targets that count."""
    learning_rate: float
    """Learning rate of the last of these steps."""
    grad_norm: float | None
    """Norm of the last step's gradients before clipping; None when nothing is clipped."""
    samples_per_s: float
    """Samples trained on in a second, evaluations left out."""
    steps_per_s: float
    """Optimiser steps in a second, evaluations left out."""


class Meter:
    """Collects losses without waiting for the device, and reads them all at once.

    Losses are kept as tensors and averaged in float64 by what they truly weigh.
    """

    def __init__(self, world: World = ALONE) -> None:
        self._world = world
        self._losses: list[Tensor] = []
        self._earlier = torch.empty(0, dtype=torch.float64)
        self._weights: list[int | Tensor] = []
        self._steps: list[int] = []
        self._grad_norm: Tensor | None = None
        self._wrong: tuple[int, float] | None = None
        self._sum = self._sum_since_evaluation = 0.0
        self._weight = self._weight_since_evaluation = 0.0
        self._samples = 0
        self._last_step = 0
        self._since = self._paused = time.perf_counter()
        self.train_s = 0.0

    def start(self, step: int) -> None:
        """Start the clock, before the first step."""
        self._last_step = step
        self._since = time.perf_counter()

    def add(
        self, step: int, losses: Sequence[tuple[Tensor, int | Tensor]], grad_norm: Tensor | None, num_samples: int
    ) -> None:
        """Take the losses of the batches of a step, each with what it weighs, and the step's number of samples."""
        for loss, weight in losses:
            self._losses.append(loss)
            self._weights.append(weight)
            self._steps.append(step)
        self._samples += num_samples
        self._grad_norm = grad_norm
        if len(self._steps) >= _MAX_WAITING:
            self._collect()

    def pause(self) -> float:
        """Stop the clock for an evaluation; return the mean loss since the last one."""
        self._collect()
        total, weight = self._share(self._sum_since_evaluation, self._weight_since_evaluation)
        self._paused = time.perf_counter()
        return total / max(1, weight)

    def go_on(self, *, evaluated: bool) -> None:
        """Let the clock run again; an evaluation that was broken off counts as none."""
        if evaluated:
            self._sum_since_evaluation = self._weight_since_evaluation = 0.0
        self._since += time.perf_counter() - self._paused

    def read(self, step: int, learning_rate: float) -> Reading | None:
        """Return what the steps since the last reading have shown; None when there was none.

        Raises RunFailedError when a loss is NaN or infinite; it names the step.
        """
        self._collect()
        if step == self._last_step:
            return None
        total, weight = self._share(self._sum, self._weight)
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        reading = Reading(
            step=step,
            loss=total / max(1, weight),
            learning_rate=learning_rate,
            grad_norm=None if self._grad_norm is None else float(self._grad_norm),
            samples_per_s=self._samples / seconds,
            steps_per_s=(step - self._last_step) / seconds,
        )
        self.train_s += seconds
        self._since, self._last_step, self._sum, self._weight, self._samples = now, step, 0.0, 0.0, 0
        return reading

    def check(self) -> None:
        """Raise RunFailedError when a loss that was not read yet is NaN or infinite, in any process; all must call it.

        Nothing is added up: a sum that is taken in other parts has other bits.
        """
        values = self._bring_losses().numpy()
        places = np.flatnonzero(~np.isfinite(values))
        found = self._wrong
        if found is None and len(places):
            found = self._steps[places[0]], float(values[places[0]])
        self._raise_if_any(found)

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken and not read; losses as they are, for a sum taken in other parts has other bits."""
        return {
            "losses": self._bring_losses(),
            "weights": [float(weight) for weight in self._weights],
            "steps": list(self._steps),
            "grad_norm": None if self._grad_norm is None else float(self._grad_norm),
            "sums": [self._sum, self._weight, self._sum_since_evaluation, self._weight_since_evaluation],
            "train_s": self.train_s,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; called again, what another process had comes on top."""
        self._earlier = torch.cat([self._earlier, state["losses"].to(torch.float64)])
        self._weights += state["weights"]
        self._steps += state["steps"]
        self._grad_norm = None if state["grad_norm"] is None else torch.tensor(state["grad_norm"])
        total, weight, total_since, weight_since = state["sums"]
        self._sum += total
        self._weight += weight
        self._sum_since_evaluation += total_since
        self._weight_since_evaluation += weight_since
        self.train_s = max(self.train_s, state["train_s"])

    def _bring_losses(self) -> Tensor:
        """Return the waiting losses, those of an earlier attempt first, [n] float64 in main memory."""
        if not self._losses:
            return self._earlier
        return torch.cat([self._earlier, torch.stack(self._losses).cpu().to(torch.float64)])

    def _collect(self) -> None:
        """Bring the waiting losses to the CPU and add them up."""
        values = self._bring_losses().numpy()
        if not len(values):
            return
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong) and self._wrong is None:
            self._wrong = self._steps[wrong[0]], float(values[wrong[0]])
            if self._world.size == 1:
                raise _describe_divergence(*self._wrong)
        weights = np.asarray([float(weight) for weight in self._weights])
        total, weight = float(values @ weights), float(weights.sum())
        self._sum += total
        self._weight += weight
        self._sum_since_evaluation += total
        self._weight_since_evaluation += weight
        self._losses, self._weights, self._steps = [], [], []
        self._earlier = torch.empty(0, dtype=torch.float64)

    def _share(self, total: float, weight: float) -> tuple[float, float]:
        """Return what the losses of all processes add up to; a loss that is no number in one of them ends all."""
        if self._world.size == 1:
            return total, weight
        every = self._world.gather((total, weight, self._wrong))
        _raise_first([one for _, _, one in every])
        return sum(one[0] for one in every), sum(one[1] for one in every)

    def _raise_if_any(self, wrong: tuple[int, float] | None) -> None:
        if self._world.size > 1:
            _raise_first(self._world.gather(wrong))
        elif wrong is not None:
            raise _describe_divergence(*wrong)


def _raise_first(every: Sequence[tuple[int, float] | None]) -> None:
    """Raise for the earliest of the losses that are no numbers; each process has told its first one, or None."""
    wrong = [(*one, rank) for rank, one in enumerate(every) if one is not None]
    if wrong:
        raise _describe_divergence(*min(wrong, key=lambda one: one[0]))


def _describe_divergence(step: int, value: float, rank: int | None = None) -> RunFailedError:
    what = "NaN" if math.isnan(value) else "infinite"
    where = "" if rank is None else f" in process {rank}"
    return RunFailedError(
        f"the loss became {what} at step {step:,}{where}; the training stops",
        hint="try, in this order: a smaller training.learning_rate, scheduler.warmup_steps, "
        "training.max_grad_norm: 1.0, data.preprocessing.normalize: true; "
        "debug: {enabled: true, detect_anomaly: true} names the operation",
    )
