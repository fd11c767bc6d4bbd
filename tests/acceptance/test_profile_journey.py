"""The newcomer without code, and the engineer with a profile: what they type, from the first command to the report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Footplate = Callable[..., subprocess.CompletedProcess[str]]

pytest.importorskip("torch")


def write_passengers(path: Path) -> None:
    """Write a table in which the answer depends on two columns, with an id and a text column beside them."""
    rng = np.random.default_rng(0)
    lines = ["id,age,fare,cabin,survived"]
    for number in range(400):
        age, fare = rng.uniform(1, 80), rng.uniform(5, 200)
        survived = "yes" if fare - age + rng.normal(0, 10) > 30 else "no"
        lines.append(f"{number},{age:.1f},{fare:.2f},{rng.choice(['A', 'B', 'C'])},{survived}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_newcomer_gets_from_a_table_to_a_model_with_two_commands(footplate: Footplate, tmp_path: Path) -> None:
    write_passengers(tmp_path / "passengers.csv")
    told = footplate("init", "quickstart", "--data", "passengers.csv", check=0).stderr
    assert "target  survived" in told
    assert "classification" in told
    assert "footplate train" in told

    trained = json.loads(footplate("train", "--json", check=0).stdout)
    assert trained["state"] == "succeeded"
    assert trained["metrics"]["test/accuracy"] >= 0.8

    page = footplate("report", check=0).stdout
    assert page.startswith(f"# Run {trained['run_id']}")
    assert "| test/accuracy | 0." in page
    assert "taken for" in page
    assert Path(trained["report"]).read_text(encoding="utf-8").rstrip() == page.rstrip()


def test_checking_comes_first_and_what_was_planned_is_what_happens(footplate: Footplate, tmp_path: Path) -> None:
    write_passengers(tmp_path / "passengers.csv")
    footplate("init", "quickstart", "--data", "passengers.csv", "-o", "my.yaml", check=0)
    change = ("--set", "training.max_epochs=2")
    findings = json.loads(footplate("validate", "my.yaml", *change, "--json").stdout)["findings"]
    assert not [finding for finding in findings if finding["severity"] == "error"]
    planned = json.loads(footplate("plan", "my.yaml", *change, "--json", check=0).stdout)
    assert not (tmp_path / "runs").exists()

    trained = json.loads(footplate("train", "my.yaml", *change, "--json", check=0).stdout)
    run = Path(trained["run_dir"])
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["steps"] == planned["horizon"]["total_steps"]
    assert (run / "artifacts" / "model.safetensors").stat().st_size >= planned["weights"]["bytes_each"]
    kept = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    assert kept["horizon"] == planned["horizon"]


def test_the_same_run_again_gives_the_same_numbers(footplate: Footplate, tmp_path: Path) -> None:
    write_passengers(tmp_path / "passengers.csv")
    footplate("init", "quickstart", "--data", "passengers.csv", check=0)
    one_thread = {"OMP_NUM_THREADS": "1"}
    first = json.loads(footplate("train", "--set", "training.max_epochs=2", "--json", env=one_thread, check=0).stdout)
    footplate("rerun", first["run_id"], env=one_thread, check=0)
    runs = json.loads(footplate("runs", "--json", check=0).stdout)["runs"]
    assert len(runs) == 2
    again = next(run for run in runs if run["run_id"] != first["run_id"])
    assert again["parent"] == first["run_id"]
    for name in ("test/loss", "test/accuracy", "val/loss"):
        assert again["metrics"][name] == first["metrics"][name]


def test_an_engineer_sees_why_a_cluster_profile_does_not_fit_this_machine(footplate: Footplate) -> None:
    footplate("init", "hpc", check=0)
    footplate("validate", check=0)
    footplate("plan", check=0)
    cluster = ("--set", "resources.num_gpus=640", "--set", "resources.queue=gpu")
    findings = json.loads(footplate("validate", *cluster, "--json", check=2).stdout)["findings"]
    assert {"gpu-missing", "inactive"} <= {finding["code"] for finding in findings}
    assert all(finding["message"] and finding["fix"] for finding in findings)
    planned = footplate("plan", *cluster, check=2)
    assert "Verdict     Batch: the profile asks for queue 'gpu'." in planned.stdout
    assert "Distributed: the profile asks for 640 devices." in planned.stdout
    shown = planned.stdout.replace(str(Path.cwd()), ".")  # what is typed, not where pytest has put it
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_the_commands_of_a_teams_guide_work_as_typed(footplate: Footplate, tmp_path: Path) -> None:
    footplate("init", "quickstart", "-o", "my_training_config.yaml", "--scripts", check=0)
    for command, words in (
        (["tools/validate_config.py", "my_training_config.yaml"], "my_training_config.yaml"),
        (["train.py", "--config", "my_training_config.yaml", "--set", "training.max_epochs=1"], "succeeded"),
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert words in done.stdout + done.stderr
