"""Metrics of the next token."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from footplate.profile.tasks import IGNORED
from footplate.trainer.losses import count_kept, make_loss
from footplate.trainer.metrics.protocol import Metrics, State
from footplate.trainer.task import Task

__all__ = ["LanguageMetrics"]

_LARGEST_EXPONENT = 709.0
"""exp of more is no float64."""


class LanguageMetrics(Metrics):
    """Perplexity (e to the mean negative log-likelihood of the tokens that count), bits per byte, and accuracy.

    The loss is that mean, unless labels are smoothed; it is then computed beside it.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        super().__init__(task, names)
        self._right = self._tokens = 0
        self._surprise = 0.0  # in nats, of all tokens
        self._compute_surprise = make_loss(task.kind, "cross_entropy") if task.label_smoothing else None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        tokens = int(count_kept(targets))
        self._tokens += tokens
        self._right += int(((outputs.argmax(dim=-1) == targets) & (targets != IGNORED)).sum())
        if self._compute_surprise is not None:
            self._surprise += float(self._compute_surprise(outputs, targets)) * tokens

    def get_state(self) -> State:
        return {"right": self._right, "tokens": self._tokens, "surprise": self._surprise}

    def merge(self, state: State) -> None:
        self._right += state["right"]
        self._tokens += state["tokens"]
        self._surprise += state["surprise"]

    def compute(self, loss: float) -> dict[str, float]:
        mean = loss if self._compute_surprise is None else self._surprise / self._tokens
        values = {
            "perplexity": math.exp(mean) if mean < _LARGEST_EXPONENT else math.inf,
            "bits_per_byte": mean / math.log(2),
            "accuracy": self._right / self._tokens,
        }
        return self._select(values)
