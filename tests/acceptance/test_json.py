"""Compares the documented JSON keys of every verb with what it prints."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "json.md"

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]


def list_documented(verb: str) -> set[str]:
    """Return the keys in the first column of a verb's table."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## `{verb}`\n")[1].split("\n## ")[0]
    return {key for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", cell)}


def read_keys(done: subprocess.CompletedProcess[str]) -> set[str]:
    value: dict[str, Any] = json.loads(done.stdout)
    return set(value)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "footplate.yaml"
    path.write_text("data: {train_data: 'sklearn:iris'}\ntraining: {max_epochs: 1, batch_size: 16}\n", encoding="utf-8")
    return path


def test_verbs_that_take_a_profile_print_the_documented_keys(footplate: Footplate, profile: Path) -> None:
    for arguments in (["validate"], ["plan"], ["explain", "training.batch_size"], ["train"], ["report"]):
        done = footplate(*arguments, "--json", check=0)
        assert read_keys(done) == list_documented(arguments[0]), arguments[0]
    done = footplate("init", "quickstart", "-o", "other.yaml", "--json", check=0)
    assert read_keys(done) == list_documented("init")
    [run] = json.loads(footplate("runs", "--json", check=0).stdout)["runs"]
    assert set(run) == list_documented("run")
    assert run["metrics"]["test/accuracy"] >= 0


def test_verbs_about_runs_print_the_documented_keys(footplate: Footplate) -> None:
    done = footplate("run", "--json", "--", "python", "-c", "print('one line')", check=0)
    assert read_keys(done) == list_documented("run")
    assert read_keys(footplate("status", "--json", check=0)) == list_documented("run") | list_documented("status")
    assert read_keys(footplate("runs", "--json", check=0)) == list_documented("runs")
    assert read_keys(footplate("logs", "--json", check=0)) == list_documented("logs")
    assert read_keys(footplate("completion", "bash", "--json", check=0)) == list_documented("completion")
    assert read_keys(footplate("rm", "--yes", "--json", json.loads(done.stdout)["run_id"], check=0)) == list_documented(
        "rm"
    )


def test_findings_and_errors_have_the_documented_keys(footplate: Footplate, profile: Path) -> None:
    profile.write_text("federated: {privacy: {dp: true}}\ndata: {train_data: 'sklearn:iris'}\n", encoding="utf-8")
    findings = json.loads(footplate("validate", "--json", check=2).stdout)["findings"]
    assert set(findings[0]) == {"code", "severity", "path", "line", "message", "fix", "page"}
    error = json.loads(footplate("status", "no-such-run", "--json", check=2).stdout)["error"]
    assert set(error) == {"message", "hint", "problems"}


def test_verbs_that_go_on_with_a_run_print_the_documented_keys(footplate: Footplate, profile: Path) -> None:
    profile.write_text(profile.read_text() + "device: cpu\n")
    longer = ("--set", "training.max_epochs=2")
    run_id = json.loads(footplate("train", "--json", check=0).stdout)["run_id"]
    assert read_keys(footplate("resume", run_id, *longer, "--json", check=0)) == list_documented("train")
    seen = footplate("replay", run_id, "--step", "1", "--json", check=0)
    assert read_keys(seen) == list_documented("replay")
    assert json.loads(seen.stdout)["batches"][0].keys() == {"size", "inputs", "targets"}
    done = footplate("drill", "--steps", "12", "--kills", "2", "--seed", "1", *longer, "--json", check=0, timeout=300)
    assert read_keys(done) == list_documented("drill")
