"""Inspecting: facts that were seen, bounded in time, cached by content; never a guess."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from footplate import worker
from footplate.profile.facts import Facts, Fault
from footplate.profile.lint import lint
from footplate.profile.load import load_profile_text
from footplate.profile.model import Profile
from footplate.record.home import get_home
from footplate.runs.inspect import _get_cache_file, _parse_fault, inspect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(100, 4)).astype("float32"), y=rng.integers(0, 3, 100))
    return tmp_path


def load(folder: Path, text: str) -> Profile:
    return load_profile_text(text, base_dir=folder)


def test_sees_data_parameters_machine_and_versions(folder: Path) -> None:
    facts = inspect(load(folder, "data: {train_data: a.npz}\nmodel: {hidden_size: 8, num_layers: 1}"))
    assert facts.problems == ()
    assert facts.not_checked == ()
    assert facts.data is not None
    assert facts.data.num_train + facts.data.num_val + facts.data.num_test == 100
    assert facts.data.input_shape == (4,)
    assert len(facts.data.classes) == 3
    assert facts.num_parameters == (4 * 8 + 8) + (8 * 3 + 3)
    assert facts.device is not None
    assert facts.device.num_cpus >= 1
    assert "python" in facts.versions


def test_is_cached_until_the_data_change(folder: Path) -> None:
    profile = load(folder, "data: {train_data: a.npz}")
    first = inspect(profile)
    (cached,) = (get_home() / "cache").glob("facts-*.json")
    seen = json.loads(cached.read_text())
    seen["data"]["source"] = "from the cache"
    cached.write_text(json.dumps(seen))
    again = inspect(profile).data
    assert again is not None
    assert again.source == "from the cache"
    os.utime(folder / "a.npz", ns=(1, 1))
    assert inspect(profile).data == first.data


def test_a_torn_cache_file_is_looked_past(folder: Path) -> None:
    profile = load(folder, "data: {train_data: a.npz}")
    first = inspect(profile)
    (cached,) = (get_home() / "cache").glob("facts-*.json")
    cached.write_text('{"data": {"sour')
    assert inspect(profile).data == first.data


def test_wrong_data_are_a_problem_with_its_key_and_are_not_cached(folder: Path) -> None:
    values = np.ones((10, 2))
    values[3, 1] = np.nan
    np.savez(folder / "bad.npz", x=values, y=np.zeros(10))
    facts = inspect(load(folder, "data: {train_data: bad.npz}"))
    (fault,) = facts.problems
    assert fault.key.startswith("data")
    assert "bad.npz" in fault.message
    assert fault.hint
    assert facts.data is None
    assert not list((get_home() / "cache").glob("*"))


def test_names_each_path_that_is_not_there(folder: Path) -> None:
    text = "data: {train_data: a.npz, val_data: no.npz}\nenvironment: {requirements_file: r.txt}"
    facts = inspect(load(folder, text))
    assert facts.missing_paths == (("environment.requirements_file", "r.txt"), ("data.val_data", "no.npz"))
    assert facts.data is None
    assert any("no.npz" in text for text in facts.not_checked)


def test_says_when_looking_takes_too_long(folder: Path) -> None:
    facts = inspect(load(folder, "data: {train_data: a.npz}"), timeout_s=0.01)
    assert facts.data is None
    assert facts.not_checked == ("data and model: looking at them took longer than 0.01 s",)


def test_looks_at_no_data_for_code_of_the_users_own(folder: Path) -> None:
    facts = inspect(load(folder, "entrypoint: {script: train.py}"))
    assert facts.missing_paths == (("entrypoint.script", "train.py"),)
    assert facts.data is None
    assert facts.not_checked == ()


def test_what_a_launch_would_stumble_over_is_a_problem(folder: Path) -> None:
    (folder / "file").write_text("")
    text = "entrypoint: {command: [no-such-command]}\nresources: {output_dir: file/runs}"
    found = {fault.key: fault for fault in inspect(load(folder, text)).problems}
    assert "no-such-command" in found["entrypoint.command"].message
    assert found["entrypoint.command"].hint
    assert found["resources.output_dir"].message == f"{folder / 'file'} is a file, and the runs need a directory"


def test_a_reference_to_nothing_is_a_problem(folder: Path) -> None:
    facts = inspect(load(folder, "entrypoint: {command: [ls], env: {TOKEN: '${env:NOT_SET_ANYWHERE}'}}"))
    assert [(fault.key, fault.hint) for fault in facts.problems] == [("entrypoint.env", "export NOT_SET_ANYWHERE=…")]


def test_a_problem_of_the_worker_has_message_and_hint_in_either_form() -> None:
    whole = {"key": "data.train_data", "message": "row 3; column 2 is NaN", "hint": "fill it; or leave it out"}
    assert _parse_fault(whole) == Fault("data.train_data", "row 3; column 2 is NaN", "fill it; or leave it out")
    assert _parse_fault(["data.train_data", "is empty; write it again"]) == Fault(
        "data.train_data", "is empty", "write it again"
    )
    assert _parse_fault(["data.train_data", "is empty"]) == Fault("data.train_data", "is empty")


def test_a_module_that_is_not_there_is_a_problem(folder: Path) -> None:
    (folder / "mine.py").write_text("")
    for module in ("mine", "json.tool"):
        assert inspect(load(folder, f"entrypoint: {{module: {module}}}")).problems == ()
    (fault,) = inspect(load(folder, "entrypoint: {module: nowhere.train}")).problems
    assert (fault.key, fault.message) == ("entrypoint.module", "there is no module nowhere.train")
    assert str(folder) in fault.hint


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import sys; sys.exit(3)", "mine:make() failed: SystemExit: 3"),
        ("import os; os._exit(7)", "the worker ended with 7"),
        ("import os; os.abort()", "the worker ended with -6"),
    ],
)
def test_code_of_the_users_that_ends_the_process_is_a_problem(folder: Path, body: str, says: str) -> None:
    (folder / "mine.py").write_text(f"def make():\n    {body}\n")
    (fault,) = inspect(load(folder, "data: {train_data: 'mine:make'}")).problems
    assert fault.key == "data.train_data"
    assert says in fault.message
    assert fault.hint


def test_an_error_that_reading_the_data_was_not_expected_to_raise_is_a_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_data(_: Profile) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("footplate.data.load.load_data", load_data)
    seen = worker._look(load(folder, "data: {train_data: a.npz}"))
    (fault,) = (_parse_fault(value) for value in seen["problems"])
    assert (fault.key, fault.message) == ("data.train_data", "reading the data failed: ZeroDivisionError: by zero")
    assert fault.hint


@pytest.mark.parametrize(
    ("transfer", "key", "says"),
    [
        ("pretrained_model_path: other.safetensors", "pretrained_model_path", "has nothing for this network"),
        ("pretrained_model_path: broken.safetensors", "pretrained_model_path", "cannot be read"),
        ("freeze_layers: [nosuch]", "freeze_layers", "the network has no layer nosuch"),
        ("freeze_layers: ['*']", "", "every layer is frozen"),
    ],
)
def test_weights_and_layers_that_do_not_fit_the_network_are_a_problem(
    folder: Path, transfer: str, key: str, says: str
) -> None:
    save_file({"other.weight": np.zeros(3, np.float32)}, folder / "other.safetensors")
    (folder / "broken.safetensors").write_bytes(b"no")
    profile = load(folder, f"data: {{train_data: a.npz}}\ntransfer_learning: {{{transfer}}}")
    (fault,) = (_parse_fault(value) for value in worker._look(profile)["problems"])
    assert fault.key == f"transfer_learning.{key}".rstrip(".")
    assert says in fault.message
    assert fault.hint
    found = lint(profile, Facts(problems=(fault,)))
    assert any(one.code == "transfer-learning" and says in one.message for one in found.findings)


def test_other_pretrained_weights_are_looked_at_again(folder: Path) -> None:
    weights = folder / "w.safetensors"
    text = "data: {train_data: a.npz}\ntransfer_learning: {pretrained_model_path: w.safetensors}"
    save_file({"layers.0.bias": np.zeros(128, np.float32)}, weights)
    before = _get_cache_file(load(folder, text), {})
    weights.write_bytes(b"no")
    assert _get_cache_file(load(folder, text), {}) != before
