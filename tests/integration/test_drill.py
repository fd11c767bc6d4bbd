"""The drill proves that nothing is lost, and finds what would be: real trainings, really killed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]

_PROFILE = """
metadata: {profile_name: tiny}
model: {architecture: %s}
training: {batch_size: 16, max_epochs: 4}
data: {train_data: "sklearn:iris"}
device: cpu
"""
# Draws from a generator of its own, which no checkpoint knows.
_FORGETFUL = """
import math, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layer = nn.Linear(math.prod(input_shape), num_outputs)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, inputs):
        if self.training:
            inputs = inputs + 0.1 * torch.rand(inputs.shape, generator=self.generator)
        return self.layer(inputs)
"""
# Looks at the clock: no two trainings are the same.
_HURRIED = _FORGETFUL.replace("0.1 *", "(time.time() % 1) *").replace("import math", "import math, time")


def drill(footplate: Footplate, tmp_path: Path, architecture: str, *options: str, code: int) -> dict[str, Any]:
    (tmp_path / "footplate.yaml").write_text(_PROFILE % architecture)
    done = footplate("drill", "--steps", "24", *options, "--json", timeout=600, check=code)
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_a_training_that_is_killed_ends_with_the_same_bits(footplate: Footplate, tmp_path: Path) -> None:
    result = drill(footplate, tmp_path, "mlp, hidden_size: 8, dropout: 0.2", "--kills", "2", "--seed", "3", code=0)
    assert result["equal"]
    assert result["difference"] is None
    assert [kill["signal"] for kill in result["kills"]] == ["SIGKILL", "SIGUSR1"]
    preempted = result["kills"][1]
    assert preempted["resumed_from"] == preempted["step"]  # not one step was lost
    assert result["lead_time_s"] == pytest.approx(3 * preempted["ended_after_s"])
    assert "checkpoints/step-00000024" in result["compared"]
    assert result["checkpoint_bytes"] > 0
    assert 0 < result["checkpoint_stall_s"] <= 0.02 * result["advised_interval_s"]
    assert result["runs"] == []
    assert not [path for path in (tmp_path / "runs").iterdir() if (path / "run.json").exists()]
    assert json.loads(footplate("runs", "--json", check=0).stdout)["total"] == 0


def test_what_no_checkpoint_knows_is_found(footplate: Footplate, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(_FORGETFUL)
    result = drill(footplate, tmp_path, "nets:Net", "--kills", "2", "--seed", "3", "--keep", code=1)
    resumed_from = next(kill["resumed_from"] for kill in result["kills"] if kill["resumed_from"])
    assert not result["equal"]
    assert result["difference"]["step"] > resumed_from
    assert result["difference"]["place"].startswith("checkpoints/step-")
    assert result["difference"]["largest"] > 0
    assert "not in the checkpoint" in result["reason"]
    assert len(result["runs"]) == 2
    assert footplate("status", result["runs"][1], check=0).stdout.startswith(
        f"{result['runs'][1]} succeeded (attempt 3)"
    )


def test_a_training_that_cannot_be_repeated_is_found(footplate: Footplate, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(_HURRIED)
    result = drill(footplate, tmp_path, "nets:Net", "--kills", "2", "--seed", "5", code=1)
    assert result["difference"]["step"] == 3  # the first checkpoint there is
    assert "before anything was resumed" in result["reason"]


def test_kills_of_several_processes_may_lie_close_together(footplate: Footplate, tmp_path: Path) -> None:
    (tmp_path / "footplate.yaml").write_text(
        "metadata: {profile_name: pair}\nmodel: {hidden_size: 8, num_layers: 1}\ndata: {train_data: 'sklearn:iris'}\n"
        "training: {batch_size: 8, max_epochs: 4, log_frequency: 1}\ndevice: cpu\n"
        "distributed: {enabled: true, world_size: 2}\n"
    )
    told = footplate("drill", "--steps", "24", "--kills", "3", "--seed", "3", "--json", timeout=280, check=0)
    result = json.loads(told.stdout)
    assert result["equal"]
    assert len(result["kills"]) == 3
