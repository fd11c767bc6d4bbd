"""Templates load, train as they are, and are filled from the machine and the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from footplate.data.infer import describe_table
from footplate.data.load import load_data
from footplate.errors import NotFoundError
from footplate.profile.facts import DeviceFacts, Facts
from footplate.profile.lint import lint
from footplate.profile.load import load_profile_text
from footplate.profile.templates import (
    TEMPLATES,
    choose_architecture,
    render_scripts,
    render_template,
)

LAPTOP = DeviceFacts(host="laptop", num_cpus=4, memory_gb=16.0)
TRAINED = tuple(name for name in TEMPLATES if name != "script")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("machine", [None, LAPTOP])
def test_a_template_loads_and_fits_a_terminal(name: str, machine: DeviceFacts | None) -> None:
    text = render_template(name, machine=machine)
    assert max(map(len, text.splitlines())) <= 80
    profile = load_profile_text(text)
    assert profile.metadata.profile_name == name
    assert profile.resources.num_cpus == (None if machine is None else 4)
    assert load_profile_text(f"extends: {name}\n") == load_profile_text(render_template(name) + f"extends: {name}\n")


@pytest.mark.parametrize("name", TRAINED)
def test_a_template_has_nothing_to_find_fault_with(name: str) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    profile = load_profile_text(render_template(name, machine=LAPTOP))
    result = lint(profile, Facts(device=LAPTOP, data=load_data(profile).facts))
    assert [finding.message for finding in result.findings] == []


def test_a_gpu_of_the_machine_is_named_and_used() -> None:
    machine = DeviceFacts(host="node1", num_cpus=32, memory_gb=256.0, gpus=(("NVIDIA A100-SXM4-80GB", 85.0),))
    profile = load_profile_text(render_template("hpc", machine=machine))
    assert profile.metadata.gpu_type == "NVIDIA A100-SXM4-80GB"
    assert profile.training.mixed_precision.enabled


@pytest.mark.parametrize("name", TRAINED)
def test_a_table_fills_in_task_columns_and_shapes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{n},{n % 7},{n * 0.5 if n % 9 else ''},{n * 1.5 + 0.25}" for n in range(200)]
    monkeypatch.chdir(tmp_path)
    Path("my data.csv").write_text("\n".join(["id,rooms,area,price", *rows]), encoding="utf-8")
    table = describe_table("my data.csv")
    profile = load_profile_text(render_template(name, table=table, data_path="my data.csv"))
    assert (profile.model.architecture, profile.data.train_data) == ("mlp", "my data.csv")
    assert profile.data.columns.targets == ("price",)
    assert profile.data.columns.missing == table.missing != "error"
    assert profile.data.preprocessing.normalize_targets
    facts = load_data(profile).facts
    assert facts.kind != "classification"


@pytest.mark.parametrize(
    ("shape", "architecture"),
    [(None, "mlp"), ((4,), "mlp"), ((8, 8), "cnn"), ((3, 32, 32), "cnn"), ((100, 32), "transformer"), ((), "mlp")],
)
def test_the_architecture_follows_the_shape(shape: tuple[int, ...] | None, architecture: str) -> None:
    assert choose_architecture(shape) == architecture


def test_a_template_that_is_not_there_is_answered_with_the_names() -> None:
    with pytest.raises(NotFoundError) as caught:
        render_template("hcp")
    assert "quickstart, hpc" in caught.value.hint


def test_the_scripts_take_the_profile_that_is_written_with_them() -> None:
    scripts = render_scripts("my.yaml")
    assert list(scripts) == ["tools/validate_config.py", "scripts/train_hpc.sh", "train.py"]
    assert "my.yaml" in scripts["train.py"]
