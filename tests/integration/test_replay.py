"""Replaying a step: the same numbers as in the run, and the name of what is not finite first."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]

# One module gives no number for one sample: the one whose inputs are far away.
_NET = """
import torch
from torch import nn

class Shaky(nn.Module):
    def forward(self, inputs):
        return torch.where(inputs.amax(dim=1, keepdim=True) > 100, float("nan"), inputs)

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.first = nn.Linear(input_shape[0], 8)
        self.shaky = Shaky()
        self.last = nn.Linear(8, num_outputs)

    def forward(self, inputs):
        return self.last(self.shaky(self.first(inputs)))
"""
_PROFILE = """
metadata: {profile_name: shaky}
model: {architecture: %s}
training: {batch_size: 8, max_epochs: 1, log_frequency: 1, checkpointing: {enabled: true, frequency: 3}}
data: {train_data: data.npz, split: {val: 0.0, test: 0.0}}
device: cpu
post_training: {final_evaluation: {enabled: false}, report: {enabled: false}}
"""
_BAD = 37


def write(tmp_path: Path, *, architecture: str, is_bad: bool) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(96, 4)).astype(np.float32)
    if is_bad:
        inputs[_BAD] = 1e4
    np.savez(tmp_path / "data.npz", x=inputs, y=(generator.random(96) > 0.5).astype(np.int64))
    (tmp_path / "nets.py").write_text(_NET)
    (tmp_path / "footplate.yaml").write_text(_PROFILE % architecture)


def replay(footplate: Footplate, run_id: str, step: int) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(footplate("replay", run_id, "--step", str(step), "--json", check=0).stdout)
    return seen


def test_a_step_gives_the_recorded_loss_from_a_checkpoint_and_from_the_start(
    footplate: Footplate, tmp_path: Path
) -> None:
    write(tmp_path, architecture="mlp, hidden_size: 8, dropout: 0.3", is_bad=False)
    done = footplate("train", "--json", check=0)
    run_id, folder = (json.loads(done.stdout)[key] for key in ("run_id", "run_dir"))
    before = sorted(path.name for path in Path(folder).rglob("*"))
    by_step = {step: replay(footplate, run_id, step) for step in (2, 8)}
    assert [seen["checkpoint"] for seen in by_step.values()] == [None, "step-00000006"]
    for seen in by_step.values():
        assert seen["recorded"]["difference"] == 0.0  # the same bits, dropout included
        assert seen["recorded"]["same"]
        assert seen["first_wrong"] is None
        assert len(seen["indices"]) == 8
    assert by_step[8]["first_step"] == 7
    assert sorted(path.name for path in Path(folder).rglob("*")) == before
    done = footplate("replay", run_id, "--step", "13", check=2)
    assert "this training has steps 1 to 12" in done.stderr


def test_the_module_and_the_sample_that_are_not_finite_are_named(footplate: Footplate, tmp_path: Path) -> None:
    write(tmp_path, architecture="nets:Net", is_bad=True)
    done = footplate("train", "--json", check=1)
    run = json.loads(done.stdout)
    step = int(done.stderr.split("the loss became NaN at step ")[1].split(";")[0].split()[0].rstrip(";,."))
    (tmp_path / "nets.py").write_text("raise SystemExit('this is not the recorded code')\n")
    seen = replay(footplate, run["run_id"], step)
    assert seen["first_wrong"] == f"the output of shaky (Shaky) in batch 1, at samples {_BAD}"
    assert seen["loss"] is None
    assert seen["recorded"]["loss"] is None
    assert seen["recorded"]["note"].endswith("the training ended before it was recorded")
    assert seen["gradients"]["last.weight"] is None
    by_name = {module["name"]: module["output"] for module in seen["modules"]}
    assert by_name["first"]["num_not_finite"] == 0
    shown = footplate("replay", run["run_id"], "--step", str(step), check=0).stdout
    assert "first: the output of shaky (Shaky) in batch 1, at samples 37" in " ".join(shown.split())


def test_the_debugger_stops_before_the_forward_pass(footplate: Footplate, tmp_path: Path) -> None:
    write(tmp_path, architecture="nets:Net", is_bad=False)
    run_id = json.loads(footplate("train", "--json", check=0).stdout)["run_id"]
    typed = "p 'inputs', tuple(batch.inputs.shape)\np loss_function(model(batch.inputs), batch.targets).item()\nc\n"
    done = footplate("replay", run_id, "--step", "2", "--pdb", "--json", input=typed, check=0)
    assert "('inputs', (8, 4))" in done.stderr
    seen = json.loads(done.stdout)
    assert seen["recorded"]["same"]
    assert repr(seen["loss"]) in done.stderr
    assert "loss_function(model(batch.inputs)" in done.stderr
    done = footplate("replay", run_id, "--step", "2", "--pdb", "--json", input="q\n", check=0)
    assert json.loads(done.stdout) == {"run_id": run_id, "step": 2, "stopped": "in the debugger"}


def test_a_distributed_training_is_replayed_in_one_process(footplate: Footplate, tmp_path: Path) -> None:
    write(tmp_path, architecture="mlp, hidden_size: 8", is_bad=False)
    with (tmp_path / "footplate.yaml").open("a") as file:
        file.write("distributed: {enabled: true, world_size: 2}\n")
    run_id = json.loads(footplate("train", "--json", check=0).stdout)["run_id"]
    seen = replay(footplate, run_id, 5)
    assert (seen["num_processes"], len(seen["indices"])) == (2, 16)
    assert seen["recorded"]["same"]
    assert seen["recorded"]["difference"] < 1e-6


def test_layers_thaw_in_a_replay_as_they_did_in_the_training(footplate: Footplate, tmp_path: Path) -> None:
    write(tmp_path, architecture="mlp, hidden_size: 8, num_layers: 2", is_bad=False)
    with (tmp_path / "footplate.yaml").open("a") as file:
        file.write("transfer_learning: {enabled: true, strategy: gradual_unfreezing, unfreeze_schedule: [1, 2]}\n")
    run = json.loads(footplate("train", "--set", "training.max_epochs=3", "--json", check=0).stdout)
    for step, checkpoint in ((14, None), (35, "step-00000033")):
        seen = replay(footplate, run["run_id"], step)
        assert seen["checkpoint"] == checkpoint
        assert seen["recorded"]["difference"] == 0.0
        assert len(seen["gradients"]) == 2 * (1 + seen["epoch"])  # weight and bias of each layer that has thawed


_HUNGRY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.first, self.last = nn.Linear(input_shape[0], 8), nn.Linear(8, num_outputs)
        self.drop, self.passes = nn.Dropout(0.5), 0

    def forward(self, inputs):
        self.passes += self.training
        if self.training and self.passes == 3 and len(inputs) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.last(self.drop(torch.relu(self.drop(self.first(inputs)))))
"""


def test_a_step_in_smaller_batches_is_replayed_in_smaller_batches(footplate: Footplate, tmp_path: Path) -> None:
    write(tmp_path, architecture="'nets:Net'", is_bad=False)
    (tmp_path / "nets.py").write_text(_HUNGRY)
    run = json.loads(footplate("train", "--json", check=0).stdout)
    (Path(run["run_dir"]) / "nets.py").write_text(_HUNGRY)
    seen = replay(footplate, run["run_id"], 5)
    assert [batch["size"] for batch in seen["batches"]] == [4, 4]
    assert seen["recorded"]["difference"] == 0.0
    calls = [module for module in seen["modules"] if module["name"] == "drop"]
    assert [module["batch"] for module in calls] == [1, 1]  # it takes part twice in a pass
