"""`footplate plan`: everything that would happen, and nothing happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from footplate.cli import main

DIGITS = """metadata: {profile_name: digits}
data: {train_data: table.csv}
model: {hidden_size: 16, num_layers: 1}
training: {batch_size: 64, max_epochs: 3}
"""


@pytest.fixture(autouse=True)
def _table(tmp_path: Path) -> None:
    """A table of 1,797 rows; scikit-learn's own sets take seconds to import."""
    rows = (f"{row % 7},{row % 5},{'abc'[row % 3]}" for row in range(1797))
    (tmp_path / "table.csv").write_text("\n".join(["x,y,label", *rows]) + "\n")


def plan(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["plan", *args])
    out, err = capsys.readouterr()
    return code, out, err


def test_shows_the_plan_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text(DIGITS)
    code, out, _ = plan(capsys)
    assert code == 0
    assert out.startswith("Plan for digits\n")
    assert "samples / (64 × 1 × 1)" in out
    assert "Verdict     Standard (here, now)" in out
    assert max(len(line.replace(str(Path.cwd()), ".")) for line in out.splitlines()) <= 80
    assert sorted(path.name for path in Path().iterdir()) == ["footplate.yaml", "table.csv"]


def test_overrides_and_the_name_count(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text(DIGITS)
    _, out, _ = plan(capsys, "--set", "training.batch_size=32", "--name", "small", "--json")
    value = json.loads(out)
    assert value["horizon"]["effective_batch"] == 32
    assert value["name"] == "small"


def test_shows_the_plan_of_a_profile_with_errors_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text(DIGITS + "device: cuda\nresources: {num_gpus: 1}\n")
    code, out, err = plan(capsys, "my.yaml", "--json")
    assert code == 2
    codes = [f["code"] for f in json.loads(out)["findings"] if f["severity"] == "error"]
    assert codes
    assert "not ready to train" in err
    allow = [word for code in codes for word in ("--allow", code)]
    code, out, _ = plan(capsys, "my.yaml", *allow, "--json")
    assert code == 0
    assert json.loads(out)["allowed"] == codes


def test_code_of_ones_own_cannot_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text("print('hi')\n")
    Path("footplate.yaml").write_text("entrypoint: {script: train.py}\n")
    code, _, err = plan(capsys, "--measure")
    assert code == 2
    assert "your own code" in err
