"""Runs attempts of trainings, each in a process that is forked off: a start then costs no import.

One JSON object a line on stdin: ``{"run": …, "attempt": 1, "signal": "SIGKILL" or "", "after_s": 0.1, "after":
"metrics", "entries": 1, "env": {}}``. The signal is sent so long after so many journal entries of that kind. One line
comes back: the exit code, negative for a signal. An attempt whose journal does not grow is killed after a while.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import sklearn.datasets  # noqa: F401  what every attempt would import
import torch

import footplate.trainer.training  # noqa: F401
from footplate import worker

_POLL_S = 0.001
_SILENCE_LIMIT_S = 120.0


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _train(order)
        print(_supervise(pid, order), flush=True)


def _train(order: dict[str, Any]) -> NoReturn:
    code = 99
    try:
        run, attempt = Path(order["run"]), order["attempt"]
        folder = run / "attempts" / str(attempt)
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / "log.rank0.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(run.parent)
        os.environ.update({"FOOTPLATE_ATTEMPT": str(attempt), **order.get("env", {})})
        code = worker.main(["train", str(run)])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _supervise(pid: int, order: dict[str, Any]) -> int:
    journal = Path(order["run"]) / "attempts" / str(order["attempt"]) / "journal.rank0.jsonl"
    number = signal.Signals[order["signal"]] if order.get("signal") else None
    mark = f'"kind":"{order.get("after", "event")}"'.encode()
    entries = order.get("entries", 1)
    strike_at = None
    size, limit = 0, time.monotonic() + _SILENCE_LIMIT_S
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if (
            number is not None
            and strike_at is None
            and journal.exists()
            and journal.read_bytes().count(mark) >= entries
        ):
            strike_at = now + order.get("after_s", 0.0)
        if number is not None and strike_at is not None and now >= strike_at:
            os.kill(pid, number)
            number = None
        if journal.exists() and journal.stat().st_size != size:
            size, limit = journal.stat().st_size, now + _SILENCE_LIMIT_S
        if now > limit:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
