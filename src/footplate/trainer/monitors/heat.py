"""Watches the temperature: warns, and pauses the training until the board has cooled down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from footplate.record.journal import Journal
from footplate.trainer.energy import find_gpu_handle
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["HeatLimits", "HeatWatch", "find_sensor"]

Sensor = Callable[[], float]
_COOLER = 5.0
"""Degrees below the limit at which it goes on: at the limit itself it would stop again at once."""
_PAUSE_S = 1.0
_log = logging.getLogger("footplate")


@dataclass(frozen=True, kw_only=True)
class HeatLimits:
    """Degrees Celsius; None: no limit."""

    warns_above: float | None = None
    """`monitoring.temperature_threshold_celsius`."""
    pauses_above: float | None = None
    """`power_management.max_temperature_celsius`, where the training is to pause."""
    longest_pause_s: float | None = None
    """A step is done at least so often, so that the other processes do not take this one for dead."""


class HeatWatch(Hook):
    """Reads a sensor in another thread (``look``), and holds the training between two steps while it is too hot."""

    watches_steps: ClassVar[bool] = True

    def __init__(
        self,
        sensor: Sensor,
        limits: HeatLimits,
        journal: Journal,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        beat: Callable[[], None] = lambda: None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._sensor = sensor
        self._limits = limits
        self._journal = journal
        self._should_stop = should_stop
        self._beat = beat
        self._wait = wait
        self._is_hot = False
        self._must_pause = False
        self._step = 0
        self.paused_s = 0.0
        """Time in which the training was held, in seconds."""

    def on_step(self, progress: Progress) -> None:
        self._step = progress.step
        if self._must_pause:
            self._pause()

    def look(self) -> None:
        """Read the sensor; called in another thread than the training's."""
        degrees = self._sensor()
        warns, pauses = self._limits.warns_above, self._limits.pauses_above
        if warns is not None:
            if degrees > warns and not self._is_hot:
                self._is_hot = True
                self._journal.event("hot", step=self._step, temperature_c=degrees, threshold_c=warns)
                _log.warning("%.0f °C, above monitoring.temperature_threshold_celsius: %g", degrees, warns)
            elif degrees <= warns - _COOLER:
                self._is_hot = False
        if pauses is not None and degrees > pauses:
            self._must_pause = True

    def _pause(self) -> None:
        limit = self._limits.pauses_above
        degrees = hottest = self._sensor()
        if limit is None or degrees <= limit - _COOLER:  # it has cooled down by itself
            self._must_pause = False
            return
        _log.warning("%.0f °C: the training pauses until it is at most %g °C", degrees, limit - _COOLER)
        started = time.monotonic()
        longest = self._limits.longest_pause_s
        while degrees > limit - _COOLER and not self._should_stop():
            if longest is not None and time.monotonic() - started >= longest:
                break
            self._beat()
            self._wait(_PAUSE_S)
            degrees = self._sensor()
            hottest = max(hottest, degrees)
        self._must_pause = degrees > limit - _COOLER
        paused = time.monotonic() - started
        self.paused_s += paused
        self._journal.event(
            "thermal_pause", step=self._step, temperature_c=hottest, resumed_at_c=degrees, paused_s=round(paused, 3)
        )
        _log.info("%.0f °C: going on after a pause of %.0f s", degrees, paused)


def find_sensor(device: torch.device, *, zones: Path = Path("/sys/class/thermal")) -> Sensor | None:
    """Return what reads the temperature that matters: of the GPU that is trained on, else the hottest of the board.

    None where nothing can be read.
    """
    for sensor in (_find_gpu_sensor(device), _find_zone_sensor(zones), _find_psutil_sensor()):
        if sensor is not None:
            return sensor
    return None


def _find_gpu_sensor(device: torch.device) -> Sensor | None:
    handle = find_gpu_handle(device) if device.type == "cuda" else None
    if handle is None:
        return None
    import pynvml

    def read() -> float:
        return float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))

    return read if _works(read) else None


def _find_zone_sensor(zones: Path) -> Sensor | None:
    files = [file for file in sorted(zones.glob("thermal_zone*/temp")) if _works(partial(_read_zone, file))]

    def read() -> float:
        degrees = []
        for file in files:
            with suppress(OSError, ValueError):  # a zone may sleep
                degrees.append(_read_zone(file))
        return max(degrees, default=0.0)

    return read if files else None


def _read_zone(file: Path) -> float:
    return int(file.read_text()) / 1000


def _find_psutil_sensor() -> Sensor | None:
    import psutil

    if not hasattr(psutil, "sensors_temperatures"):
        return None

    def read() -> float:
        found: Any = psutil.sensors_temperatures()
        return max(float(one.current) for group in found.values() for one in group)

    return read if _works(read) else None


def _works(read: Callable[[], object]) -> bool:
    try:
        read()
    except Exception:  # noqa: BLE001 — drivers raise what they like; what cannot be read is no sensor
        return False
    return True
