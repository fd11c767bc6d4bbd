"""Kills the command line, the wrapper and the job of runs at random moments: each state that is told is true."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from footplate.errors import FootplateError
from footplate.record.receipt import Receipt, find_receipt
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, Status, get_status

_LIMIT_S = 120.0
_LATEST_KILL_S = 1.2
_LAST_LINE = "line 14\n"
_JOB = """
import time
for number in range(15):
    print("line", number, flush=True)
    time.sleep(0.05)
"""
_CHOICES = (("verb",), ("wrapper",), ("job",), ("verb", "wrapper"), ("verb", "wrapper", "job"))


@pytest.mark.parametrize("num_rounds", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_the_state_is_true_whatever_is_killed(tmp_path: Path, num_rounds: int) -> None:
    (tmp_path / "job.py").write_text(_JOB)
    generator = random.Random(11)
    for number in range(num_rounds):
        doomed = generator.choice(_CHOICES)
        folder = tmp_path / f"runs{number}"
        killed = _run_and_kill(folder, doomed, generator.uniform(0.05, _LATEST_KILL_S))
        for path in folder.glob("*/run.json"):  # none when it was killed before there was a run
            run = RunDir.open(path.parent)
            told = f"round {number}, killed {killed}: "
            _check(run, _wait_for_end(run), killed, told)


def _run_and_kill(folder: Path, doomed: tuple[str, ...], after_s: float) -> tuple[str, ...]:
    """Start a run, kill what is doomed of it and there; return what that was."""
    command = [sys.executable, "-m", "footplate", "run", "--output-dir", str(folder), "--", sys.executable, "job.py"]
    verb = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(after_s)  # the moment of the kill is what is tested
        receipt = _find_receipt(folder)
        wrapper = receipt.wrapper_pid if receipt is not None and receipt.wrapper_pid != verb.pid else None
        job = receipt.pid if receipt is not None and receipt.exit_code is None else None
        killed = []
        for name, pid in (("verb", verb.pid), ("wrapper", wrapper), ("job", job)):
            if name in doomed and pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(name)
        verb.wait(_LIMIT_S)
    finally:
        verb.kill()
        verb.wait()
    return tuple(killed)


def _find_receipt(folder: Path) -> Receipt | None:
    for path in folder.glob("*/run.json"):
        with suppress(FootplateError):
            return find_receipt(RunDir.open(path.parent).get_attempt(1))
    return None


def _wait_for_end(run: RunDir) -> Status:
    limit = time.monotonic() + _LIMIT_S
    while not (status := get_status(run)).state.is_final:
        assert time.monotonic() < limit, f"still {status}"
        time.sleep(0.02)
    return status


def _check(run: RunDir, status: Status, killed: tuple[str, ...], told: str) -> None:
    told += str(status)
    log = run.get_attempt(1).log_path()
    is_whole = log.exists() and log.read_text().endswith(_LAST_LINE)
    assert status.evidence, told
    if status.state is RunState.succeeded:
        assert is_whole, told
    elif "wrapper" in killed or not log.exists():
        assert status.state in (RunState.lost, RunState.failed), told
    else:
        assert "job" in killed, told
        assert (status.state, status.signal) == (RunState.failed, "SIGKILL"), told
