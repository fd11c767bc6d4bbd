"""The report: a page that says what came out, from the run directory alone, whatever of it is there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from footplate.errors import NotFoundError
from footplate.record.journal import Journal
from footplate.record.receipt import Receipt, write_receipt
from footplate.record.run_info import RunInfo, write_run_info
from footplate.record.rundir import RunDir
from footplate.tracking.report.values import draw_curve, format_value
from footplate.tracking.report.write import render_report, write_report

RESULT: dict[str, Any] = {
    "metrics": {"test/accuracy": 0.98888, "val/loss": 0.0312, "train/loss": 0.002},
    "best": {"step": 360, "metric": "val/loss", "value": 0.0312},
    "steps": 540,
    "epochs": 30.0,
    "train_s": 6.3,
    "samples_per_s": 5471.4,
    "stopped_by": "max_epochs",
    "gates": [
        {"name": "latency", "limit": 5.0, "value": 0.41, "passed": True},
        {"name": "size", "limit": 0.1, "value": 0.2, "passed": False},
    ],
    "tables": {"confusion": [[35, 0, 0], [0, 34, 2], [1, 0, 36]], "classes": ["no", "yes", "a|b"]},
}
PLAN: dict[str, Any] = {
    "findings": [
        {
            "code": "adam-weight-decay",
            "severity": "warning",
            "path": "training.weight_decay",
            "line": 7,
            "message": "adam adds 0.01 × weights to the gradients",
            "fix": "adamw",
        }
    ],
    "allowed": [],
    "horizon": {"text": "1,149 samples / (64 × 1 × 1) → 18 steps per epoch × 30 epochs = 540 steps"},
    "num_parameters": 26122,
    "versions": {"python": "3.11.7", "pytorch": "2.13.0"},
    "machine": {"num_cpus": 2, "memory_gb": 16.0, "gpus": [{"name": "A100", "memory_gb": 80.0}]},
}
PROFILE = "training:\n  optimizer: adam\n  weight_decay: 0.01\ndata:\n  train_data: sklearn:digits\n"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path / "runs", "digits")
    info = RunInfo(
        id=run.id,
        name="digits",
        kind="train",
        created_at="2026-11-21T10:00:00+00:00",
        argv=("python", "-m", "footplate.worker", "train", "a b"),
        cwd=str(tmp_path),
        host="box",
        user="me",
        version="0.1.0",
    )
    write_run_info(run, info)
    return run


def fill(run: RunDir) -> None:
    attempt = run.new_attempt()
    with Journal(attempt.journal_path()) as journal:
        journal.event("data", found=["train 1,149 × [8, 8] float64"])
        journal.event("start", total_steps=540)
        for step in range(0, 550, 10):
            journal.metrics(step, {"train/loss": 2.3 / (1 + step / 50)})
        journal.event("best", step=360, value=0.0312)
        journal.event("finish")
    attempt.log_path().write_text("step 1\n")
    receipt = Receipt(
        run_id=run.id,
        attempt=1,
        host="box",
        wrapper_pid=1,
        wrapper_start=0.0,
        started_at="2026-11-21T10:00:00+00:00",
        heartbeat_at="2026-11-21T10:00:08+00:00",
        ended_at="2026-11-21T10:00:08+00:00",
        exit_code=0,
        evidence="exit code 0",
    )
    write_receipt(attempt, receipt)
    run.write_json("result.json", RESULT)
    run.write_json("plan.json", PLAN)
    (run.path / "profile.yaml").write_text(PROFILE)
    (run.artifacts / "model.safetensors").write_bytes(b"0" * 104_488)


def test_says_what_came_out_and_how(run: RunDir) -> None:
    fill(run)
    page = write_report(run).read_text()
    assert page.startswith(f"# Run {run.id}\n\n**succeeded** · 8 s · on box · started 2026-11-21 10:00:00 UTC\n")
    assert "| test/accuracy | 0.9889 |" in page
    assert page.index("test/accuracy") < page.index("val/loss") < page.index("train/loss")
    assert "Best weights: step 360, val/loss 0.0312." in page
    assert "Length: 540 steps, 30 epochs, 6.3 s of training, 5,471 samples/s; ended by max_epochs." in page
    assert "| latency | 5 | 0.41 | yes |" in page
    assert "| size | 0.1 | 0.2 | **no** |" in page
    assert "1,149 samples / (64 × 1 × 1)" in page
    assert "| `artifacts/model.safetensors` | 104 kB |" in page
    assert "| `attempts/1/log.rank0.txt` | what it printed |" in page
    assert "| GPU | A100, 80 GB |" in page


def test_marks_the_keys_that_lint_spoke_of(run: RunDir) -> None:
    fill(run)
    page = render_report(run).decode()
    assert "  weight_decay: 0.01  # ← warning: adam-weight-decay" in page
    assert "  optimizer: adam\n" in page
    assert "| warning | `adam-weight-decay` | `training.weight_decay` | adam adds" in page


def test_shows_the_course_of_each_metric(run: RunDir) -> None:
    fill(run)
    line = next(line for line in render_report(run).decode().splitlines() if line.startswith("| train/loss | 2.3 |"))
    assert "█" in line
    assert line.rstrip(" |").endswith("▁")


def test_shows_which_classes_are_mistaken(run: RunDir) -> None:
    fill(run)
    page = render_report(run).decode()
    assert "| **yes** | · | 34 | 2 |" in page
    assert "Most frequent mistakes: yes taken for a|b (2×), a|b taken for no (1×)." in page
    assert "a\\|b" in page  # a bar in a name must not end its cell


def test_leaves_out_what_was_not_recorded(run: RunDir) -> None:
    page = render_report(run).decode()
    assert page.startswith(f"# Run {run.id}\n\n**queued** · on box")
    assert "## Result" not in page
    assert "## Files" in page


def test_names_the_data_with_the_first_digits_of_their_hash(run: RunDir) -> None:
    file = {"path": "data/d.csv", "size": 1500, "modified_at": "", "sha256": "0123456789abcdef" * 4}
    sets = {"train": {"source": "data/d.csv", "files": [file]}}
    run.write_json("data.json", {"sets": sets, "num_bytes": 1500, "hashed": "content"})
    page = render_report(run).decode()
    assert "| set | file | size | sha256 |" in page
    assert "| train | `data/d.csv` | 1.5 kB | `0123456789ab` |" in page
    run.write_json(
        "data.json", {"sets": {"train": {"source": "sklearn:iris", "files": [], "version": "scikit-learn 1"}}}
    )
    assert "| train | sklearn:iris, scikit-learn 1 |" in render_report(run).decode()


def test_says_how_a_failure_is_known(run: RunDir) -> None:
    attempt = run.new_attempt()
    receipt = Receipt(
        run_id=run.id,
        attempt=1,
        host="box",
        wrapper_pid=1,
        wrapper_start=0.0,
        started_at="2026-11-21T10:00:00+00:00",
        heartbeat_at="2026-11-21T10:00:08+00:00",
        ended_at="2026-11-21T10:00:08+00:00",
        exit_code=137,
        signal="SIGKILL",
        evidence="killed by SIGKILL",
    )
    write_receipt(attempt, receipt)
    page = render_report(run).decode()
    assert "**failed**" in page
    assert "Known from: killed by SIGKILL" in page
    assert "| SIGKILL |" in page


def test_of_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        render_report(RunDir(path=tmp_path))


def test_curves_survive_infinite_values_and_many_points() -> None:
    assert draw_curve([1.0, math.nan, 0.0, math.inf]) == "█×▁×"
    assert draw_curve([math.nan]) == "×"
    assert draw_curve([5.0, 5.0]) == "▁▁"
    assert draw_curve([float(value) for value in range(1000)], width=8) == "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.98888, "0.9889"),
        (3.2e-5, "3.2e-05"),
        (12345, "12,345"),
        (1234.56, "1,234.6"),
        (math.nan, "NaN"),
        ("a", "a"),
        (True, "True"),
    ],
)
def test_values_keep_the_digits_that_matter(value: object, text: str) -> None:
    assert format_value(value) == text


def test_a_confusion_matrix_is_left_out_when_the_profile_says_so(run: RunDir) -> None:
    fill(run)
    assert "## Confusion matrix" in render_report(run).decode()
    switch = "post_training: {report: {include_confusion_matrix: false}}\n"
    (run.path / "profile.yaml").write_text(PROFILE + switch)
    assert "## Confusion matrix" not in render_report(run).decode()
    (run.path / "profile.yaml").write_text("of: another version\n" + switch)
    assert "## Confusion matrix" in render_report(run).decode()


def test_of_what_happens_often_the_last_is_told(run: RunDir) -> None:
    fill(run)
    with Journal(run.new_attempt().journal_path()) as journal:
        for step in (370, 380, 390):
            journal.event("best", step=step, metric="val/loss", value=1 / step)
        journal.event("resume", step=300)
        journal.event("freeze", step=310)
        journal.event("freeze", step=320)
    events = render_report(run).decode().split("## Events")[1].split("## Files")[0]
    assert events.count("| best |") == 1
    assert "step 390" in events
    assert "Of 4 × `best` the last is shown; all are in the journal." in events
    assert events.count("| freeze |") == 2, "what happens seldom is told each time"


def test_many_data_files_are_told_by_their_folders(run: RunDir) -> None:
    files = [
        {"path": f"/d/pics/{kind}/{n}.png", "size": 1000, "sha256": "0" * 64} for kind in ("a", "b") for n in range(30)
    ]
    run.write_json("data.json", {"hashed": "content", "sets": {"train": {"source": "pics", "files": files}}})
    page = render_report(run).decode()
    assert "| train | `/d/pics/a/`: 30 files | 30 kB | `data.json` |" in page
    assert ".png" not in page


def test_says_what_it_ran_on_and_from_where_it_goes_on(run: RunDir) -> None:
    attempt = run.new_attempt()
    with Journal(attempt.journal_path()) as journal:
        journal.event("start", total_steps=5, device="cpu", processes=2)
    (run.path / "profile.yaml").write_text("training: {ema: {enabled: true, decay: 0.95}}\n")
    run.write_json("result.json", RESULT)
    page = render_report(run).decode()
    assert "| device | cpu, 2 processes |" in page
    assert "the mean of the weights (`training.ema`, 0.95)" in page
