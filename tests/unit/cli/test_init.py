"""`footplate init`: a profile that is right as it is written, for this machine and this data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from footplate.cli import main
from footplate.profile.load import load_profile
from footplate.profile.templates import TEMPLATES


def init(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["init", *args])
    out, err = capsys.readouterr()
    return code, out, err


def write_csv(path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{rng.normal():.3f},{rng.normal():.3f},{label}" for label in rng.choice(["yes", "no"], 60)]
    path.write_text("\n".join(["age,fare,survived", *rows]) + "\n")


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_loads(capsys: pytest.CaptureFixture[str], template: str) -> None:
    code, out, err = init(capsys, template)
    assert code == 0, err
    assert out == ""
    load_profile("footplate.yaml")
    assert "wrote footplate.yaml" in err
    assert "footplate validate" in err


def test_fills_in_what_the_data_show_and_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(Path("passengers.csv"))
    code, _, err = init(capsys, "quickstart", "--data", "passengers.csv")
    assert code == 0, err
    assert "passengers.csv: csv, 60 rows, 3 columns" in err
    assert "target  survived" in err
    assert "task    classification" in err
    assert load_profile("footplate.yaml").data.train_data == "passengers.csv"
    assert main(["validate"]) == 0
    capsys.readouterr()


def test_never_writes_over_a_file_unless_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    Path("footplate.yaml").write_text("mine")
    code, _, err = init(capsys, "quickstart")
    assert code == 2
    assert "footplate.yaml exists already; nothing was written" in err
    assert "--force" in err
    assert Path("footplate.yaml").read_text() == "mine"
    assert init(capsys, "quickstart", "--force")[0] == 0
    load_profile("footplate.yaml")


def test_a_script_that_is_there_stops_everything(capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text("mine")
    code, _, err = init(capsys, "hpc", "--scripts")
    assert code == 2
    assert "train.py exists already" in err
    assert [path.name for path in Path().iterdir()] == ["train.py"]
    assert Path("train.py").read_text() == "mine"


def test_writes_the_scripts_that_the_guides_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = init(capsys, "hpc", "-o", "my_training.yaml", "--scripts")
    assert code == 0
    for name in ("train.py", "tools/validate_config.py", "scripts/train_hpc.sh"):
        assert os.access(name, os.X_OK)
    assert "my_training.yaml" in Path("scripts/train_hpc.sh").read_text()


def test_prints_instead_of_writing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = init(capsys, "quickstart", "-o", "-")
    assert code == 0
    assert "train_data" in out
    assert not list(Path().iterdir())


def test_tells_a_program_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(Path("a.csv"))
    _, out, _ = init(capsys, "quickstart", "--data", "a.csv", "-o", "sub/b.yaml", "--json")
    value = json.loads(out)
    assert value["template"] == "quickstart"
    assert value["files"] == ["sub/b.yaml"]
    assert value["found"][0].startswith("a.csv: csv")
    assert Path("sub/b.yaml").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["quickstat"], "quickstat"),
        (["quickstart", "--data", "nowhere.csv"], "nowhere.csv"),
        (["quickstart", "--data", "empty.csv"], "empty.csv"),
        (["quickstart", "-o", "file/x.yaml"], "file/x.yaml cannot be written"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_gets_a_clear_error(capsys: pytest.CaptureFixture[str], args: list[str], words: str) -> None:
    Path("empty.csv").touch()
    Path("file").touch()
    code, _, err = init(capsys, *args)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert sorted(path.name for path in Path().iterdir()) == ["empty.csv", "file"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("x\n" + "".join(f"{i}\n" for i in range(50)), "at least one other column"),
        ("a;y\n" + "".join(f"0,{i};1,{i}\n" for i in range(100, 200)), "decimal point"),
        ("day,y\n" + "".join(f"2024-01-{i:02},{i}\n" for i in range(1, 30)), "day is a date"),
    ],
)
def test_a_table_without_inputs_writes_nothing(capsys: pytest.CaptureFixture[str], text: str, hint: str) -> None:
    Path("a.csv").write_text(text)
    assert main(["init", "quickstart", "--data", "a.csv"]) == 2
    err = capsys.readouterr().err
    assert "a.csv: no column to learn" in err
    assert hint in err
    assert not Path("footplate.yaml").exists()


def test_a_missing_header_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("".join(f"{i / 7:.3f},{i % 5}.5,{'ab'[i % 2]}\n" for i in range(50)))
    assert main(["init", "quickstart", "--data", "a.csv"]) == 0
    assert "is the header line missing?" in capsys.readouterr().err
