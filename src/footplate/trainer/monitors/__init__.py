"""What watches a training: one file for each thing that is watched, and the one function that makes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from footplate.record.journal import Journal
from footplate.record.rundir import Attempt
from footplate.trainer.assemble import Parts
from footplate.trainer.hooks import Hook
from footplate.trainer.memory.recovery import Recovery, Surroundings
from footplate.trainer.monitors.batch_size import BatchSizeWriter
from footplate.trainer.monitors.heat import HeatLimits, HeatWatch, find_sensor
from footplate.trainer.monitors.layers import LayerWatch
from footplate.trainer.monitors.memory_guard import INTERVAL_S, MemoryGuard
from footplate.trainer.monitors.stall import StallWatch, end_attempt
from footplate.trainer.monitors.throughput import make_throughput_writer
from footplate.trainer.monitors.watchman import Look, Watchman

__all__ = ["Monitors", "make_monitors"]

_log = logging.getLogger("footplate")


@dataclass(frozen=True, kw_only=True)
class Monitors:
    """What watches one training."""

    hooks: list[Hook]
    """In the order they are told."""
    beat: Callable[[], None]
    """Takes note that something was finished."""

    def watch(self, find_stop: Callable[[], str]) -> Callable[[], bool]:
        """Return what is asked for each batch of an evaluation whether to stop: that it is asked shows progress."""

        def should_stop() -> bool:
            self.beat()
            return bool(find_stop())

        return should_stop


def make_monitors(
    parts: Parts, recovery: Recovery, around: Surroundings, journal: Journal, should_stop: Callable[[], bool]
) -> Monitors:
    """Return what watches this training as its profile asks; ``should_stop`` says whether someone asks to stop."""
    hooks: list[Hook] = [BatchSizeWriter(recovery, journal)]
    if parts.profile.monitoring.track_throughput:
        hooks.append(make_throughput_writer(parts, journal))
    layers = _make_layer_watch(parts, journal)
    if layers is not None:
        hooks.append(layers)
        recovery.watch_gradients(layers.on_gradients)
    looks: list[Look] = []
    stall = _make_stall_watch(parts, journal)
    if stall is not None:
        hooks.append(stall)
        looks.append(Look(name="progress", interval_s=stall.interval_s, run=stall.look))
    beat = _ignore if stall is None else stall.beat
    heat = _make_heat_watch(parts, journal, beat, should_stop)
    if heat is not None:
        hooks.append(heat)
        interval_s = parts.profile.monitoring.health_check_interval
        looks.append(Look(name="the temperature", interval_s=interval_s, run=heat.look))
    if parts.device.type == "cpu" and around.limits:
        guard = MemoryGuard(recovery, around.limits)
        looks.append(Look(name="the memory", interval_s=INTERVAL_S, run=guard.look))
    hooks.append(Watchman(looks))
    return Monitors(hooks=hooks, beat=beat)


def _make_layer_watch(parts: Parts, journal: Journal) -> LayerWatch | None:
    """Return what looks into the layers; of several processes the first one does, and none where each has a part."""
    frequency = parts.profile.monitoring.histogram_frequency
    if frequency is None or not parts.world.is_first or parts.stepper.parallel.is_sharded:
        return None
    return LayerWatch(parts.model, frequency, journal, with_total=parts.profile.training.max_grad_norm is None)


def _make_stall_watch(parts: Parts, journal: Journal) -> StallWatch | None:
    threshold_s = parts.profile.monitoring.stall_detection_threshold
    if threshold_s is None:
        return None
    folder = journal.path.parent
    attempt = Attempt(number=int(folder.name) if folder.name.isdecimal() else 1, path=folder)
    ends = end_attempt(attempt, parts.world.rank) if parts.profile.fault_tolerance.auto_restart else None
    return StallWatch(threshold_s, journal, on_stall=ends)


def _make_heat_watch(
    parts: Parts, journal: Journal, beat: Callable[[], None], should_stop: Callable[[], bool]
) -> HeatWatch | None:
    power, warns_above = parts.profile.power_management, parts.profile.monitoring.temperature_threshold_celsius
    pauses_above = power.max_temperature_celsius if power.enable_thermal_throttling else None
    if warns_above is None and pauses_above is None:
        return None
    sensor = find_sensor(parts.device)
    if sensor is None:
        _log.warning("no temperature can be read here: the training neither warns of heat nor pauses")
        journal.event("no_temperature_sensor")
        return None
    limits = HeatLimits(
        warns_above=warns_above,
        pauses_above=pauses_above,
        longest_pause_s=parts.world.timeout_s / 2 if parts.world.size > 1 else None,
    )
    return HeatWatch(sensor, limits, journal, should_stop=should_stop, beat=beat)


def _ignore() -> None:
    """Take no note."""
