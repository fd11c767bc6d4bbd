"""How well the machine is used: share of time spent waiting for data, tokens per second, share of the peak (MFU)."""

from __future__ import annotations

import logging
import math
import re

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from footplate.profile.costs import count_flops
from footplate.profile.model import get_model_section
from footplate.record.journal import Journal
from footplate.trainer.assemble import Parts
from footplate.trainer.hooks import Hook
from footplate.trainer.loading.feed import Feed
from footplate.trainer.meter import Reading
from footplate.trainer.progress import Progress

__all__ = ["ThroughputWriter", "find_peak", "make_throughput_writer", "trace_flops"]

_log = logging.getLogger("footplate")
_BACKWARD = 2
"""A backward pass has two products of matrices for each one of the forward pass."""
_PEAKS: tuple[tuple[str, dict[str, float]], ...] = (
    (r"\bB200\b", {"bf16": 2250, "fp16": 2250, "tf32": 1100, "fp32": 75}),
    (r"\bH200\b", {"bf16": 989, "fp16": 989, "tf32": 494, "fp32": 67}),
    (r"\bH100 PCIe", {"bf16": 756, "fp16": 756, "tf32": 378, "fp32": 51}),
    (r"\bH100 NVL", {"bf16": 835, "fp16": 835, "tf32": 417, "fp32": 60}),
    (r"\bH100\b", {"bf16": 989, "fp16": 989, "tf32": 494, "fp32": 67}),
    (r"\bA100\b", {"bf16": 312, "fp16": 312, "tf32": 156, "fp32": 19.5}),
    (r"\bA40\b", {"bf16": 149.7, "fp16": 149.7, "tf32": 74.8, "fp32": 37.4}),
    (r"\bA30\b", {"bf16": 165, "fp16": 165, "tf32": 82, "fp32": 10.3}),
    (r"\bA10\b", {"bf16": 125, "fp16": 125, "tf32": 62.5, "fp32": 31.2}),
    (r"\bL40S\b", {"bf16": 362, "fp16": 362, "tf32": 183, "fp32": 91.6}),
    (r"\bL4\b", {"bf16": 121, "fp16": 121, "tf32": 60, "fp32": 30.3}),
    (r"\bRTX A6000\b", {"bf16": 154.8, "fp16": 154.8, "tf32": 77.4, "fp32": 38.7}),
    (r"\bRTX 4090\b", {"bf16": 165.2, "fp16": 165.2, "tf32": 82.6, "fp32": 82.6}),
    (r"\bRTX 3090\b(?! Ti)", {"bf16": 71, "fp16": 71, "tf32": 35.6, "fp32": 35.6}),
    (r"\bV100\b", {"fp16": 125, "fp32": 15.7}),
    (r"\bT4\b", {"fp16": 65, "fp32": 8.1}),
)
"""TFLOP/s by the name torch gives, dense, sums in fp32. From NVIDIA's data sheets of each GPU, and for the GeForce and
RTX ones from the whitepapers of GA102 and AD102."""
_NOT_WHOLE = re.compile(r"\bMIG\b|Laptop|Max-Q")


class ThroughputWriter(Hook):
    """Writes ``train/data_wait_share``; ``train/tokens_per_s`` and ``train/mfu`` where they mean something."""

    def __init__(
        self, feed: Feed, journal: Journal, *, tokens_per_sample: int = 0, share_per_sample: float | None = None
    ) -> None:
        self._feed = feed
        self._journal = journal
        self._tokens = tokens_per_sample
        self._share = share_per_sample
        self._step = 0
        self._waited = feed.waited_s

    def on_start(self, progress: Progress) -> None:
        self._step, self._waited = progress.step, self._feed.waited_s

    def on_log(self, progress: Progress, reading: Reading) -> None:  # noqa: ARG002
        waited, steps = self._feed.waited_s, reading.step - self._step
        seconds = steps / reading.steps_per_s if reading.steps_per_s > 0 else 0.0
        values = {"train/data_wait_share": min(1.0, (waited - self._waited) / seconds) if seconds else 0.0}
        self._step, self._waited = reading.step, waited
        if self._tokens:
            values["train/tokens_per_s"] = reading.samples_per_s * self._tokens
        if self._share is not None:
            values["train/mfu"] = reading.samples_per_s * self._share
        self._journal.metrics(reading.step, values)


def make_throughput_writer(parts: Parts, journal: Journal) -> ThroughputWriter:
    """Return the writer for this training; the operations of one sample are counted where the peak is known."""
    is_text = parts.task.kind == "language_model"
    return ThroughputWriter(
        parts.train,
        journal,
        tokens_per_sample=math.prod(parts.data.facts.input_shape) if is_text else 0,
        share_per_sample=_find_share(parts),
    )


def find_peak(name: str, precision: str) -> float | None:
    """Return the FLOP/s a GPU can do at most, by torch's name of it; None where it is not known.

    ``precision``: `bf16`, `fp16`, `tf32` or `fp32`.
    """
    if _NOT_WHOLE.search(name):
        return None
    for pattern, peaks in _PEAKS:
        if re.search(pattern, name):
            return peaks[precision] * 1e12 if precision in peaks else None
    return None


def trace_flops(model: nn.Module, inputs: torch.Tensor) -> float:
    """Return the floating-point operations that training takes for one sample: forward and backward pass.

    Counted in a forward pass without gradients and dropout, so that nothing of the training is changed.
    """
    was_training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            model(inputs)
    finally:
        model.train(was_training)
    return (1 + _BACKWARD) * counter.get_total_flops() / len(inputs)


def _find_share(parts: Parts) -> float | None:
    """Return the share of the peak, of all processes, that one sample per second is."""
    if parts.device.type != "cuda" or parts.stepper.parallel.is_sharded:
        return None
    name = torch.cuda.get_device_properties(parts.device).name
    precision = parts.precision.name
    if precision == "fp32" and parts.profile.embedded_optimizations.use_tf32:
        precision = "tf32"
    peak = find_peak(name, precision)
    if peak is None:
        return None
    try:
        # By formula where there is one: torch does not see into the recurrent layers.
        flops = count_flops(get_model_section(parts.profile), parts.data.facts.signature)
        if flops is None:
            flops = trace_flops(parts.model, next(parts.train.iterate(1)).inputs)
    except Exception as error:  # noqa: BLE001 — a network that cannot be counted is trained all the same
        _log.info("the operations of this network cannot be counted, so there is no train/mfu: %s", error)
        return None
    return flops / (peak * parts.world.size)
