"""What may watch the training loop: the journal, the log, the best weights, early stopping."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from footplate.errors import InputError, RecordError
from footplate.profile.sections.training import EarlyStopping
from footplate.record.files import link_or_copy
from footplate.record.journal import Journal
from footplate.trainer.meter import Reading
from footplate.trainer.metrics import wants_smaller
from footplate.trainer.progress import Progress
from footplate.trainer.weights import copy_weights, get_weights, save_weights

__all__ = ["BestWeights", "Hook", "JournalWriter", "LogWriter", "StopEarly", "choose_monitor"]

_LINE_EVERY_S = 2.0
_WRITE_EVERY_S = 2.0
"""The best weights of so long a time are lost when the process is killed; a request to stop loses nothing."""
_WRITE_AGAIN_S = 30.0
"""After the best weights could not be written, it is not tried for so much longer."""
_log = logging.getLogger("footplate")


class Hook:
    """Watches the loop. A hook may set ``progress.stopped_by``.

    It is told when the loop reads numbers anyway; one with ``watches_steps`` is told after each step too, and should
    then not wait for the device.
    """

    watches_steps: ClassVar[bool] = False

    def on_start(self, progress: Progress) -> None:
        """Take note that the loop starts, or goes on from where ``progress`` stands."""

    def on_step(self, progress: Progress) -> None:
        """Take note that a step is done; nothing of it has been read from the device."""

    def on_log(self, progress: Progress, reading: Reading) -> None:
        """Take the numbers of the last ``log_frequency`` steps."""

    def on_evaluation(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        """Take an evaluation: ``val/…``, and ``train/loss`` since the last one."""

    def close(self) -> None:
        """Finish what is begun: the loop has ended, in whatever way."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that goes on must know: plain JSON values and tensors, also nested."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""


class JournalWriter(Hook):
    """Writes every number to the run's journal."""

    def __init__(self, journal: Journal, *, with_throughput: bool) -> None:
        self._journal = journal
        self._with_throughput = with_throughput

    def on_log(self, progress: Progress, reading: Reading) -> None:  # noqa: ARG002
        values = {"train/loss": reading.loss, "train/lr": reading.learning_rate}
        if reading.grad_norm is not None:
            values["train/grad_norm"] = reading.grad_norm
        if self._with_throughput:
            values["train/samples_per_s"] = reading.samples_per_s
            values["train/steps_per_s"] = reading.steps_per_s
        self._journal.metrics(reading.step, values)

    def on_evaluation(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        self._journal.metrics(progress.step, {name: value for name, value in metrics.items() if name != "train/loss"})
        self._journal.event("evaluation", step=progress.step, epoch=progress.epochs_done, metrics=dict(metrics))


class LogWriter(Hook):
    """Writes a line at most every two seconds, and one for each evaluation."""

    def __init__(self, total_steps: int) -> None:
        self._total_steps = total_steps
        self._last = time.monotonic()

    def on_log(self, progress: Progress, reading: Reading) -> None:
        if time.monotonic() - self._last < _LINE_EVERY_S:
            return
        self._last = time.monotonic()
        _log.info(
            "%s  train/loss %.4g  lr %.3g  %s samples/s",
            self._describe_place(progress),
            reading.loss,
            reading.learning_rate,
            f"{reading.samples_per_s:,.0f}",
        )

    def on_evaluation(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        self._last = time.monotonic()
        told = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name in _IN_A_LINE)
        _log.info("%s  %s", self._describe_place(progress), told)

    def _describe_place(self, progress: Progress) -> str:
        return f"step {progress.step:,}/{self._total_steps:,}  epoch {progress.epochs_done:.1f}"


_IN_A_LINE = ("train/loss", "val/loss", "val/perplexity", "val/iou", "val/accuracy", "val/rmse", "val/r2")
"""What fits a line of 80 columns; the journal has the rest."""


class BestWeights(Hook):
    """Keeps the weights of the best evaluation in a file, written at most every two seconds.

    In between a copy in memory waits for the next reading or evaluation, or for ``write``: when evaluations are
    frequent and the model is large, writing each improvement would take longer than training.
    """

    def __init__(
        self, model: nn.Module, path: Path, journal: Journal, *, metric: str, mode: str, writes: bool = True
    ) -> None:
        self._model = model
        self._path = path
        self._journal = journal
        self._writes = writes
        self._smaller = wants_smaller(metric, mode)
        self._waiting: Mapping[str, Tensor] | None = None
        self._written_at = -math.inf
        self.metric = metric
        self.step: int | None = None
        self.value = math.inf if self._smaller else -math.inf
        self.metrics: dict[str, float] = {}
        """Everything that was measured at the best evaluation."""

    def on_evaluation(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        value = _get_monitored(metrics, self.metric, "validation.save_best_metric")
        if (value < self.value) if self._smaller else (value > self.value):  # never true for NaN
            # Sharded weights are collected here, by all processes together; one of them writes them.
            weights = get_weights(self._model) if self._is_due() else copy_weights(self._model)
            self._waiting = weights if self._writes else None
            self.value, self.step, self.metrics = value, progress.step, dict(metrics)
            self._journal.event("best", step=progress.step, metric=self.metric, value=value)
        self._write_if_due()

    def on_log(self, progress: Progress, reading: Reading) -> None:  # noqa: ARG002
        self._write_if_due()

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "step": self.step, "value": self.value, "metrics": self.metrics}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["metric"] == self.metric:
            self.step, self.value, self.metrics = state["step"], float(state["value"]), dict(state["metrics"])

    def hand_over(self, target: Path) -> Mapping[str, Tensor] | None:
        """Give a checkpoint the best weights so far: those that wait, else None and the file under a second name.

        Later ones get a new file, so that the checkpoint keeps those of its own step.
        """
        if self._waiting is None and self.step is not None and self._writes:
            link_or_copy(self._path, target)
        return self._waiting

    def take_back(self, source: Path) -> None:
        """Put the best weights of a checkpoint in the place of those that were found after it."""
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        link_or_copy(source, part)
        part.replace(self._path)

    def write(self) -> None:
        """Write the best weights if they still wait for it."""
        if self._waiting is not None:
            save_weights(self._waiting, self._path)
            self._waiting = None
            self._written_at = time.monotonic()

    def _write_if_due(self) -> None:
        """Write them when it is time; a disk that is full now may have room later, and a checkpoint takes them too."""
        if self._waiting is None or not self._is_due():
            return
        try:
            self.write()
        except RecordError as error:
            # The training goes on to change those that are not copies.
            self._waiting = {name: tensor.clone() for name, tensor in self._waiting.items()}
            self._written_at = time.monotonic() + _WRITE_AGAIN_S
            _log.warning("best weights: %s; they are kept in memory, and it is tried again", error.message)

    def _is_due(self) -> bool:
        return time.monotonic() - self._written_at >= _WRITE_EVERY_S


class StopEarly(Hook):
    """Stops when the monitored metric has not improved by more than ``min_delta`` in ``patience`` evaluations."""

    def __init__(self, settings: EarlyStopping, journal: Journal, *, metric: str) -> None:
        self._settings = settings
        self._journal = journal
        self._metric = metric
        self._smaller = wants_smaller(metric, settings.mode)
        self._best = math.inf if self._smaller else -math.inf
        self._waited = 0

    def on_evaluation(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        value = _get_monitored(metrics, self._metric, "training.early_stopping.monitor")
        gain = self._best - value if self._smaller else value - self._best
        if gain > self._settings.min_delta:  # never true for NaN
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self._settings.patience and not progress.stopped_by:
            progress.stopped_by = "early_stopping"
            told = {"step": progress.step, "metric": self._metric, "best": self._best, "evaluations": self._waited}
            self._journal.event("early_stopping", **told)
            _log.info(
                "early stopping: %s has not improved on %.4g in %d evaluations", self._metric, self._best, self._waited
            )

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self._metric, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["metric"] == self._metric:
            self._best, self._waited = float(state["best"]), int(state["waited"])


def choose_monitor(name: str, *, key: str, has_validation: bool) -> str:
    """Return a metric's full name: ``val_loss`` and ``loss`` mean ``val/loss``.

    Without validation data there is only ``train/loss`` to go by.
    """
    full = name
    if "/" not in name:
        split, _, rest = name.partition("_")
        full = f"{split}/{rest}" if split in ("train", "val") and rest else f"val/{name}"
    if full.startswith("val/") and not has_validation:
        _log.warning("%s: there are no validation data, so train/loss stands in for %s", key, full)
        return "train/loss"
    if not full.startswith(("train/", "val/")) or (full.startswith("train/") and full != "train/loss"):
        raise InputError(f"{key}: {name} is not measured while training; there are val/… and train/loss")
    return full


def _get_monitored(metrics: Mapping[str, float], name: str, key: str) -> float:
    if name not in metrics:
        raise InputError(f"{key}: {name} is not measured; there are: {', '.join(metrics)}")
    return metrics[name]
