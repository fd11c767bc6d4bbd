"""`footplate train` as a person types it: a real training, its bar on a terminal, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Footplate = Callable[..., subprocess.CompletedProcess[str]]

DIGITS = """metadata: {profile_name: digits}
data: {train_data: "sklearn:digits"}
model: {hidden_size: 32, num_layers: 1}
training: {batch_size: 64, max_epochs: 3, learning_rate: 0.003}
resources: {num_cpus: 1}
"""


def test_trains_and_ends_with_json_alone_on_stdout(footplate: Footplate) -> None:
    Path("footplate.yaml").write_text(DIGITS)
    done = footplate("train", "--json", check=0)
    value = json.loads(done.stdout)
    assert set(value) == {"run_id", "state", "cause", "run_dir", "metrics", "report", "exit_code"}
    assert value["state"] == "succeeded"
    assert value["exit_code"] == 0
    assert value["metrics"]["test/accuracy"] > 0.8
    run = Path(value["run_dir"])
    assert run.name == value["run_id"]
    assert {"plan.json", "profile.yaml", "result.json", "report.md", "code.json", "env.json"} <= {
        p.name for p in run.iterdir()
    }
    assert f"# Run {value['run_id']}" in Path(value["report"]).read_text()
    told = done.stderr
    assert told.index("1,437 × [8, 8]") < told.index("step ")  # what was found is said before the training
    assert re.search(r"\n  test/accuracy +0\.\d+\n", told)
    for place in ("artifacts/model.safetensors", "report.md", "log.rank0.txt"):
        assert f"runs/{run.name}/{place}" in told or f"runs/{run.name}/attempts/1/{place}" in told
    assert f"footplate rerun {run.name[-6:]}" in told
    assert max(len(line) for line in told.splitlines()) <= 80


def test_shows_a_bar_on_a_terminal(footplate: Footplate) -> None:
    Path("footplate.yaml").write_text(DIGITS)
    shown = run_on_terminal("train")
    assert "69 steps · " in shown
    assert re.search(r"69/69, 00:00 left, loss [\d.]+, val acc 0\.\d+, [\d,]+ samples/s", shown)
    assert "succeeded after" in shown


def run_on_terminal(*args: str, limit_s: float = 120) -> str:
    """Return what a verb writes to a terminal of 80 columns."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "footplate", *args]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=end)
    os.close(end)
    shown = b""
    deadline = time.monotonic() + limit_s
    try:
        while time.monotonic() < deadline:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.wait(timeout=120) == 0, shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    return shown.decode()


def wait_for(find: Callable[[], Any], limit_s: float = 120) -> Any:
    end = time.monotonic() + limit_s
    while not (found := find()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def test_ctrl_c_leaves_a_usable_run() -> None:
    Path("footplate.yaml").write_text(DIGITS.replace("max_epochs: 3", "max_epochs: 100000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "footplate", "train", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(
            lambda: any(
                b'"evaluation"' in path.read_bytes() for path in Path("runs").glob("*/attempts/1/journal.rank0.jsonl")
            )
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, err
    value = json.loads(out)
    assert value["state"] == "cancelled"
    assert re.search(r"what was trained in [\d,]+ steps is kept", " ".join(err.split()))
    artifacts = Path(value["run_dir"], "artifacts")
    assert {"model.safetensors", "last.safetensors"} <= {path.name for path in artifacts.iterdir()}
    assert value["metrics"]["test/accuracy"] > 0.5
