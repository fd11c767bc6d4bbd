"""Looks at a training before it starts in a process that loads torch: a class of the user's, the time of a step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from footplate.cli import main
from footplate.profile.load import load_profile_text
from footplate.profile.model import Profile
from footplate.record.home import get_home
from footplate.runs.inspect import inspect

DIGITS = """metadata: {profile_name: digits}
data: {train_data: "sklearn:digits"}
model: {hidden_size: 16, num_layers: 1}
training: {batch_size: 64, max_epochs: 3}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(100, 4)).astype("float32"), y=rng.integers(0, 3, 100))
    return tmp_path


def load(folder: Path, text: str) -> Profile:
    return load_profile_text(text, base_dir=folder)


def test_counts_a_class_of_the_users_in_the_worker(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self, input_shape, num_outputs):\n        super().__init__(input_shape[0], num_outputs)\n"
    )
    facts = inspect(load(folder, "data: {train_data: a.npz}\nmodel: {architecture: 'mine:Net'}"))
    assert facts.problems == ()
    assert facts.num_parameters == 4 * 3 + 3
    assert not list((get_home() / "cache").glob("*"))  # the class may change without a trace in the profile


def test_a_class_that_cannot_be_built_is_a_problem(folder: Path) -> None:
    facts = inspect(load(folder, "data: {train_data: a.npz}\nmodel: {architecture: 'nowhere:Net'}"))
    assert any("nowhere" in fault.message for fault in facts.problems)


def test_measures_real_steps_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text(DIGITS)
    code = main(["plan", "--measure", "--json"])
    value = json.loads(capsys.readouterr().out)
    assert code == 0
    assert value["measurement"]["num_steps"] == 50
    assert value["measurement"]["step_s"] > 0
    assert value["estimated_s"] == pytest.approx(value["measurement"]["step_s"] * value["horizon"]["total_steps"])
    assert value["measurement"]["energy_j_per_step"] is not None or value["measurement"]["energy_note"]
    assert sorted(path.name for path in Path().iterdir()) == ["footplate.yaml"]
