"""The verbs about runs, on run directories with contents that a short run does not give."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from footplate.cli.run import get_default_name
from footplate.record.clock import get_utc_text
from footplate.record.journal import Journal
from footplate.record.process import find_start_time, get_host
from footplate.record.receipt import Receipt, find_receipt, write_receipt
from footplate.record.run_info import RunInfo, write_run_info
from footplate.record.rundir import Attempt, RunDir
from footplate.runs.store import Store

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]


def make_run(parent: Path, name: str = "wing") -> RunDir:
    run = RunDir.create(parent, name)
    info = RunInfo(
        id=run.id,
        name=name,
        kind="exec",
        created_at=get_utc_text(),
        argv=("python", "train.py", "--a-long-option", "with a\nvalue"),
        cwd=str(parent),
        host=get_host(),
        user="me",
        version="0",
    )
    write_run_info(run, info)
    with Store() as store:
        store.add(run, info)
    return run


def make_attempt(run: RunDir, log: str, *, host: str = "", ended: bool = True) -> Attempt:
    attempt = run.new_attempt()
    attempt.log_path().write_text(log)
    now = get_utc_text()
    receipt = Receipt(
        run_id=run.id,
        attempt=attempt.number,
        host=host or get_host(),
        wrapper_pid=os.getpid(),
        wrapper_start=find_start_time(os.getpid()) or 0.0,
        pid=os.getpid(),
        pid_start=find_start_time(os.getpid()),
        started_at=now,
        heartbeat_at=now,
        ended_at=now if ended else None,
        exit_code=0 if ended else None,
    )
    write_receipt(attempt, receipt)
    return attempt


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ("python train.py", "train"),
        ("python3.11 -u /a/b/train.py --lr 1", "train"),
        ("python -m package.fit --x", "fit"),
        ("python -c pass", "python"),
        ("bash go.sh", "go"),
        ("./build/solver --n 3", "solver"),
        ("torchrun --standalone train.py", "train"),
        ("true", "true"),
        ("", "run"),
    ],
)
def test_a_run_is_named_after_its_script(argv: str, name: str) -> None:
    assert get_default_name(tuple(argv.split())) == name


def test_the_log_of_every_attempt_can_be_read(tmp_path: Path, footplate: Footplate) -> None:
    run = make_run(tmp_path)
    make_attempt(run, "first\n")
    newest = make_attempt(run, "second\n")
    newest.log_path(1).write_text("second of rank 1, without an end")
    assert footplate("logs", check=0).stdout == "second\n"
    assert footplate("logs", "wing", "--attempt", "1", check=0).stdout == "first\n"
    assert footplate("logs", "--attempt", "all", check=0).stdout == "first\nsecond\n"
    assert footplate("logs", "--rank", "1", check=0).stdout == "second of rank 1, without an end"
    line = json.loads(footplate("logs", "--rank", "1", "--json", check=0).stdout)
    assert line == {"attempt": 2, "rank": 1, "line": "second of rank 1, without an end"}
    assert "there is: 1, 2; or all" in footplate("logs", "--attempt", "7", check=2).stderr
    assert "there is: 0, 1" in footplate("logs", "--rank", "3", check=2).stderr
    assert footplate("logs", "-f", check=0).stdout == "second\n"


def test_a_line_longer_than_what_is_read_at_once_is_one_line(tmp_path: Path, footplate: Footplate) -> None:
    make_attempt(make_run(tmp_path), "short\n").log_path().write_bytes(b"x" * 2_500_000 + b"\xff\nend")
    lines = [json.loads(line)["line"] for line in footplate("logs", "--json", check=0).stdout.splitlines()]
    assert lines == ["x" * 2_500_000 + "\ufffd", "end"]


def test_following_a_log_ends_when_the_run_is_removed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    make_attempt(run, "said\n", ended=False)
    command = [sys.executable, "-m", "footplate", "logs", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "said\n"
        shutil.rmtree(run.path)
        said = process.communicate(timeout=120)[1]
    assert said == f"{run.id} lost: its directory is gone: {run.path}\n"


def test_a_run_without_a_log_is_told(tmp_path: Path, footplate: Footplate) -> None:
    assert "there are no runs yet" in footplate("logs", check=2).stderr
    run = make_run(tmp_path)
    assert "has not been started yet" in footplate("logs", check=2).stderr
    make_attempt(run, "").log_path().unlink()
    assert "has no log" in footplate("logs", check=2).stderr


def test_status_shows_the_last_metrics_and_the_result(tmp_path: Path, footplate: Footplate) -> None:
    run = make_run(tmp_path)
    attempt = make_attempt(run, "")
    with Journal(attempt.journal_path()) as journal:
        for step in range(20_000):
            journal.metrics(step, {"train/loss": 1 / (1 + step)})
        journal.metrics(20_000, {"val/loss": 0.25, "checkpoint/stall_s": 0.1, "rank1/step_s": 0.2, "mine": 7.0})
    with Journal(attempt.journal_path("system")) as journal:
        journal.metrics(3, {"system/cpu_percent": 51.0})
    run.write_json("result.json", {"metrics": {"test/accuracy": 0.98765, "val/loss": 0.25}})
    shown = footplate("status", check=0).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for label, told in (("train", "step 19,999: loss 5e-05"), ("val", "step 20,000: loss 0.25"), ("metrics", "mine 7")):
        assert re.search(rf"^  {label} .*{told}$", shown, re.MULTILINE), shown
    assert "stall_s" not in shown
    assert "rank1" not in shown
    assert "cpu_percent 51" in shown
    assert "test/accuracy 0.9877 · val/loss 0.25" in shown
    status = json.loads(footplate("status", "--json", check=0).stdout)
    assert status["last_metrics"]["val/loss"] == {"step": 20_000, "value": 0.25}
    assert status["metrics"] == {"test/accuracy": 0.98765, "val/loss": 0.25}


def test_status_of_a_very_long_command_stays_short(footplate: Footplate) -> None:
    footplate("run", "--", "true", *map(str, range(3000)), check=0)
    shown = footplate("status", check=0).stdout.splitlines()
    assert len(shown) < 20
    assert "3,001 words" in " ".join(" ".join(shown).split())


def test_only_files_count_as_artifacts(footplate: Footplate) -> None:
    make = 'cd "$FOOTPLATE_OUTPUT_DIR"; echo x > file; mkfifo pipe; ln -s /etc/passwd link; mkdir folder'
    done = footplate("run", "--json", "--", "sh", "-c", make, check=0)
    run = json.loads(done.stdout)
    assert run["artifacts"] == {"files": 1, "bytes": 2}
    listed = json.loads(Path(run["run_dir"], "artifacts.json").read_text())
    assert [artifact["path"] for artifact in listed] == ["file"]


def test_the_list_shows_the_result_and_one_line_for_each_run(tmp_path: Path, footplate: Footplate) -> None:
    for name in ("a-name-of-twenty-char", "b"):
        run = make_run(tmp_path, name)
        make_attempt(run, "")
    run.write_json("result.json", {"metrics": {"val/loss": 0.5, "test/loss": 0.3, "test/accuracy": 0.98765}})
    lost = make_run(tmp_path, "gone")
    (lost.path / "run.json").unlink()
    shown = footplate("runs", check=0).stdout.splitlines()
    assert "accuracy 0.9877" in shown[2]
    assert shown[1].split()[:2] == [lost.id, "gone"]
    assert len(footplate("runs", "--state", "succeeded", check=0).stdout.splitlines()) == 3
    assert shown[2].endswith("  python train.py --a-long-option 'with a value'")
    limited = footplate("runs", "--limit", "1", check=0)
    assert len(limited.stdout.splitlines()) == 2
    assert "1 of 3 runs" in limited.stderr
    assert "only with --rebuild" in footplate("runs", "x", check=2).stderr


def test_a_rebuild_says_what_it_found(tmp_path: Path, footplate: Footplate) -> None:
    shutil.rmtree(make_run(tmp_path).path)
    make_run(tmp_path)
    said = footplate("runs", "--rebuild", check=0).stderr
    assert said == "index made anew: 1 run in 1 directory\nforgotten, because their directory is gone: 1\n"


def test_a_terminal_of_80_columns_is_not_exceeded(tmp_path: Path) -> None:
    for name in ("a-name-of-twenty-char", "b"):
        make_attempt(make_run(tmp_path, name), "").path.parent.parent.joinpath("result.json").write_text(
            '{"metrics": {"test/accuracy": 0.98765}}'
        )
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "footplate", "runs"]
    process = subprocess.run(command, stdout=follower, env={**os.environ, "COLUMNS": "80"}, timeout=120, check=True)
    os.close(follower)
    shown = os.read(leader, 65536).decode().splitlines()
    os.close(leader)
    assert process.returncode == 0
    assert len(shown) == 3
    assert max(map(len, shown)) <= 80


def test_a_run_that_may_be_running_is_not_removed(tmp_path: Path, footplate: Footplate) -> None:
    here = make_run(tmp_path, "here")
    make_attempt(here, "", ended=False)
    assert f"{here.id} is running" in footplate("rm", "here", "-y", check=2).stderr
    starting = make_run(tmp_path, "starting")
    attempt = make_attempt(starting, "", ended=False)
    attempt.receipt_path.write_text(json.dumps(json.loads(attempt.receipt_path.read_text()) | {"pid": None}))
    assert f"{starting.id} is starting" in footplate("rm", "starting", "-y", check=2).stderr
    afar = make_run(tmp_path, "afar")
    attempt = make_attempt(afar, "", host="another-machine", ended=False)
    receipt = json.loads(attempt.receipt_path.read_text()) | {"heartbeat_at": "2020-01-01T00:00:00+00:00"}
    attempt.receipt_path.write_text(json.dumps(receipt))
    assert f"{afar.id} may be running" in footplate("rm", "afar", "-y", check=2).stderr
    assert here.path.is_dir()
    assert starting.path.is_dir()
    assert afar.path.is_dir()


def test_a_damaged_and_a_vanished_run_can_be_removed(tmp_path: Path, footplate: Footplate) -> None:
    damaged, vanished = make_run(tmp_path, "damaged"), make_run(tmp_path, "vanished")
    make_attempt(damaged, "").receipt_path.write_text("{")
    (vanished.path / "run.json").unlink()
    data = tmp_path / "data"
    data.mkdir()
    (data / "x").write_text("kept")
    (damaged.path / "tree").mkdir()
    (damaged.path / "tree" / "data").symlink_to(data)
    footplate("rm", "damaged", str(damaged.path), "vanished", "-y", check=0)
    assert not damaged.path.exists()
    assert (data / "x").read_text() == "kept"
    assert "no runs yet" in footplate("runs", check=0).stderr


def test_removal_asks_on_a_terminal(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    make_attempt(run, "")
    for answer, remains in ((b"n\n", True), (b"y\n", False)):
        leader, follower = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "footplate", "rm", "wing"], stdin=follower, stderr=subprocess.PIPE
        )
        os.close(follower)
        os.write(leader, answer)
        _, told = process.communicate(timeout=120)
        os.close(leader)
        assert b"remove 1 run, " in told
        assert process.returncode == (130 if remains else 0)
        assert run.path.exists() == remains


def test_a_rerun_without_recorded_code_is_refused(tmp_path: Path, footplate: Footplate) -> None:
    run = make_run(tmp_path)
    make_attempt(run, "")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert footplate("rerun", "wing", check=2).stderr.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_lost_run_took_at_least_as_long_as_it_was_seen_to_write(tmp_path: Path, footplate: Footplate) -> None:
    run = make_run(tmp_path)
    attempt = make_attempt(run, "step 1\n", ended=False)
    receipt = find_receipt(attempt)
    assert receipt is not None
    write_receipt(attempt, replace(receipt, wrapper_start=-1.0, pid_start=-1.0))
    written = datetime.fromisoformat(receipt.started_at).timestamp() + 150
    os.utime(attempt.log_path(), (written, written))
    assert "at least 2 min 30 s" in footplate("status", check=0).stdout
    value = json.loads(footplate("status", "--json", check=0).stdout)
    assert (value["state"], round(value["duration_s"])) == ("lost", 150)
