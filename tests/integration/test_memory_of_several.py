"""One process of several runs out of memory: all go on in smaller batches with the same losses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from footplate.record.journal import read_events, read_metrics
from footplate.record.receipt import find_receipt
from footplate.record.rundir import RunDir

_NETWORK = """
import os
import torch
from torch import nn

class Hungry(nn.Module):
    '''Runs out of memory in the second process: in its fourth step with more than 8 samples, or in an evaluation.'''

    def __init__(self, hidden_size=8, num_layers=1, hungry=True, judged=1000, clipped=False):
        super().__init__()
        self.last, self.passes, self.hungry, self.judged = nn.Linear(4, 3), 0, hungry, judged
        if clipped and os.environ.get("RANK") == "1":
            nn.utils.clip_grad_norm_ = self.fail

    def fail(self, *args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    def forward(self, x):
        self.passes += self.training
        if not self.training and os.environ.get("RANK") == "1" and len(x) > self.judged:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        if self.hungry and self.passes >= 4 and os.environ.get("RANK") == "1" and len(x) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return self.last(x)
"""
_PROFILE = """
model: {architecture: "hungry:Hungry", hungry: true}
data: {train_data: "sklearn:iris"}
device: cpu
distributed: {enabled: true, world_size: 2}
training: {batch_size: 15, max_epochs: 2, log_frequency: 1}
fault_tolerance: {auto_restart: true, restart_delay: 0}
"""
_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def test_all_processes_go_back_together(tmp_path: Path, footplate: Callable[..., CompletedProcess[str]]) -> None:
    run = _train(tmp_path, footplate, _PROFILE.replace("world_size: 2", "world_size: 3"))
    assert len(run.attempts()) == 1
    halved = [entry.data for entry in read_events(run) if entry.data["name"] == "out_of_memory"]
    assert [(event["step"], event["rank"], event["batch_size"], event["new_batch_size"]) for event in halved] == [
        (4, 1, 15, 8)
    ]
    assert halved[0]["asked_bytes"] == 20 * 2**20
    assert "step 4: process 1 of 3: out of memory, 21 MB were asked for" in run.get_attempt(1).log_path().read_text()
    _expect_losses_of_calm(tmp_path, footplate, run, "--set", "distributed.world_size=3")


def test_all_processes_begin_anew_in_smaller_batches(
    tmp_path: Path, footplate: Callable[..., CompletedProcess[str]]
) -> None:
    run = _train(tmp_path, footplate, _PROFILE.replace("world_size: 2", "world_size: 2, strategy: fsdp"))
    receipt = find_receipt(run.get_attempt(1))
    assert receipt is not None
    assert (receipt.exit_code, receipt.cause) == (76, "out_of_memory")
    assert "rank 1" in receipt.evidence
    note = json.loads((run.path / "memory.json").read_text())
    assert (note["batch_size"], note["step"], note["rank"]) == (8, 4, 1)
    kept = [entry.data for entry in read_events(run) if entry.data["name"] == "batch_size_kept"]
    assert [event["new_batch_size"] for event in kept] == [8]
    _expect_losses_of_calm(tmp_path, footplate, run)


def test_after_the_exchange_it_is_too_late_to_go_back(
    tmp_path: Path, footplate: Callable[..., CompletedProcess[str]]
) -> None:
    """The others have moved their weights."""
    profile = _PROFILE.replace("hungry: true", "hungry: false, clipped: true")
    profile = profile.replace("log_frequency: 1", "log_frequency: 1, max_grad_norm: 1.0")
    run = _train(tmp_path, footplate, profile.replace("auto_restart: true", "auto_restart: false"), check=1)
    receipt = find_receipt(run.get_attempt(1))
    assert receipt is not None
    assert (receipt.exit_code, receipt.cause) == (76, "out_of_memory")
    assert "after the exchange of gradients" in receipt.evidence


def _train(
    folder: Path, footplate: Callable[..., CompletedProcess[str]], profile: str, *options: str, check: int = 0
) -> RunDir:
    (folder / "hungry.py").write_text(_NETWORK)
    (folder / "profile.yaml").write_text(profile)
    footplate("train", "profile.yaml", *options, timeout=250, check=check, env=_ENVIRONMENT)
    return RunDir(path=next(folder.glob("runs/*-*")))


def _expect_losses_of_calm(
    folder: Path, footplate: Callable[..., CompletedProcess[str]], run: RunDir, *options: str
) -> None:
    """Expect the losses of a training in which nothing was short."""
    calm_options = ("--set", "model.hungry=false", "--set", "resources.output_dir=calm")
    footplate("train", "profile.yaml", *calm_options, *options, timeout=250, check=0, env=_ENVIRONMENT)
    calm = RunDir(path=next(folder.glob("calm/*-*")))
    ours, theirs = ([(point.step, point.value) for point in read_metrics(one)["train/loss"]] for one in (run, calm))
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    assert [loss for _, loss in ours] == pytest.approx([loss for _, loss in theirs], abs=1e-6)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_an_evaluation_is_done_in_smaller_batches_by_all(
    strategy: str, tmp_path: Path, footplate: Callable[..., CompletedProcess[str]]
) -> None:
    (tmp_path / "hungry.py").write_text(_NETWORK)
    text = _PROFILE.replace("hungry: true", "hungry: false, judged: 6")
    (tmp_path / "profile.yaml").write_text(text.replace("world_size: 2", f"world_size: 2, strategy: {strategy}"))
    footplate("train", "profile.yaml", timeout=250, check=0, env={"OMP_NUM_THREADS": "1"})
    run = RunDir(path=next(tmp_path.glob("runs/*-*")))
    sizes = [entry.data["new_batch_size"] for entry in read_events(run) if entry.data["name"] == "out_of_memory"]
    if strategy == "ddp":  # all halve at once, in the same attempt
        assert len(run.attempts()) == 1
        assert sizes
    else:  # the others wait within the pass: the next attempt begins with half the size
        assert len(run.attempts()) > 1
        assert "judges in batches of" in (find_receipt(run.get_attempt(1)) or pytest.fail("no receipt")).evidence
    assert read_metrics(run)["val/loss"]
