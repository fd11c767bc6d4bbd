"""What is recorded is in W&B's log, once: read back by wandb's own upload, into a server that counts."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import add_attempt, end, make_metrics, make_run, write_entries

from footplate.record.journal import read_metrics
from footplate.record.rundir import RunDir
from footplate.tracking.shipping.logbook import Logbook
from wandb_server import WandBServer, serve_wandb

OWN = {"_step", "_timestamp", "_runtime", "footplate/step", "footplate/second"}
HISTOGRAM = {"low": -1.0, "high": 1.0, "counts": [2, 6], "num_not_finite": 0}


@pytest.fixture
def server() -> Iterator[WandBServer]:
    with serve_wandb() as server:
        yield server


def make_environment(server: WandBServer, mode: str) -> dict[str, str]:
    place = f"http://127.0.0.1:{server.port}"
    made_up = {"WANDB_BASE_URL": place, "WANDB_API_KEY": "a" * 40, "WANDB_MODE": mode, "WANDB_ERROR_REPORTING": "false"}
    return {**os.environ, **made_up}


def make_command(run: RunDir) -> list[str]:
    return [sys.executable, "-m", "footplate.tracking.shipping", str(run.path), "--once"]


def ship(run: RunDir, server: WandBServer, mode: str = "offline") -> int:
    return subprocess.run(make_command(run), env=make_environment(server, mode), timeout=100, check=False).returncode


def upload(run: RunDir, server: WandBServer) -> None:
    [folder] = run.path.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", "--yes", str(folder)]
    done = subprocess.run(command, env=make_environment(server, "online"), capture_output=True, timeout=100, check=True)
    assert b"Finished syncing" in done.stdout + done.stderr


def make_resumed_run(folder: Path, steps: int = 300) -> RunDir:
    run = make_run(folder, {"wandb": {"project": "wings", "tags": ["small", "test"]}})
    (run.path / "profile.yaml").write_text("training: {batch_size: 16}\n")
    first = add_attempt(run)
    write_entries(first.journal_path("system"), make_metrics(range(1000, 1010), system__cpu_percent=1.0))
    write_entries(first.journal_path(), make_metrics(range(steps), train__loss=0.5, train__lr=0.1))
    table = {"t": time.time(), "kind": "table", "name": "weights", "step": 5, "value": {"layer": HISTOGRAM}}
    odd = {"t": time.time(), "kind": "metrics", "step": 0, "values": {"odd": "NaN", "x" * 40_000: 3.0}}
    write_entries(first.journal_path(), [table, odd])
    second = add_attempt(run)
    write_entries(second.journal_path(), [{"t": time.time(), "kind": "rewind", "step": steps - 50}])
    write_entries(second.journal_path(), make_metrics(range(steps - 49, steps + 50), train__loss=0.5, train__lr=0.1))
    (run.artifacts / "weights.bin").write_bytes(b"123")
    run.write_json("artifacts.json", [{"path": "weights.bin", "size": 3, "sha256": ""}])
    end(run, second)
    return run


def check_stored(run: RunDir, server: WandBServer) -> list[dict[str, Any]]:
    """Compare the lines that came with what the run has recorded: neither less nor more."""
    rows = server.read("wandb-history.jsonl")
    assert [row["_step"] for row in rows] == [*range(len(rows))]
    stored: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        step = row.get("footplate/second", row.get("footplate/step"))
        for name, value in row.items():
            if name not in OWN and not isinstance(value, dict):
                stored.setdefault(name, []).append((step, value))
    recorded = {name: [(point.step, point.value) for point in points] for name, points in read_metrics(run).items()}
    assert math.isnan(stored.pop("odd")[0][1])
    recorded.pop("odd")
    assert {name: sorted(values) for name, values in stored.items()} == recorded
    return rows


def test_an_offline_log_is_read_by_wandbs_own_tool_and_has_everything_once(server: WandBServer, tmp_path: Path) -> None:
    run = make_resumed_run(tmp_path)
    assert ship(run, server) == 0
    assert server.runs == {}  # offline is offline
    [folder] = run.path.glob("wandb/offline-run-*")
    assert Logbook.read(run, "wandb").where == f"wandb sync {folder}"
    upload(run, server)
    rows = check_stored(run, server)
    told = server.runs[run.id]
    assert (told["project"], told["tags"], told["displayName"]) == ("wings", ["small", "test"], run.id)
    assert "batch_size" in str(server.files["config.yaml"])
    assert server.files["weights.bin"] == b"123"
    [histogram] = [row["weights/layer"] for row in rows if "weights/layer" in row]
    assert (histogram["values"], histogram["bins"]) == ([2, 6], [-1.0, 0.0, 1.0])
    assert ship(run, server) == 0
    upload(run, server)  # a second upload says the same of the same lines
    check_stored(run, server)


def test_an_end_is_taken_back_when_the_run_goes_on(server: WandBServer, tmp_path: Path) -> None:
    run = make_resumed_run(tmp_path)
    assert ship(run, server) == 0
    third = add_attempt(run)
    write_entries(third.journal_path(), make_metrics(range(350, 400), train__loss=0.5))
    assert ship(run, server) == 0
    end(run, third)
    assert ship(run, server) == 0
    upload(run, server)
    check_stored(run, server)


def test_online_the_end_of_a_run_is_uploaded_and_a_server_that_is_down_gets_it_later(
    server: WandBServer, tmp_path: Path
) -> None:
    run = make_resumed_run(tmp_path)
    server.is_down = True
    assert ship(run, server, "online") == 1
    assert "wandb sync: " in Logbook.read(run, "wandb").error
    server.is_down = False
    assert ship(run, server, "online") == 0
    check_stored(run, server)
    assert Logbook.read(run, "wandb").memory["url"] == f"http://127.0.0.1:{server.port}/somebody/wings/runs/{run.id}"


def test_a_run_that_goes_on_is_uploaded_while_it_does(server: WandBServer, tmp_path: Path) -> None:
    run = make_run(tmp_path, {"wandb": {}})
    attempt = add_attempt(run)
    write_entries(attempt.journal_path(), make_metrics(range(100), train__loss=0.5, odd=0.0))
    command = [sys.executable, "-m", "footplate.tracking.shipping", str(run.path)]
    process = subprocess.Popen(command, env=make_environment(server, "online"))
    wait_until(lambda: len(server.read("wandb-history.jsonl")) == 100)
    write_entries(attempt.journal_path(), make_metrics(range(100, 150), train__loss=0.5))
    end(run, attempt)
    assert process.wait(60) == 0
    rows = server.read("wandb-history.jsonl")
    assert [row["train/loss"] for row in rows] == [step + 0.5 for step in range(150)]
    assert "/runs/" in Logbook.read(run, "wandb").memory["url"]


def wait_until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < limit, "it did not come true in time"
        time.sleep(0.05)


def test_kills_at_random_moments_lose_and_double_nothing(server: WandBServer, tmp_path: Path) -> None:
    run = make_resumed_run(tmp_path, steps=20_000)
    chance = random.Random(7)
    for _ in range(5):
        process = subprocess.Popen(make_command(run), env=make_environment(server, "offline"))
        limit = time.monotonic() + 60
        while not list(run.path.glob("wandb/*/*.wandb")) and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert ship(run, server) == 0
    upload(run, server)
    check_stored(run, server)
