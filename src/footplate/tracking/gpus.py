"""What NVIDIA GPUs tell of themselves, each number by itself: one that a device does not tell is left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import ModuleType

__all__ = ["find_gpus", "make_gpu_probe"]

_GB = 1e9
_Read = Callable[[], float]
_THERMAL = ("HwThermalSlowdown", "SwThermalSlowdown")
_POWER = ("SwPowerCap", "HwPowerBrakeSlowdown")


def find_gpus() -> tuple[ModuleType, dict[int, object]] | None:
    """Return NVML and the handles, by number, of the GPUs that this job may use; None where there are none."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = {index: pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())}
    except pynvml.NVMLError:  # no driver here
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible and all(word.strip().isdecimal() for word in visible.split(",")):
        handles = {index: handle for index, handle in handles.items() if index in map(int, visible.split(","))}
    return (pynvml, handles) if handles else None


def make_gpu_probe(
    nvml: ModuleType, index: int, handle: object, without: frozenset[str]
) -> Callable[[], dict[str, float]]:
    """Return what samples one GPU, as ``gpu0_utilization`` and so on.

    ``energy_j`` is what the GPU has used since the probe was made, by its own counter; ``thermal_throttled`` and
    ``power_throttled`` are 1 while the clocks are held down for that reason.
    """
    readers = {name: read for kind, name, read in _list_readers(nvml, handle) if kind not in without}
    if "power" not in without and (energy := _make_energy_reader(nvml, handle)) is not None:
        readers["energy_j"] = energy

    def probe() -> dict[str, float]:
        values = {}
        for name, read in readers.items():
            try:
                values[f"gpu{index}_{name}"] = read()
            except nvml.NVMLError:  # this device does not tell it
                continue
        return values

    return probe


def _list_readers(nvml: ModuleType, gpu: object) -> list[tuple[str, str, _Read]]:
    """Return group, name and reader of each number."""
    return [
        ("gpu_utilization", "utilization", lambda: float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)),
        ("gpu_utilization", "clock_mhz", lambda: float(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))),
        ("memory", "memory_gb", lambda: float(nvml.nvmlDeviceGetMemoryInfo(gpu).used) / _GB),
        ("temperature", "temperature_c", lambda: float(nvml.nvmlDeviceGetTemperature(gpu, 0))),
        ("temperature", "thermal_throttled", lambda: _is_throttled(nvml, gpu, _THERMAL)),
        ("power", "power_w", lambda: float(nvml.nvmlDeviceGetPowerUsage(gpu)) / 1e3),
        ("power", "power_throttled", lambda: _is_throttled(nvml, gpu, _POWER)),
    ]


def _is_throttled(nvml: ModuleType, gpu: object, reasons: tuple[str, ...]) -> float:
    known: Mapping[str, int] = vars(nvml)
    bits = 0
    for reason in reasons:
        bits |= known.get(f"nvmlClocksThrottleReason{reason}", 0)
    return float(bool(int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)) & bits))


def _make_energy_reader(nvml: ModuleType, gpu: object) -> _Read | None:
    try:
        start = nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    except nvml.NVMLError:  # older than Volta
        return None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) - start) / 1e3
