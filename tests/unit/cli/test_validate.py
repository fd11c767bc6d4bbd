"""`footplate validate`: all problems at once, with line and fix, for a reader and for a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from footplate.cli import main

DIGITS = """metadata: {profile_name: digits}
data:
  train_data: table.csv
training:
  batch_size: 64
  max_epochs: 3
"""
UNREACHED = """metadata: {profile_name: digits}
data:
  train_data: table.csv
training:
  max_epochs: 3
  learning_rate: 0.001
  scheduler:
    type: cosine_annealing
    T_max: 100000
"""


@pytest.fixture(autouse=True)
def _table(tmp_path: Path) -> None:
    """A table of 1,797 rows: 45 steps an epoch with batches of 32; scikit-learn's own sets take seconds to import."""
    rows = (f"{row % 7},{row % 5},{'abc'[row % 3]}" for row in range(1797))
    (tmp_path / "table.csv").write_text("\n".join(["x,y,label", *rows]) + "\n")


def validate(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["validate", *args])
    out, err = capsys.readouterr()
    return code, out, err


def validate_json(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = validate(capsys, *args, "--json")
    return code, json.loads(out)


def test_a_good_profile_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text(DIGITS)
    code, out, err = validate(capsys)
    assert code == 0, out + err
    assert "error" not in out


def test_a_warning_has_its_line_reason_fix_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text(UNREACHED)
    code, out, err = validate(capsys, "my.yaml")
    assert code == 0
    assert "  warning · decay-unreachable · line 9 · training.scheduler.T_max\n" in out
    assert "100,000" in out
    assert "→ set training.scheduler.T_max:" in out
    assert "my.yaml: 1 warning" in out
    assert "footplate explain" in err
    assert max(len(line) for line in out.splitlines()) <= 80


def test_json_is_findings_and_what_was_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text(UNREACHED)
    code, value = validate_json(capsys, "my.yaml")
    assert code == 0
    assert set(value) == {"findings", "not_checked"}
    (finding,) = [finding for finding in value["findings"] if finding["severity"] == "warning"]
    assert set(finding) == {"code", "severity", "path", "line", "message", "fix", "page"}
    assert (finding["code"], finding["line"]) == ("decay-unreachable", 9)


def test_an_override_is_checked_like_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text(UNREACHED)
    _, value = validate_json(capsys, "my.yaml", "--set", "training.scheduler.T_max=135")
    assert not [finding for finding in value["findings"] if finding["severity"] == "warning"]
    code, _, err = validate(capsys, "my.yaml", "--set", "training.batch_size=many")
    assert code == 2
    assert "training.batch_size" in err


def test_problems_of_loading_are_all_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text("training:\n  batchsize: 64\n  learning_rate: -1\n")
    code, _, err = validate(capsys, "bad.yaml")
    assert code == 2
    assert "did you mean batch_size?" in err
    assert "learning_rate" in err


def test_problems_of_loading_are_findings_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text("training:\n  batchsize: 64\n  learning_rate: -1\n")
    code, value = validate_json(capsys, "bad.yaml")
    assert code == 2
    assert [(f["code"], f["severity"], f["line"]) for f in value["findings"]] == [
        ("profile", "error", 2),
        ("profile", "error", 3),
    ]
    assert [f["path"] for f in value["findings"]] == ["training.batchsize", "training.learning_rate"]
    assert "did you mean batch_size?" in value["findings"][0]["message"]


@pytest.mark.parametrize(
    ("text", "word"), [("training: [\n", "bad.yaml:"), ("- a\n- b\n", "list"), ("", "empty"), ("\x00", "bad.yaml")]
)
def test_malformed_files_get_a_clear_error(capsys: pytest.CaptureFixture[str], text: str, word: str) -> None:
    Path("bad.yaml").write_text(text)
    code, _, err = validate(capsys, "bad.yaml")
    assert code == 2
    assert word in err
    assert "Traceback" not in err
    code, value = validate_json(capsys, "bad.yaml")
    assert code == 2
    assert value["findings"][0]["code"] == "profile"


def test_a_file_that_is_not_there_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = validate(capsys)
    assert code == 2
    assert "footplate.yaml: there is no such file" in err
    assert "footplate init" in err


def test_wrong_data_are_an_error_with_file_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("x,y\n" + "1.0,2.0\n" * 20 + "nan,2.0\n")
    Path("my.yaml").write_text("data: {train_data: a.csv}\n")
    code, value = validate_json(capsys, "my.yaml")
    assert code == 2
    (error,) = [finding for finding in value["findings"] if finding["severity"] == "error"]
    assert "a.csv" in error["message"]


def test_a_path_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text("data:\n  train_data: nowhere.npz\n")
    code, value = validate_json(capsys, "my.yaml")
    assert code == 2
    assert any("nowhere.npz" in finding["message"] for finding in value["findings"])


def test_what_belongs_to_another_machine_is_not_checked_here(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text("data: {train_data: /cluster/data/train.npz}\n")
    code, here = validate_json(capsys)
    assert code == 2
    assert [finding["code"] for finding in here["findings"]] == ["missing-path"]
    code, there = validate_json(capsys, "--on", "slurm:c1")
    assert code == 0
    assert there["findings"] == []
    assert any("they are those of slurm:c1" in text for text in there["not_checked"])
