"""Repeats a real training: with other values, from another directory, with data that have changed."""

import os
from pathlib import Path

import pytest

from footplate.errors import PlanError, ProfileError
from footplate.profile.load import load_profile
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import RunState
from footplate.runs.inspect import inspect
from footplate.runs.launch import Launched, follow, launch
from footplate.runs.plan import plan
from footplate.runs.rerun import rerun
from footplate.tracking.report.write import render_report


@pytest.fixture
def code(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    return place


def finish(launched: Launched) -> tuple[RunDir, str]:
    said: list[str] = []
    status = follow(launched, said.append)
    assert status.state is RunState.succeeded, (status, said)
    return launched.run, "".join(said)


PROFILE = """metadata: {profile_name: wing}
data: {train_data: data/d.csv}
model: {hidden_size: 4, num_layers: 1}
training: {batch_size: 16, max_epochs: 1, learning_rate: 0.01}
resources: {num_cpus: 1}
"""


def train_once(code: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """Return a training whose data are in no snapshot, in the current directory."""
    monkeypatch.chdir(code)
    write_data(code / "data" / "d.csv")
    (code / ".footplateignore").write_text("data/\n")
    (code / "footplate.yaml").write_text(PROFILE)
    profile = load_profile("footplate.yaml")
    run, _ = finish(launch(plan(profile, inspect(profile)).job))
    return run


def write_data(file: Path, *, more: int = 0) -> None:
    file.parent.mkdir(exist_ok=True)
    rows = [f"{index % 7},{index % 5},{'ab'[index % 2]}" for index in range(60 + more)]
    file.write_text("\n".join(["x,y,label", *rows]) + "\n")


def test_a_training_takes_other_values_and_tells_that_its_data_changed(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_once(code, monkeypatch)
    assert "`data/d.csv`" in render_report(run).decode().replace(f"{code}/", "")
    monkeypatch.chdir("/")  # the recorded paths start where the run did
    before = sorted(os.listdir(run.path.parent))
    with pytest.raises(ProfileError, match="learning_rat"):
        rerun(run, overrides=["training.learning_rat=1"])
    with pytest.raises(PlanError, match="gpu-missing"):
        rerun(run, overrides=["resources.num_gpus=64"])
    assert sorted(os.listdir(run.path.parent)) == before

    launched = rerun(run, overrides=["training.learning_rate=0.5"])
    again, _ = finish(launched)
    assert not any("data changed" in note for note in launched.notes)
    assert load_profile(again.path / "profile.yaml").training.learning_rate == 0.5
    assert read_run_info(again).parent == run.id
    assert (read_run_info(again).cwd, again.path.parent) == (str(code), run.path.parent)
    assert again.read_json("plan.json")["command"]["cwd"] == str(code)
    assert again.read_json("code.json") == run.read_json("code.json")

    write_data(code / "data" / "d.csv", more=1)
    launched = rerun(again)
    finish(launched)
    assert "data changed since: data/d.csv (sha256 differs)" in launched.notes
    (run.path / "data.json").unlink()
    launched = rerun(run)
    finish(launched)
    assert not any("data changed" in note for note in launched.notes)
