"""One process of two runs out of memory: all end, and the next attempt has smaller batches and the same losses."""

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

    def __init__(self, hidden_size=8, num_layers=1, hungry=True, judged=1000):
        super().__init__()
        self.last, self.passes, self.hungry, self.judged = nn.Linear(4, 3), 0, hungry, judged

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


def test_all_processes_begin_anew_in_smaller_batches(
    tmp_path: Path, footplate: Callable[..., CompletedProcess[str]]
) -> None:
    (tmp_path / "hungry.py").write_text(_NETWORK)
    (tmp_path / "profile.yaml").write_text(_PROFILE)
    environment = {"OMP_NUM_THREADS": "1"}
    footplate("train", "profile.yaml", timeout=250, check=0, env=environment)
    run = RunDir(path=next(tmp_path.glob("runs/*-*")))
    receipt = find_receipt(run.get_attempt(1))
    assert receipt is not None
    assert (receipt.exit_code, receipt.cause) == (76, "out_of_memory")
    assert "rank 1" in receipt.evidence
    note = json.loads((run.path / "memory.json").read_text())
    assert (note["batch_size"], note["step"], note["rank"]) == (8, 4, 1)
    kept = [entry.data for entry in read_events(run) if entry.data["name"] == "batch_size_kept"]
    assert [event["new_batch_size"] for event in kept] == [8]

    command = ["train", "profile.yaml", "--set", "model.hungry=false", "--set", "resources.output_dir=calm"]
    footplate(*command, timeout=250, check=0, env=environment)
    calm = RunDir(path=next(tmp_path.glob("calm/*-*")))
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
