"""Real run directories and real wrappers around real commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from footplate.record.files import write_json
from footplate.record.receipt import Receipt, find_receipt
from footplate.record.rundir import Attempt, RunDir

_LIMIT_S = 120.0
"""For machines that many share; what tests start lives longer: a wait never ends because its job has."""


class Wrapped:
    """A wrapper that was started around a command."""

    def __init__(self, run: RunDir, attempt: Attempt, process: subprocess.Popen[bytes]) -> None:
        self.run, self.attempt, self.process = run, attempt, process

    def wait(self) -> int:
        return self.process.wait(_LIMIT_S)

    @property
    def log(self) -> str:
        return self.attempt.log_path().read_text()

    @property
    def notes(self) -> str:
        path = self.attempt.path / "wrapper.log"
        return path.read_text() if path.exists() else ""

    @property
    def receipt(self) -> Receipt:
        receipt = find_receipt(self.attempt)
        assert receipt is not None
        return receipt

    def wait_for_log(self, text: str) -> None:
        path = self.attempt.log_path()
        wait_until(lambda: path.exists() and text in path.read_text())


def wait_until(holds: Callable[[], object]) -> None:
    limit = time.monotonic() + _LIMIT_S
    while not holds():
        assert time.monotonic() < limit, "it did not come true in time"
        time.sleep(0.01)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[[Callable[[], object]], None]:
    return wait_until


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path / "runs", "test")
    run.write_json("run.json", {"created_at": "2026-11-21T06:00:00+00:00"})
    return run


@pytest.fixture
def wrap(run: RunDir, tmp_path: Path) -> Iterator[Callable[..., Wrapped]]:
    """Return a function that starts a wrapper around a command; what is left at the end is killed."""
    started: list[Wrapped] = []

    def start(*argv: str, env: Mapping[str, str] | None = None, program: str = "", **job: Any) -> Wrapped:
        attempt = run.new_attempt()
        write_json(attempt.job_path, {"argv": list(argv), "cwd": str(tmp_path), "sidecars": [], **job})
        command = [program] if program else ["-m", "footplate.record.wrapper"]
        process = subprocess.Popen(
            [sys.executable, *command, str(run.path), str(attempt.number)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        started.append(Wrapped(run, attempt, process))
        return started[-1]

    yield start
    for wrapped in started:
        if wrapped.process.poll() is None:
            wrapped.process.kill()
            wrapped.process.wait(_LIMIT_S)
        receipt = find_receipt(wrapped.attempt)
        if receipt is not None and receipt.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(receipt.pid, signal.SIGKILL)
