"""`footplate explain`: keys, sections, findings and the schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from footplate.cli import main
from footplate.profile.lint import RULES


def explain(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["explain", *args])
    out, err = capsys.readouterr()
    return code, out, err


def test_tells_type_unit_range_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = explain(capsys, "training.batch_size")
    assert code == 0
    assert out.startswith("training.batch_size\n  Samples of one forward pass on one device.\n")
    assert "unit     samples per device" in out
    assert "range    ≥ 1" in out
    assert "default  32" in out
    assert "yours" not in out


def test_tells_the_value_of_the_profile_here_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text("training:\n  batch_size: 64\n")
    _, out, _ = explain(capsys, "batch_size")
    assert "yours    64  (footplate.yaml:2)" in out
    _, out, _ = explain(capsys, "batch_size", "--json")
    assert {"path": "training.batch_size", "value": 64, "place": "footplate.yaml:2"}.items() <= json.loads(out).items()


def test_says_when_a_key_is_not_built_yet_or_only_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert "status   inactive: " in explain(capsys, "federated.enabled")[1]
    assert "status" not in explain(capsys, "distributed.enabled")[1]
    assert "status   recorded with the run" in explain(capsys, "metadata.author")[1]
    assert "status" not in explain(capsys, "reproducibility.seed")[1]


def test_without_a_key_lists_every_section_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = explain(capsys)
    assert code == 0
    for section in ("data", "training", "resources", "post_training"):
        assert f"\n{section} " in out
    assert max(map(len, out.splitlines())) <= 80


def test_of_a_section_lists_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = explain(capsys, "training")
    assert "batch_size" in out
    assert "scheduler" in out
    assert max(map(len, out.splitlines())) <= 80


SECTIONS = {"data", "entrypoint", "model", "resources", "training"}  # codes that are sections too


@pytest.mark.parametrize("code", sorted({"profile", "inactive", *(rule.code for rule in RULES)} - SECTIONS))
def test_explains_every_finding(capsys: pytest.CaptureFixture[str], code: str) -> None:
    exit_code, out, _ = explain(capsys, code)
    assert exit_code == 0
    assert out.startswith(f"{code} (")
    assert max(map(len, out.splitlines())) <= 80
    assert set(json.loads(explain(capsys, code, "--json")[1])) == {"code", "title", "severity", "text", "keys"}


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_explains_a_section_and_the_finding_of_that_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    _, out, _ = explain(capsys, name)
    assert out.startswith(f"{name}\n")
    assert f"As the code of a finding:\n\n{name} (error)" in out
    assert json.loads(explain(capsys, name, "--json")[1])["finding"]["code"] == name


def test_suggests_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = explain(capsys, "training.bach_size")
    assert code == 2
    assert "did you mean training.batch_size?" in err


def test_prints_the_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(explain(capsys, "--schema")[1])
    assert schema["properties"]["training"]["properties"]["batch_size"]["minimum"] == 1


def test_all_keys_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    keys = json.loads(explain(capsys, "--json")[1])["keys"]
    assert {"training.batch_size", "data.train_data"} <= {key["path"] for key in keys}


def test_a_profile_that_cannot_be_read_does_not_stop_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text("training: [\n")
    code, out, err = explain(capsys, "batch_size")
    assert code == 0
    assert "default  32" in out
    assert "footplate.yaml cannot be read" in err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("decay-unreachabel", "decay-unreachable"), ("inactiv", "inactive"), ("batchsize", "training.batch_size")],
)
def test_suggests_the_code_or_key_that_was_meant(capsys: pytest.CaptureFixture[str], typed: str, meant: str) -> None:
    code, _, err = explain(capsys, typed)
    assert code == 2
    assert f"did you mean {meant}?" in err


def test_a_name_of_several_keys_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = explain(capsys, "type")
    assert "error: type stands in several sections\n" in err
    assert "training.scheduler.type, training.loss.type" in err


def test_a_key_of_which_some_values_are_not_built_is_active(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = explain(capsys, "device")
    assert "status   active, but xpu, xla: not tried yet" in out
    assert ".*" not in explain(capsys, "model.architecture")[1]
