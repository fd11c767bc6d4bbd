"""Samples the machine beside a job: ``python -m footplate.tracking.sampler ATTEMPT_DIR INTERVAL_S [--without …]``."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from footplate.errors import FootplateError
from footplate.record.clock import parse_utc
from footplate.record.files import read_json
from footplate.record.journal import Journal
from footplate.tracking.gpus import find_gpus, make_gpu_probe
from footplate.tracking.machine import make_machine_probe

__all__ = ["main"]

_CHOICES = ("gpu_utilization", "memory", "temperature", "power")
_MAX_ORPHANED_S = 2.0
_FIRST_S = 1.0  # a share of the CPU is measured over a time, so the first sample is not at once

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
    probes = [make_machine_probe(arguments.attempt, parent, without), *_make_gpu_probes(without)]
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


def _make_gpu_probes(without: frozenset[str]) -> list[_Probe]:
    """Return what samples each NVIDIA GPU that this job may use; nothing where there is none."""
    found = find_gpus()
    if found is None:
        return []
    nvml, handles = found
    return [make_gpu_probe(nvml, index, handle, without) for index, handle in handles.items()]


if __name__ == "__main__":
    sys.exit(main())
