"""Evaluation: a model judged on one set, by all processes together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from footplate.errors import DataError
from footplate.profile.tasks import IGNORED
from footplate.trainer.distributed.sharding import is_sharded, reshard
from footplate.trainer.distributed.world import World
from footplate.trainer.failure import is_out_of_memory
from footplate.trainer.loading.feed import Feed
from footplate.trainer.memory.recovery import EvaluationSize, OthersShortError
from footplate.trainer.metrics import Metrics, State, make_metrics
from footplate.trainer.precision import Precision
from footplate.trainer.task import Task

__all__ = ["Evaluation", "Judge"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one pass over a set has shown; the same in every process."""

    metrics: dict[str, float]
    """Values by name, without the set's name."""
    confusion: NDArray[np.int64] | None
    """Samples (positions, pixels) of each class (row) taken for each class (column); None where there is none."""
    num_samples: int
    """Samples judged."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Data of plots about the predictions, where they were asked for."""
    seconds: float
    """Time it took the slowest process."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one process has seen of a set."""

    losses: NDArray[np.float64]
    """Mean loss of each batch."""
    weights: NDArray[np.float64]
    """Samples of each batch, or its targets that count."""
    state: State
    """Of its metrics."""
    forward_s: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Judge:
    """All that is needed to judge the model on any set."""

    model: nn.Module
    task: Task
    precision: Precision
    metrics: Sequence[str]
    """Metrics to compute."""
    batch_size: int
    """Samples of one forward pass; without gradients more of them fit than while training."""
    before: Callable[[], None] = lambda: None
    """Called before each evaluation: makes sure that all processes judge the same network."""
    with_tables: bool = False
    """Whether the data of plots are wanted."""
    with_time: bool = False
    """Whether `inference_time`, milliseconds per sample, is a metric too."""
    size: EvaluationSize | None = None
    """Where it is known that batches had to be made smaller, and told."""
    world: World = field(default_factory=World)
    """All processes; they must judge the same sets in the same order. Those that share the samples are the feed's."""

    def evaluate(self, feed: Feed, *, should_stop: Callable[[], bool] = lambda: False) -> Evaluation | None:
        """Return the metrics over all samples; None when there are none, or when ``should_stop`` says so on the way.

        Each process judges its share in as many forward passes as every other, and all get the same result: counts
        are those of one process alone, sums differ by their rounding. One that should stop stops all.
        Raises DataError when no target of the set counts.
        """
        if not len(feed):
            return None
        self.before()
        was_training = self.model.training
        self.model.eval()
        try:
            size = self.size or EvaluationSize(self.batch_size)
            return size.run(lambda batch_size: self._evaluate(feed, should_stop, batch_size), _get_share(feed))
        finally:
            self.model.train(was_training)
            reshard(self.model)

    def _evaluate(self, feed: Feed, should_stop: Callable[[], bool], batch_size: int) -> Evaluation | None:
        metrics = make_metrics(self.task, self.metrics)
        part = self._look(feed, metrics, should_stop, batch_size)
        if part is None:
            return None
        parts = feed.world.gather(part)
        if len(parts) > 1:
            metrics = make_metrics(self.task, self.metrics)
            for one in parts:  # by rank, so that every process gets the same bits
                metrics.merge(one.state)
        weights = np.concatenate([one.weights for one in parts])
        if not weights.any():
            raise DataError(f"no target counts: all are {IGNORED}", hint="look at the masks or labels of this set")
        loss = float(np.average(np.concatenate([one.losses for one in parts]), weights=weights))
        values = {"loss": loss, **metrics.compute(loss)}
        if self.with_time:
            values["inference_time"] = sum(one.forward_s for one in parts) / len(feed) * 1e3
        evaluation = Evaluation(
            metrics=values,
            confusion=metrics.get_confusion(),
            num_samples=len(feed),
            tables=metrics.make_tables() if self.with_tables else {},
            seconds=max(one.seconds for one in parts),
        )
        # Processes that split the layers of one network have judged the same samples, perhaps with other rounding.
        return evaluation if feed.world.size == self.world.size else self.world.broadcast(evaluation)

    def _look(self, feed: Feed, metrics: Metrics, should_stop: Callable[[], bool], batch_size: int) -> _Part | None:
        """Judge this process's share; None when any process should stop.

        Raises OthersShortError when another process has no memory for batches of this size: all are to take smaller
        ones then.
        """
        losses: list[Tensor] = []
        weights: list[int | Tensor] = []
        started = time.perf_counter()
        forward_s = 0.0
        shortage: Exception | None = None
        with torch.no_grad():  # inference_mode would spoil what a user's class caches for the next training step
            for inputs, targets, size in feed.iterate_share(batch_size):
                if self._agree(should_stop(), shortage):
                    return None
                before = time.perf_counter()
                try:
                    with self.precision.autocast():
                        outputs = self.model(inputs)
                        loss = self.task.compute_loss(outputs, targets).float()
                    if size:  # what stands in so that all take as many passes is not judged
                        losses.append(loss)
                        weights.append(self.task.count_targets(targets))
                        metrics.update(outputs, targets)  # brings the outputs to the CPU, so the device is done
                except Exception as error:
                    if self.world.size == 1 or not is_out_of_memory(error):
                        raise
                    if is_sharded(self.model):  # the others wait for this one within the pass: it can only end
                        guard = self.size or EvaluationSize(batch_size)
                        raise guard.give_up(error, _get_share(feed)) from error
                    shortage = error.with_traceback(None)  # it would hold on to what the pass had allocated
                forward_s += time.perf_counter() - before
            if self._agree(should_stop=False, shortage=shortage):
                return None
        return _Part(
            losses=torch.stack(losses).cpu().numpy().astype(np.float64) if losses else np.zeros(0),
            weights=np.asarray([float(weight) for weight in weights]),
            state=metrics.get_state(),
            forward_s=forward_s,
            seconds=time.perf_counter() - started,
        )

    def _agree(self, should_stop: bool, shortage: Exception | None) -> bool:
        """Return whether any process should stop; raise when any has no memory left.

        One that left the others alone in a forward pass would hang them.
        """
        if self.world.size == 1:
            return should_stop
        any_stop, any_short = self.world.sum(np.asarray([float(should_stop), float(shortage is not None)]))
        if shortage is not None:
            raise shortage
        if any_short:
            raise OthersShortError
        return bool(any_stop)


def _get_share(feed: Feed) -> int:
    """Return how many samples of a set one process judges at most."""
    return -(-len(feed) // feed.world.size)
