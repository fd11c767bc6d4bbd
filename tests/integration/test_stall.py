"""A training that hangs: it is told where, the attempt ends as stalled, and the next one goes through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from footplate.record.journal import read_events
from footplate.record.receipt import find_receipt
from footplate.record.rundir import RunDir

_NETWORK = """
import os, time
from torch import nn

class Hangs(nn.Module):
    '''Hangs in the fifth forward pass of the first attempt.'''

    def __init__(self, hidden_size=8, num_layers=1):
        super().__init__()
        self.last, self.passes = nn.Linear(4, 3), 0

    def forward(self, x):
        self.passes += self.training
        if self.passes == 5 and os.environ["FOOTPLATE_ATTEMPT"] == "1":
            time.sleep(600)
        return self.last(x)
"""
_PROFILE = """
model: {architecture: "hangs:Hangs"}
data: {train_data: "sklearn:iris"}
training: {batch_size: 16, max_epochs: 2}
monitoring: {stall_detection_threshold: 1}
fault_tolerance: {auto_restart: true, restart_delay: 0}
"""


def test_an_attempt_that_hangs_ends_as_stalled_and_the_next_one_goes_through(
    tmp_path: Path, footplate: Callable[..., CompletedProcess[str]]
) -> None:
    (tmp_path / "hangs.py").write_text(_NETWORK)
    (tmp_path / "profile.yaml").write_text(_PROFILE)
    done = footplate("train", "profile.yaml", "--json", timeout=200, check=0)
    assert json.loads(done.stdout)["state"] == "succeeded"
    run = RunDir(path=next(tmp_path.glob("runs/*-*")))
    receipt = find_receipt(run.get_attempt(1))
    assert receipt is not None
    assert receipt.cause == "stalled"
    assert "after step 4, in the forward pass" in receipt.evidence
    log = run.get_attempt(1).log_path().read_text()
    assert 'hangs.py", line 15 in forward' in log  # faulthandler's stack
    told = [entry.data for entry in read_events(run) if entry.data["name"] == "stall"]
    assert [(event["step"], event["where"]) for event in told] == [(4, "the forward pass")]
    assert len(list(run.path.glob("attempts/*"))) == 2
