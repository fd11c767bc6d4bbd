"""Long kills: a journal is killed again and again while it is written, and nothing that it has taken is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from footplate.record.journal import count_damaged, read_metrics
from footplate.record.rundir import RunDir

WRITER = """
import sys
from pathlib import Path
from footplate.record.journal import Journal

first = int(sys.argv[2])
with Journal(Path(sys.argv[1])) as journal:
    for step in range(first, first + 1_000_000):
        journal.metrics(step, {"train/loss": 1 / (step + 1), "train/lr": 0.1})
        sys.stdout.write(f"{step}\\n")
        sys.stdout.flush()
"""
NUM_KILLS = 200


@pytest.mark.soak
def test_nothing_a_journal_has_taken_is_lost_by_kills(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "soak")
    path = run.new_attempt().journal_path()
    chance = random.Random(1)
    first, taken = 0, set[int]()
    for _ in range(NUM_KILLS):
        command = [sys.executable, "-c", WRITER, str(path), str(first)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        taken.add(int(process.stdout.readline()))  # it has begun
        end = time.monotonic() + chance.uniform(0, 0.05)
        while time.monotonic() < end:
            taken.add(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=120)
        taken |= {int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")}
        first = max(taken) + 10
    found = {point.step for point in read_metrics(run)["train/loss"]}
    assert taken <= found
    assert count_damaged(path) <= NUM_KILLS
