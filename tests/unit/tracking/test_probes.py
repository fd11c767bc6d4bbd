"""What the machine and a GPU tell: every number by itself, and energy by counters that run over."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from footplate.tracking.gpus import make_gpu_probe
from footplate.tracking.machine import EnergyCounters, make_machine_probe

NOTHING: frozenset[str] = frozenset()


def make_counter(folder: Path, name: str, value: int) -> Path:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{value}\n")
    (folder / name / "max_energy_range_uj").write_text("1000000\n")
    return folder / name / "energy_uj"


def test_energy_is_added_up_over_packages_and_over_counters_that_run_over(tmp_path: Path) -> None:
    first, second = make_counter(tmp_path, "intel-rapl:0", 900_000), make_counter(tmp_path, "intel-rapl:1", 0)
    make_counter(tmp_path, "intel-rapl:0:0", 5)  # a part of the first
    counters = EnergyCounters(tmp_path)
    assert counters.read_j() == 0
    first.write_text("100000")
    second.write_text("300000")
    assert counters.read_j() == pytest.approx(0.5)
    first.write_text("200000")
    assert counters.read_j() == pytest.approx(0.6)


def test_without_a_counter_there_is_no_energy(tmp_path: Path) -> None:
    assert EnergyCounters(tmp_path).read_j() is None


def test_the_machine_tells_what_it_has_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "thermal_zone0").mkdir()
    (tmp_path / "thermal_zone0" / "temp").write_text("51500")
    make_counter(tmp_path, "intel-rapl:0", 0)
    probe = make_machine_probe(tmp_path, os.getpid(), NOTHING, thermal=tmp_path, powercap=tmp_path)
    values = probe()
    assert values["cpu_temperature_c"] == 51.5
    assert values["cpu_energy_j"] == 0
    everything = frozenset({"gpu_utilization", "memory", "temperature", "power"})
    less = make_machine_probe(tmp_path, os.getpid(), everything, thermal=tmp_path, powercap=tmp_path)()
    assert set(less) == {"cpu_percent", "disk_free_gb"}


class Nvml(ModuleType):
    """Stands for pynvml: a GPU that knows no power, and is held down for heat."""

    class NVMLError(Exception):
        """As pynvml's."""

    NVML_CLOCK_SM = 1
    nvmlClocksThrottleReasonSwPowerCap = 4
    nvmlClocksThrottleReasonHwThermalSlowdown = 64

    def __init__(self) -> None:
        super().__init__("nvml")
        self.__dict__.update({name: value for name, value in vars(Nvml).items() if name.startswith("nvmlClocks")})
        self.energy = 5000

    def nvmlDeviceGetUtilizationRates(self, gpu: object) -> Any:
        return SimpleNamespace(gpu=73)

    def nvmlDeviceGetClockInfo(self, gpu: object, kind: int) -> int:
        return 1410

    def nvmlDeviceGetMemoryInfo(self, gpu: object) -> Any:
        return SimpleNamespace(used=2e9)

    def nvmlDeviceGetTemperature(self, gpu: object, kind: int) -> int:
        return 88

    def nvmlDeviceGetPowerUsage(self, gpu: object) -> int:
        raise self.NVMLError("not supported")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: object) -> int:
        return 64

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: object) -> int:
        return self.energy


def test_a_gpu_tells_what_it_can() -> None:
    nvml = Nvml()
    probe = make_gpu_probe(nvml, 2, object(), NOTHING)
    nvml.energy = 12_500
    assert probe() == {
        "gpu2_utilization": 73,
        "gpu2_clock_mhz": 1410,
        "gpu2_memory_gb": 2,
        "gpu2_temperature_c": 88,
        "gpu2_thermal_throttled": 1,
        "gpu2_power_throttled": 0,
        "gpu2_energy_j": 7.5,
    }
    assert set(make_gpu_probe(nvml, 0, object(), frozenset({"power", "temperature"}))()) == {
        "gpu0_utilization",
        "gpu0_clock_mhz",
        "gpu0_memory_gb",
    }
