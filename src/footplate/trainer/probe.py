"""A probe: some real steps, timed, to know how long the training will take."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import Any

from footplate.data.load import LoadedData
from footplate.profile.model import Profile
from footplate.trainer.assemble import Parts, assemble
from footplate.trainer.device import synchronize
from footplate.trainer.distributed.world import ALONE, World
from footplate.trainer.energy import EnergyMeter
from footplate.trainer.interrupt import Interrupt
from footplate.trainer.optim import set_learning_rate
from footplate.trainer.progress import Progress

__all__ = ["measure_steps"]

_WARM_UP = 5
_STEPS = 50


def measure_steps(profile: Profile, data: LoadedData, interrupt: Interrupt, world: World = ALONE) -> dict[str, Any]:
    """Do 50 real steps (fewer if the training is shorter) after 5 to warm up; return what one takes.

    ``step_s`` is the median, ``step_s_range`` what 8 of 10 steps lie between; ``energy_j_per_step`` is None where the
    machine does not tell, and ``energy_note`` says why.
    """
    parts = assemble(profile, data, world)
    with closing(parts.train):
        return _measure(parts, interrupt)


def _measure(parts: Parts, interrupt: Interrupt) -> dict[str, Any]:
    parts.model.train()
    progress = Progress(num_train=len(parts.train))
    for _ in range(_WARM_UP):
        _take_step(parts, progress)
    synchronize(parts.device)
    energy = EnergyMeter(parts.device)
    seconds, samples = [], progress.samples
    for _ in range(max(1, min(_STEPS, parts.horizon.total_steps))):
        if interrupt.requested:
            raise KeyboardInterrupt
        before = time.perf_counter()
        _take_step(parts, progress)
        synchronize(parts.device)
        seconds.append(time.perf_counter() - before)
    joules = energy.read_j()
    return {
        "steps": len(seconds),
        "step_s": statistics.median(seconds),
        "step_s_range": statistics.quantiles(seconds, n=10)[::8] if len(seconds) > 1 else [seconds[0], seconds[0]],
        "samples_per_s": (progress.samples - samples) / len(seconds) / statistics.median(seconds),
        "energy_j_per_step": None if joules is None else joules / len(seconds),
        "energy_note": energy.note,
        "device": str(parts.device),
    }


def _take_step(parts: Parts, progress: Progress) -> None:
    """Do one step just as the training does."""
    training = parts.profile.training
    learning_rate = parts.get_learning_rate(min(progress.step, parts.horizon.total_steps - 1))
    set_learning_rate(parts.stepper.optimizer, learning_rate)
    seed, size = parts.profile.reproducibility.seed, parts.horizon.effective_batch
    step = parts.train.take(seed, progress.epoch, progress.position, size)
    parts.stepper.take_step(step, training.batch_size)
    progress.count(num_samples=step.num_samples)
