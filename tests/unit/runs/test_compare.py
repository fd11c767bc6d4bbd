"""Comparing runs, and choosing the best: what differs, what is better, what is missing."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from recorded import add_attempt, end, make_metrics, make_run, write_entries

from footplate.errors import InputError
from footplate.record.rundir import RunDir
from footplate.runs.compare import choose_best, compare, find_best_index
from footplate.runs.compare_page import render_comparison
from footplate.runs.query import parse_query
from footplate.runs.summary import summarize
from footplate.runs.table import select, write_table


def make(folder: Path, accuracy: float | None, rate: str = "1e-3", packages: dict[str, str] | None = None) -> RunDir:
    run = make_run(folder, {}, name="wing")
    (run.path / "profile.yaml").write_text(f"training: {{learning_rate: {rate}, optimizer: adamw}}\n")
    run.write_json("env.json", {"packages": packages or {"torch": "2.13.0"}, "variables": {"HOME": "/x"}})
    run.write_json("code.json", {"root": "/", "files": [["train.py", 10, f"hash of {rate}"]]})
    run.write_json("data.json", {"sets": {"train": {"source": "a.csv", "files": [{"path": "a.csv", "sha256": "1"}]}}})
    metrics: dict[str, Any] = {} if accuracy is None else {"test/accuracy": accuracy, "val/loss": 1 - accuracy}
    run.write_json("result.json", {"metrics": metrics, "best": {"step": 10, "metric": "val/loss"}, "steps": 20})
    attempt = add_attempt(run)
    write_entries(attempt.journal_path(), make_metrics(range(5), val__loss=0.5))
    end(run, attempt)
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDir]:
    return [make(tmp_path, 0.9), make(tmp_path, 0.95, "1e-2", {"torch": "2.12.0", "six": "1.0"})]


def test_what_differs_is_listed_and_what_is_equal_is_counted(runs: list[RunDir]) -> None:
    comparison = compare(runs)
    found = {(one.section, one.name): one.values for one in comparison.differences}
    assert found["profile", "training.learning_rate"] == ("1e-3", "1e-2")
    assert found["code", "train.py"] == ("hash of 1e-3", "hash of 1e-2")
    assert found["environment", "packages.torch"] == ("2.13.0", "2.12.0")
    assert found["environment", "packages.six"] == (None, "1.0")
    assert found["result", "test/accuracy"] == (0.9, 0.95)
    assert comparison.num_equal["profile"] == comparison.num_equal["data"] == 1
    assert not [one for one in comparison.differences if "HOME" in one.name]


def test_the_better_value_is_the_larger_or_the_smaller_one_as_the_metric_has_it(runs: list[RunDir]) -> None:
    best = {one.name: one.best for one in compare(runs).differences if one.section == "result"}
    assert best["test/accuracy"] == best["val/loss"] == 1
    assert find_best_index("val/loss", [0.2, float("nan"), 0.1, None]) == 2
    assert find_best_index("val/loss", [0.2, 0.2]) is None


def test_one_run_is_no_comparison(runs: list[RunDir]) -> None:
    with pytest.raises(InputError, match="two runs or more"):
        compare([runs[0], runs[0]])


def test_the_page_has_the_curves_of_all_and_runs_nothing(runs: list[RunDir]) -> None:
    (runs[0].path / "profile.yaml").write_text("notes: '<script>alert(1)</script>'\n")
    page = render_comparison(compare(runs))
    assert "<script" not in page
    chart = re.findall(r'<svg.*?aria-label="val/loss".*?</svg>', page)[0]
    assert all(f">{run.id}</text>" in chart for run in runs)
    assert "<b>0.95</b>" in page


def test_the_best_is_chosen_by_the_metrics_own_direction(tmp_path: Path) -> None:
    summaries = [summarize(make(tmp_path, value)) for value in (0.9, 0.95, None, float("nan"))]
    ids = [one.run.id for one in summaries]
    choice = choose_best(summaries, "test/accuracy")
    assert [run_id for run_id, _ in choice.ranking] == [ids[1], ids[0]]
    assert set(choice.left_out) == {ids[2], ids[3]}
    assert choose_best(summaries[:2], "val/loss").ranking[0][0] == ids[1]
    assert choose_best(summaries[:2], "test/accuracy", mode="min").ranking[0][0] == ids[0]
    with pytest.raises(InputError, match="no run has a value of test/f9") as caught:
        choose_best(summaries, "test/f9")
    assert "test/accuracy" in caught.value.hint


def test_runs_are_chosen_sorted_and_those_without_the_value_counted(tmp_path: Path) -> None:
    summaries = [summarize(make(tmp_path, value)) for value in (0.9, None, 0.95)]
    query = parse_query("metrics.test/accuracy > 0.5", now=time.time())
    selection = select(summaries, query, sort="metrics.test/accuracy", descending=True)
    assert [one.metrics["test/accuracy"] for one in selection.summaries] == [0.95, 0.9]
    assert selection.num_without == 1
    assert [one.metrics.get("test/accuracy") for one in select(summaries, sort="metrics.test/accuracy").summaries] == [
        0.9,
        0.95,
        None,
    ]


def test_values_are_written_as_csv_json_and_parquet(tmp_path: Path) -> None:
    from pyarrow import parquet

    summaries = [summarize(make(tmp_path, value)) for value in (0.9, None)]
    columns = ("id", "metrics.test/accuracy", "params.training.learning_rate", "created_at", "metrics.val/loss.max")
    rows = list(csv.DictReader(io.StringIO(write_table(summaries, columns, "csv", None))))
    assert [row["metrics.test/accuracy"] for row in rows] == ["0.9", ""]
    assert rows[0]["created_at"] == "2026-11-01T10:00:00+00:00"
    assert rows[0]["metrics.val/loss.max"] == "4.5"
    assert json.loads(write_table(summaries, columns, "json", None))[1]["metrics.test/accuracy"] is None
    assert write_table(summaries, columns, "parquet", tmp_path / "runs.parquet") == ""
    assert parquet.read_table(tmp_path / "runs.parquet").to_pydict()["metrics.test/accuracy"] == [0.9, None]
    with pytest.raises(InputError, match="to a file"):
        write_table(summaries, columns, "parquet", None)


def test_a_damaged_run_is_compared_by_what_is_left(runs: list[RunDir]) -> None:
    (runs[0].path / "result.json").write_text("{ half")
    (runs[0].path / "profile.yaml").write_text("a: [")
    (runs[0].path / "run.json").write_text("")
    found = {(one.section, one.name): one.values for one in compare(runs).differences}
    assert found["result", "test/accuracy"] == (None, 0.95)
    assert found["profile", "training.optimizer"] == (None, "adamw")
