"""What the machine tells of itself: processors, memory, disk, temperature, clocks, energy."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["EnergyCounters", "make_machine_probe"]

_GB = 1e9
_POWERCAP = Path("/sys/class/powercap")
_THERMAL = Path("/sys/class/thermal")


class EnergyCounters:
    """The energy counters of the processor packages (RAPL), added up since the start; they run over after a while."""

    def __init__(self, folder: Path = _POWERCAP) -> None:
        self._last: dict[Path, int] = {}
        self._used_uj = 0
        for file in sorted(folder.glob("intel-rapl:*/energy_uj")):
            if file.parent.name.count(":") == 1:  # parts of a package are in it already
                with suppress(OSError, ValueError):  # root only, on most machines
                    self._last[file] = int(file.read_text())

    def read_j(self) -> float | None:
        """Return the joules used since the start; None where there is no counter that may be read.

        To be called more often than a counter runs over, which takes several minutes.
        """
        for file, last in self._last.items():
            try:
                now = int(file.read_text())
                range_uj = 0 if now >= last else int((file.parent / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                return None
            self._used_uj += now - last + range_uj
            self._last[file] = now
        return self._used_uj / 1e6 if self._last else None


def make_machine_probe(
    folder: Path, parent: int, without: frozenset[str], *, thermal: Path = _THERMAL, powercap: Path = _POWERCAP
) -> Callable[[], dict[str, float]]:
    """Return what samples the machine, the disk of ``folder``, and the processes of ``parent`` without this one."""
    import psutil

    psutil.cpu_percent()  # the next call tells the share since this one
    energy = None if "power" in without else EnergyCounters(powercap)

    def probe() -> dict[str, float]:
        values = {"cpu_percent": psutil.cpu_percent()}
        with suppress(OSError):  # a share may be away for a while
            values["disk_free_gb"] = psutil.disk_usage(str(folder)).free / _GB
        if "memory" not in without:
            values["memory_gb"] = psutil.virtual_memory().used / _GB
            values["process_memory_gb"] = _get_tree_memory(parent) / _GB
        if "gpu_utilization" not in without:
            _set(values, "cpu_clock_mhz", _read_clock())
        if "temperature" not in without:
            _set(values, "cpu_temperature_c", _read_temperature(thermal))
        if energy is not None:
            _set(values, "cpu_energy_j", energy.read_j())
        return values

    return probe


def _set(values: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        values[name] = value


def _read_clock() -> float | None:
    import psutil

    with suppress(OSError, NotImplementedError, RuntimeError):  # many virtual machines tell no clock
        found = psutil.cpu_freq()
        return float(found.current) if found is not None and found.current else None
    return None


def _read_temperature(thermal: Path) -> float | None:
    """Return the hottest sensor of the processor or the board, in °C; None where there is none."""
    import psutil

    degrees = []
    for file in thermal.glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):  # a zone may sleep
            degrees.append(int(file.read_text()) / 1000)
    if not degrees and hasattr(psutil, "sensors_temperatures"):
        found: Any = psutil.sensors_temperatures()
        degrees = [float(one.current) for group in found.values() for one in group]
    return max(degrees, default=None)


def _get_tree_memory(root: int) -> int:
    """Return the resident bytes of a process and its descendants, this one left out; pages they share count twice."""
    import psutil

    total = 0
    try:
        family = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        if process.pid != os.getpid():
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it ended meanwhile, or is another user's
                continue
    return total
