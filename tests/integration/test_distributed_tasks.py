"""Tasks whose samples have different numbers of targets: real processes train and judge as one would."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from footplate.profile.load import load_profile_text
from footplate.record.rundir import RunDir
from footplate.runs.plan import get_command

LIMIT_S = 150.0
NETWORK = """
from torch import nn


class Positions(nn.Module):
    '''Two layers over the features of each position.'''

    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(input_shape[-1], 32), nn.Tanh(), nn.Linear(32, num_outputs))

    def forward(self, inputs):
        return self.layers(inputs)
"""
PROFILE = """
model: {architecture: "net:Positions"}
data: {train_data: data.npz, task: sequence, split: {val: 0.2, test: 0.2}}
training: {batch_size: %d, gradient_accumulation_steps: 2, learning_rate: 0.5, optimizer: sgd, max_epochs: 4}
post_training: {final_evaluation: {target_latency_ms: 1000}}
"""


def train(batch_size: int, distributed: str = "") -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the result, the last weights and what the first process has printed."""
    text = PROFILE % batch_size + distributed
    run = RunDir.create(Path("runs"), "test")
    run.new_attempt()
    (run.path / "profile.yaml").write_text(text, encoding="utf-8")
    command = [word.replace("{run_dir}", str(run.path)) for word in get_command(load_profile_text(text))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    result = json.loads((run.path / "result.json").read_text(encoding="utf-8"))
    printed = done.stdout + done.stderr + "".join(path.read_text() for path in run.path.rglob("log.*.txt"))
    return result, load_file(run.artifacts / "last.safetensors"), printed


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write sequences of very different lengths, an odd number of them, into the current directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(211, 12, 3)).astype(np.float32)
    targets = (inputs[:, :, 0] > 0).astype(np.int64) + (inputs[:, :, 1] > 0)
    lengths = np.where(rng.random(211) < 0.5, 1, 12)
    targets[np.arange(12)[None] >= lengths[:, None]] = -100
    np.savez("data.npz", x=inputs, y=targets)
    Path("net.py").write_text(NETWORK, encoding="utf-8")


@pytest.mark.usefixtures("data")
def test_two_processes_weigh_and_judge_targets_as_one_does() -> None:
    one, weights, _ = train(16)
    for strategy in ("ddp", "fsdp"):
        two, others, printed = train(8, f"distributed: {{enabled: true, strategy: {strategy}, world_size: 2}}\n")
        for name, value in weights.items():
            assert np.abs(others[name] - value).max() <= 2e-6 * np.abs(value).max(), (strategy, name)
        counted = ("accuracy", "f1", "precision", "recall", "memory_mb")
        for name, value in one["metrics"].items():
            if name.endswith("loss"):
                assert two["metrics"][name] == pytest.approx(value, rel=1e-6), (strategy, name)
            elif name.endswith(counted):
                assert two["metrics"][name] == value, (strategy, name)
        assert two["tables"] == one["tables"]
        assert one["metrics"]["test/accuracy"] > 0.6, "nothing was learnt"
        # A process with a part of the network cannot be timed alone, and says that a gate was not checked.
        is_sharded = strategy == "fsdp"
        assert ("test/latency_ms" not in two["metrics"]) is is_sharded
        assert [gate["name"] for gate in two["gates"]] == ([] if is_sharded else ["latency_ms"])
        assert ("the gate latency_ms is not checked" in printed) is is_sharded
