"""Kills a process that writes its journal at full speed: what was acknowledged is there, once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from footplate.record.journal import Journal, count_damaged, read_journal

_NUMBERS_PER_ROUND = 1_000_000
_WRITER = """
import os, sys
from pathlib import Path
from footplate.record.journal import Journal
journal, step = Journal(Path(sys.argv[1])), int(sys.argv[2])
while True:
    journal.metrics(step, {"train/loss": step / 7, "train/lr": 1e-3})
    os.write(1, b"%d\\n" % step)
    step += 1
"""


@pytest.mark.parametrize("num_rounds", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_every_acknowledged_entry_survives_kill_9(tmp_path: Path, num_rounds: int) -> None:
    path = tmp_path / "journal.rank0.jsonl"
    generator = random.Random(7)
    acknowledged: list[int] = []
    for number in range(num_rounds):
        wait_s = generator.uniform(0.0, 0.05)
        acknowledged += _write_and_kill(path, number * _NUMBERS_PER_ROUND, wait_s, tmp_path / f"out{number}")
    with Journal(path) as journal:
        journal.metrics(-1, {"last": 1.0})
    found = Counter(entry.data["step"] for entry in read_journal(path))
    assert len(acknowledged) >= num_rounds
    assert not set(acknowledged) - found.keys()
    assert set(found.values()) == {1}
    assert found[-1] == 1
    # Each kill may have cut the one line that was being written, and a line more than was acknowledged may be there.
    assert count_damaged(path) <= num_rounds
    assert len(found) - 1 - len(acknowledged) <= num_rounds


def _write_and_kill(path: Path, first: int, wait_s: float, out: Path) -> list[int]:
    """Let a process write numbers from ``first`` on, kill it, and return those whose call had returned."""
    with open(out, "wb") as file:
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(first)], stdout=file)
        try:
            limit = time.monotonic() + 120
            while not out.stat().st_size:
                assert time.monotonic() < limit, "the writer does not start"
                assert process.poll() is None, "the writer has failed"
                time.sleep(0.001)
            time.sleep(wait_s)  # the moment of the kill is what is tested
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(120)
    return [int(line) for line in out.read_bytes().split(b"\n")[:-1]]
