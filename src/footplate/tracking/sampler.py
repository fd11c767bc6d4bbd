"""Samples the machine beside a job: ``python -m footplate.tracking.sampler ATTEMPT_DIR INTERVAL_S [--without …]``."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from footplate.errors import FootplateError
from footplate.record.clock import parse_utc
from footplate.record.files import read_json
from footplate.record.journal import Journal

__all__ = ["main"]

_CHOICES = ("gpu_utilization", "memory", "temperature", "power")
_MAX_ORPHANED_S = 2.0
_FIRST_S = 1.0  # a share of the CPU is measured over a time, so the first sample is not at once
_GB = 1e9

_Probe = Callable[[], dict[str, float]]


def main(argv: list[str] | None = None) -> int:
    """Write samples to the attempt's system journal until SIGTERM comes or the parent is gone."""
    parser = argparse.ArgumentParser(prog="footplate.tracking.sampler")
    parser.add_argument("attempt", type=Path)
    parser.add_argument("interval_s", type=float)
    parser.add_argument("--without", default="", help="what not to sample: " + ",".join(_CHOICES))
    arguments = parser.parse_args(argv)
    without = frozenset(filter(None, arguments.without.split(",")))
    if unknown := without - set(_CHOICES):
        parser.error(f"--without: unknown: {', '.join(sorted(unknown))}; known are {', '.join(_CHOICES)}")
    if not arguments.interval_s > 0:
        parser.error("INTERVAL_S must be above 0")
    parent = _find_wrapper(arguments.attempt)
    stop = _StopSignal()
    probes = [_make_machine_probe(arguments.attempt, parent, without), *_make_gpu_probes(without)]
    started = _find_start(arguments.attempt)
    with Journal(arguments.attempt / "journal.system.jsonl") as journal:
        due = time.monotonic() + min(arguments.interval_s, _FIRST_S)
        while not stop.wait_until(due, parent):
            _sample(journal, started, probes)
            due = max(due + arguments.interval_s, time.monotonic())
        _sample(journal, started, probes)
    return 0


class _StopSignal:
    """Waits for a time, SIGTERM or the parent's death, whichever comes first."""

    def __init__(self) -> None:
        self._stopped = False
        self._end, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def wait_until(self, due: float, parent: int) -> bool:
        """Return True when it is time to stop, False when ``due`` has come."""
        while not self._stopped and os.getppid() == parent:
            left = due - time.monotonic()
            if left <= 0:
                return False
            select.select([self._end], [], [], min(left, _MAX_ORPHANED_S))
        return True

    def _stop(self, *_: object) -> None:
        self._stopped = True


def _sample(journal: Journal, started: float, probes: list[_Probe]) -> None:
    values: dict[str, float] = {}
    for probe in probes:
        values |= probe()
    journal.metrics(max(0, int(time.time() - started)), {f"system/{name}": value for name, value in values.items()})


def _find_wrapper(attempt: Path) -> int:
    """Return the PID of the wrapper that started this process: it may be dead before its child asks for its parent."""
    try:
        return int(read_json(attempt / "receipt.json")["wrapper_pid"])
    except (FootplateError, KeyError, TypeError, ValueError):
        return os.getppid()


def _find_start(attempt: Path) -> float:
    """Return when the run was made, so that the steps of its attempts follow each other; else now."""
    try:
        return parse_utc(read_json(attempt.parent.parent / "run.json")["created_at"]).timestamp()
    except (FootplateError, KeyError, TypeError, ValueError):
        return time.time()


def _make_machine_probe(folder: Path, parent: int, without: frozenset[str]) -> _Probe:
    """Return what samples processors, memory and disk: of the machine, and of the parent's processes without this."""
    import psutil

    machine_memory = "memory" not in without
    psutil.cpu_percent()  # the next call tells the share since this one

    def probe() -> dict[str, float]:
        values = {"cpu_percent": psutil.cpu_percent()}
        with suppress(OSError):  # a share may be away for a while
            values["disk_free_gb"] = psutil.disk_usage(str(folder)).free / _GB
        if machine_memory:
            values["memory_gb"] = psutil.virtual_memory().used / _GB
            values["process_memory_gb"] = _get_tree_memory(parent) / _GB
        return values

    return probe


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


def _make_gpu_probes(without: frozenset[str]) -> list[_Probe]:
    """Return what samples each NVIDIA GPU that this job may use; nothing where there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = {index: pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())}
    except pynvml.NVMLError:  # no driver here
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible and all(word.strip().isdecimal() for word in visible.split(",")):
        handles = {index: handle for index, handle in handles.items() if index in map(int, visible.split(","))}
    readers: list[tuple[str, str, Callable[[object], float]]] = [
        ("gpu_utilization", "utilization", lambda gpu: float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu)),
        ("memory", "memory_gb", lambda gpu: float(pynvml.nvmlDeviceGetMemoryInfo(gpu).used) / _GB),
        ("temperature", "temperature_c", lambda gpu: float(pynvml.nvmlDeviceGetTemperature(gpu, 0))),
        ("power", "power_w", lambda gpu: float(pynvml.nvmlDeviceGetPowerUsage(gpu)) / 1e3),
    ]
    readers = [reader for reader in readers if reader[0] not in without]

    def make(index: int, handle: object) -> _Probe:
        def probe() -> dict[str, float]:
            values = {}
            for _, name, read in readers:
                try:
                    values[f"gpu{index}_{name}"] = read(handle)
                except pynvml.NVMLError:  # this device does not tell it
                    continue
            return values

        return probe

    return [make(index, handle) for index, handle in handles.items()]


if __name__ == "__main__":
    sys.exit(main())
