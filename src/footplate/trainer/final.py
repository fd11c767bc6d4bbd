"""The final evaluation: the best weights on the test data, latency, size, gates."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from footplate.profile.sections.post_training import FinalEvaluation
from footplate.trainer.device import synchronize
from footplate.trainer.distributed.sharding import is_sharded
from footplate.trainer.evaluate import Judge
from footplate.trainer.loading.feed import Feed

__all__ = ["FinalResult", "get_size_mb", "judge_finally", "measure_latency_ms"]

_WARM_UP = 10
_PREDICTIONS = 100
_MIN_PREDICTIONS = 50
_LATENCY_LIMIT_S = 5.0
_log = logging.getLogger("footplate")


@dataclass
class FinalResult:
    """What the final evaluation has shown."""

    metrics: dict[str, float] = field(default_factory=dict)
    """`test/…` by name."""
    confusion: list[list[int]] | None = None
    """Of the test data; None for regression or when there are none."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Data of plots about the predictions on the test data, by name."""
    gates: list[dict[str, Any]] = field(default_factory=list)
    """Limits of the profile: name, limit, value, passed."""
    is_broken_off: bool = False
    """Whether someone asked to stop before all was measured; the same in all processes."""


def judge_finally(
    settings: FinalEvaluation, judge: Judge, test: Feed, sample: Tensor, should_stop: Callable[[], bool]
) -> FinalResult:
    """Judge the model on the test data and measure one prediction; ``sample`` is a batch of one input.

    What was not reached when ``should_stop`` says so is left out.
    """
    result = FinalResult()
    evaluation = judge.evaluate(test, should_stop=should_stop)
    if evaluation is not None:
        result.metrics |= {f"test/{name}": value for name, value in evaluation.metrics.items()}
        result.tables = evaluation.tables
        result.confusion = None if evaluation.confusion is None else evaluation.confusion.tolist()
    elif len(test):
        result.is_broken_off = True
    else:
        _log.warning("there are no test data: data.test_data is null and data.split.test is 0")
    asked = {name.rpartition("/")[2] for name in settings.test_metrics}
    if not asked or "memory_footprint" in asked or settings.target_memory_mb is not None:
        result.metrics["test/memory_mb"] = get_size_mb(judge.model)
    if not asked or "latency" in asked or settings.target_latency_ms is not None:
        latency = _measure_one_prediction(judge, sample, should_stop)
        if latency is not None:
            result.metrics["test/latency_ms"] = latency
        elif not is_sharded(judge.model):
            result.is_broken_off = True
    limits = {"latency_ms": settings.target_latency_ms, "memory_mb": settings.target_memory_mb}
    for name, limit in limits.items():
        value = result.metrics.get(f"test/{name}")
        if limit is not None and value is None:
            _log.warning("the gate %s is not checked: it was not measured", name)
        elif limit is not None and value is not None:
            result.gates.append({"name": name, "limit": limit, "value": value, "passed": value <= limit})
    return result


def _measure_one_prediction(judge: Judge, sample: Tensor, should_stop: Callable[[], bool]) -> float | None:
    """Return the first process's time of one prediction; None where it takes all of them to make one."""
    if is_sharded(judge.model):
        _log.info("latency is not measured: each process has a part of the network only")
        return None
    latency = measure_latency_ms(judge.model, sample, should_stop) if judge.world.is_first else None
    return judge.world.broadcast(latency)


def measure_latency_ms(
    model: nn.Module, sample: Tensor, should_stop: Callable[[], bool] = lambda: False
) -> float | None:
    """Return the median time of one prediction in milliseconds, after a warm-up.

    Over 100 predictions; fewer, but at least 50, when they take longer than 5 s together. None when it was stopped.
    """
    was_training = model.training
    model.eval()
    times: list[float] = []
    try:
        with torch.no_grad():
            for _ in range(_WARM_UP):
                model(sample)
            started = time.perf_counter()
            while len(times) < _PREDICTIONS:
                if should_stop():
                    return None
                if len(times) >= _MIN_PREDICTIONS and time.perf_counter() - started > _LATENCY_LIMIT_S:
                    break
                synchronize(sample.device)
                before = time.perf_counter()
                model(sample)
                synchronize(sample.device)
                times.append(time.perf_counter() - before)
    finally:
        model.train(was_training)
    return statistics.median(times) * 1e3


def get_size_mb(model: nn.Module) -> float:
    """Return the size of the weights and buffers in MB (10⁶ bytes); shared ones count once."""
    # One of which each process holds a part has no address of its own; its size is that of the whole.
    tensors = (*model.parameters(), *model.buffers())
    sizes = {tensor.data_ptr() or id(tensor): tensor.nbytes for tensor in tensors}
    return float(np.sum(list(sizes.values()))) / 1e6
