"""A million metrics into MLflow: none lost and none twice, whatever is killed, deaf or broken on the way."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from recorded import add_attempt, end, make_run, write_entries
from trackers import find_free_port, open_door, run_mlflow

from footplate.record.rundir import RunDir
from footplate.tracking.shipping.logbook import Logbook

STEPS, KILLED_AT, RESUMED_AT = 100_000, 60_000, 20_000
NAMES = tuple(f"train/metric_{number}" for number in range(10))


def make_million(folder: Path, port: int) -> RunDir:
    """Return a run of 100,000 steps with ten metrics; 40,000 of them are there twice, and the clock jumped."""
    run = make_run(folder, {"mlflow": {"tracking_uri": f"http://127.0.0.1:{port}"}})
    first = add_attempt(run)
    write_entries(first.journal_path(), make_steps(range(KILLED_AT), start=1_800_000_000.0))
    with first.journal_path().open("ab") as journal:
        journal.write(b'{"t":1800000060.0,"kind":"metrics","step":60000,"val')  # killed within a line
    second = add_attempt(run)
    write_entries(second.journal_path(), [{"t": 1_700_000_000.0, "kind": "rewind", "step": RESUMED_AT - 1}])
    write_entries(second.journal_path(), make_steps(range(RESUMED_AT, STEPS), start=1_700_000_000.0))
    end(run, second)
    return run


def make_steps(steps: range, start: float) -> list[dict[str, object]]:
    return [
        {
            "t": round(start + step * 1e-3, 6),
            "kind": "metrics",
            "step": step,
            "values": {name: step * 0.5 + place for place, name in enumerate(NAMES)},
        }
        for step in steps
    ]


def count(database: Path) -> tuple[int, int, float]:
    """Return how many rows there are, how many different (name, step), and how many of them have another value."""
    with sqlite3.connect(database, timeout=60) as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM metrics")
        [(different,)] = connection.execute("SELECT count(*) FROM (SELECT DISTINCT key, step FROM metrics)")
        wrong = "value != step * 0.5 + CAST(substr(key, 14) AS INTEGER)"
        [(others,)] = connection.execute(f"SELECT count(*) FROM metrics WHERE {wrong}")
    return rows, different, others


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_a_million_metrics_none_lost_none_twice(tmp_path: Path) -> None:
    chance = random.Random(11)
    folder = tmp_path / "server"
    folder.mkdir()
    port = find_free_port()
    with ExitStack() as stack:
        server = stack.enter_context(run_mlflow(folder, port))
        door = stack.enter_context(open_door(port))
        run = make_million(tmp_path, door.port)
        command = [sys.executable, "-m", "footplate.tracking.shipping", str(run.path), "--once"]
        kills = 0
        for fault in ("", "deaf", "500", "", "shut", "507", "deaf", ""):
            door.fault, door.after = fault, door.batches + chance.randrange(5, 30)
            door.slow_s = 5.0 if fault == "" and kills == 0 else 0.0
            process = subprocess.Popen(command)
            time.sleep(chance.uniform(4, 14))  # a moment to be killed at, whatever it does then
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait(60)
        door.fault, door.slow_s = "", 0.0
        process = subprocess.Popen(command)
        time.sleep(chance.uniform(5, 8))
        os.killpg(server.pid, signal.SIGKILL)  # in the middle of a batch
        assert process.wait(300) == 1
        assert Logbook.read(run, "mlflow").error
        stack.enter_context(run_mlflow(folder, port))
        assert subprocess.run(command, timeout=1500, check=False).returncode == 0
    assert kills >= 3
    assert Logbook.read(run, "mlflow").is_closed
    assert count(folder / "store.db") == (STEPS * len(NAMES), STEPS * len(NAMES), 0)
