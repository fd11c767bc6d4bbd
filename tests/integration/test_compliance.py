"""Planted personal data and secrets: none is found in what is logged, recorded, shipped or reported."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import yaml
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity

from footplate.record.journal import read_metrics
from footplate.record.rundir import RunDir
from footplate.tracking.params import read_params
from footplate.tracking.report.write import render_report

Footplate = Callable[..., CompletedProcess[str]]

_PLANTED = (
    "Grace Hopper",
    "hopper",
    "ghopper",
    "grace.hopper@navy.example",
    "192.0.2.77",
    "2001:db8::beef",
    "+1 212 555 0123",
    "ghp_0123456789abcdefghijABCDEFGHIJ0123456",
    "password=hunter2hunter2",
    "mark1.navy.example",
    "Project Bluebird",
)
_FORBIDDEN = (*_PLANTED, "hunter2hunter2")
_EXACT = ("profile.yaml", "run.json", "code.json", "job.json", "receipt.json", "wrapper.log")
"""What is needed to run again stays as it is, on this machine."""
_NETWORK = """
import logging, sys
import torch
from torch import nn

class Talkative(nn.Module):
    '''Says in every way it can what should not be told.'''

    def __init__(self, hidden_size=8, num_layers=1):
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.said = False

    def forward(self, x):
        if not self.said:
            self.said = True
            for text in TEXTS:
                print("printed by", text, flush=True)
                print("to stderr:", text, file=sys.stderr, flush=True)
                logging.getLogger("own").warning("logged %s", text)
        return self.last(x)
"""
_PROFILE = """
metadata: {{author: "Grace Hopper <grace.hopper@navy.example>", description: "for 192.0.2.77, call +1 212 555 0123"}}
model: {{architecture: "talkative:Talkative"}}
data: {{train_data: "{folder}/home/ghopper/train.npz"}}
device: cpu
training: {{max_epochs: 2, log_frequency: 1}}
compliance: {{anonymize_logs: true, remove_pii: true, track_data_lineage: true, track_model_provenance: true,
  known_names: [ghopper, mark1.navy.example, Project Bluebird]}}
logging:
  log_file: own.log
  mlflow: {{enabled: true, experiment_name: planted}}
  tensorboard: {{enabled: true}}
  wandb: {{enabled: true}}
"""


def train(tmp_path: Path, footplate: Footplate, num_processes: int = 1) -> RunDir:
    """Train with everything planted, in the directory of the person."""
    data = tmp_path / "home" / "ghopper"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.savez(data / "train.npz", x=rng.normal(size=(90, 4)).astype(np.float32), y=np.arange(90) % 3)
    (data / "talkative.py").write_text(_NETWORK.replace("TEXTS", repr(_PLANTED)))
    text = _PROFILE.format(folder=tmp_path)
    if num_processes == 2:
        text += "distributed: {enabled: true, world_size: 2}\n"
    (data / "profile.yaml").write_text(text)
    environment = {"OMP_NUM_THREADS": "1", "LOGNAME": "ghopper", "WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": ""}
    done = footplate("train", "profile.yaml", cwd=data, timeout=280, check=0, env=environment)
    assert "printed by <name>" in done.stderr
    return RunDir(path=next(data.glob("runs/*-*")))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_nothing_that_was_planted_is_found(tmp_path: Path, footplate: Footplate, num_processes: int) -> None:
    run = train(tmp_path, footplate, num_processes)
    for form in ("markdown", "html", "pdf"):
        (run.path / f"extra.{form}").write_bytes(render_report(run, form))
    place = run.path.parents[1]
    database = sqlite3.connect(place / "mlflow.db")
    (run.path / "mlflow.dump").write_text("\n".join(database.iterdump()))
    database.close()
    found = []
    for path in (*_walk(run.path), *_walk(place / "mlartifacts"), *_walk(place / "mlruns"), place / "own.log"):
        content = path.read_bytes().lower()
        # Where a thing lies on this machine is how it is found: MLflow's own store knows its own folder.
        content = content.replace(str(place).lower().encode(), b"")
        found += [f"{word!r} in {path}" for word in _FORBIDDEN if word.lower().encode() in content]
    assert not found
    assert read_metrics(run)["train/loss"]
    assert "<name>" in str(read_params(run).values()) or "<ip>" in str(read_params(run).values())


def test_provenance_is_told_and_the_run_can_be_repeated(tmp_path: Path, footplate: Footplate) -> None:
    run = train(tmp_path, footplate)
    _expect_provenance(run)
    # What is needed to run again is not changed.
    kept = yaml.safe_load((run.path / "profile.yaml").read_text())
    assert kept["metadata"]["author"].startswith("Grace Hopper")
    told = footplate("rerun", run.id, cwd=run.path.parents[1], timeout=280, check=0, env={"WANDB_MODE": "offline"})
    assert "data changed" not in told.stdout + told.stderr
    assert "not as it was" not in told.stdout + told.stderr


def _expect_provenance(run: RunDir) -> None:
    """Expect a document that the reference implementation of PROV reads."""
    document = ProvDocument.deserialize(run.path / "provenance.json", format="json")
    entities = {str(one.identifier): one for one in document.get_records(ProvEntity)}
    base = f"footplate:{run.id}"
    assert {f"{base}/data/train", f"{base}/data/train/0", f"{base}/code", f"{base}/profile", f"{base}/model"} <= set(
        entities
    )
    file = dict(entities[f"{base}/data/train/0"].attributes)
    hashed = {str(name): value for name, value in file.items()}
    assert len(hashed["footplate:sha256"]) == 64
    assert "home/<user>/train.npz" in hashed["footplate:path"]
    (training,) = [one for one in document.get_records(ProvActivity) if str(one.identifier).endswith("/training")]
    assert training.get_endTime() > training.get_startTime()
    assert len(list(document.get_records(ProvAgent))) == 2
    assert document.unified()


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "code" or Path(place) != folder]
        yield from (Path(place, name) for name in names if name not in _EXACT or "mlartifacts" in place)
