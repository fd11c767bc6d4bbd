"""Compiled networks: the same losses, kept for the next run; without a compiler it is told, and trained as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from footplate.trainer.speed import find_missing_compiler

MISSING = find_missing_compiler(torch.device("cpu"))

PROFILE = """
model: {architecture: mlp, hidden_size: 16, num_layers: 2}
data: {train_data: "sklearn:iris"}
training: {batch_size: 50, learning_rate: 0.01, max_steps: 9, log_frequency: 1, compile: {enabled: true}}
device: cpu
"""


def read_losses(run: Path) -> list[float]:
    lines = (run / "attempts" / "1" / "journal.rank0.jsonl").read_text(encoding="utf-8").splitlines()
    points = [json.loads(line[line.index("{") : line.rindex("}") + 1]) for line in lines]
    return [value for point in points for value in find_losses(point)]


def find_losses(value: Any) -> list[float]:
    if not isinstance(value, dict):
        return []
    own = [value["train/loss"]] if isinstance(value.get("train/loss"), float) else []
    return own + [loss for inner in value.values() for loss in find_losses(inner)]


@pytest.mark.timeout(300)
def test_compiled_losses_are_those_of_the_plain_network(
    footplate: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # this process has loaded the compiler
    (tmp_path / "footplate.yaml").write_text(PROFILE)
    runs = []
    for enabled in ("true", "false"):
        done = footplate("train", "--json", "--set", f"training.compile.enabled={enabled}", timeout=240, check=0)
        runs.append(Path(json.loads(done.stdout)["run_dir"]))
    log = (runs[0] / "attempts" / "1" / "log.rank0.txt").read_text(encoding="utf-8")
    cache = Path(os.environ["FOOTPLATE_HOME"]) / "cache" / "compiled"
    kept = [file for file in cache.rglob("*") if file.is_file()]
    assert bool(kept) == ("what is compiled is kept in" in log) == (not MISSING)
    assert not MISSING or f"training.compile: {MISSING}; the network is trained as it is" in " ".join(log.split())
    compiled, plain = (read_losses(run) for run in runs)
    assert len(compiled) >= 9
    assert compiled == pytest.approx(plain, rel=1e-4)
