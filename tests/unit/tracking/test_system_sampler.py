"""The sampler tells how the machine is doing, costs next to nothing and never outlives its parent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from footplate.record.journal import read_journal, read_metrics
from footplate.record.rundir import Attempt, RunDir

Start = Callable[..., tuple[Attempt, subprocess.Popen[bytes]]]
_LIMIT_S = 120.0
_ALWAYS = {
    "system/cpu_percent",
    "system/disk_free_gb",
    "system/memory_gb",
    "system/process_memory_gb",
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path, "x")
    run.write_json("run.json", {"created_at": (datetime.now(UTC) - timedelta(seconds=100)).isoformat()})
    return run


@pytest.fixture
def start(run: RunDir) -> Iterator[Start]:
    started = []

    def call(*options: str) -> tuple[Attempt, subprocess.Popen[bytes]]:
        attempt = run.new_attempt()
        argv = [sys.executable, "-m", "footplate.tracking.sampler", str(attempt.path), *options]
        started.append(subprocess.Popen(argv, stderr=subprocess.PIPE))
        return attempt, started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


def _wait_for_samples(attempt: Attempt, number: int) -> None:
    limit = time.monotonic() + _LIMIT_S
    while len(list(read_journal(attempt.journal_path("system")))) < number:
        assert time.monotonic() < limit, "no samples came"
        time.sleep(0.01)


def test_the_machine_and_the_parents_processes_are_sampled(run: RunDir, start: Start) -> None:
    attempt, process = start("0.05")
    _wait_for_samples(attempt, 3)
    process.terminate()
    assert process.wait(_LIMIT_S) == 0
    metrics = read_metrics(run)
    assert set(metrics) >= _ALWAYS
    last = {name: points[-1].value for name, points in metrics.items()}
    assert 0 <= last["system/cpu_percent"] <= 100
    assert last["system/memory_gb"] > last["system/process_memory_gb"] > 0.01
    assert last["system/process_memory_gb"] * 1e9 >= psutil.Process().memory_info().rss * 0.5
    # Steps are seconds since the run was made, not since this attempt began.
    assert 100 <= metrics["system/cpu_percent"][0].step < 130


def test_one_last_sample_is_taken_when_it_is_stopped(start: Start) -> None:
    attempt, process = start("1000")
    _wait_for_samples(attempt, 1)
    process.terminate()
    assert process.wait(_LIMIT_S) == 0
    assert len(list(read_journal(attempt.journal_path("system")))) == 2


def test_what_is_not_wanted_is_not_sampled(run: RunDir, start: Start) -> None:
    attempt, process = start("0.05", "--without", "memory,power,temperature,gpu_utilization")
    _wait_for_samples(attempt, 1)
    process.terminate()
    process.wait(_LIMIT_S)
    assert set(read_metrics(run)) == {"system/cpu_percent", "system/disk_free_gb"}


@pytest.mark.parametrize(
    ("options", "words"),
    [(["1", "--without", "sound"], "unknown: sound"), (["0"], "above 0"), (["often"], "invalid float")],
)
def test_wrong_arguments_are_refused(start: Start, options: list[str], words: str) -> None:
    _, process = start(*options)
    _, error = process.communicate(timeout=_LIMIT_S)
    assert process.returncode == 2
    assert words in error.decode()


def test_it_ends_when_its_parent_is_killed(run: RunDir) -> None:
    attempt = run.new_attempt()
    code = (
        "import subprocess, sys, time\n"
        "argv = [sys.executable, '-m', 'footplate.tracking.sampler', sys.argv[1], '0.05']\n"
        "print(subprocess.Popen(argv, stdout=subprocess.DEVNULL).pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(attempt.path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    sampler = psutil.Process(int(parent.stdout.readline()))
    _wait_for_samples(attempt, 1)
    parent.kill()
    parent.wait(_LIMIT_S)
    parent.stdout.close()
    limit = time.monotonic() + _LIMIT_S
    while sampler.is_running() and sampler.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit, "the sampler outlives its parent"
        time.sleep(0.01)


def test_a_sample_costs_little_time(start: Start) -> None:
    attempt, process = start("0.05")
    _wait_for_samples(attempt, 1)
    before = sum(psutil.Process(process.pid).cpu_times()[:2])
    _wait_for_samples(attempt, 21)
    spent_s = sum(psutil.Process(process.pid).cpu_times()[:2]) - before
    assert spent_s / 20 < 0.05  # half a percent of one core at a sample every 10 s; 0.003 on an idle machine
