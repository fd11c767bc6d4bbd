"""Going on with a run: a further attempt of the same run, only when nobody is at it, in the code it was started in."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from footplate.errors import FootplateError, InputError, NotFoundError
from footplate.record.checkpoints import begin_checkpoint, commit_checkpoint, make_manifest
from footplate.record.receipt import find_receipt
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, get_status
from footplate.runs.launch import JobSpec, Launched, follow, launch
from footplate.runs.resume import resume

# Fails in its first attempt, then does what the file says.
_TRAIN = """
import os, sys, helper
print(helper.WORD, os.environ["FOOTPLATE_ATTEMPT"], sys.argv[1:])
sys.exit(os.environ["FOOTPLATE_ATTEMPT"] == "1")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    (place / "train.py").write_text(_TRAIN)
    (place / "helper.py").write_text("WORD = 'old'\n")
    return place


def make_job(code: Path, *argv: str) -> JobSpec:
    return JobSpec(
        name="train",
        kind="exec",
        argv=argv or (sys.executable, "-B", "train.py"),
        cwd=code,
        output_dir=code / "runs",
        sidecar_interval_s=None,
        resume_args=("--again",),
    )


def finish(launched: Launched) -> str:
    said: list[str] = []
    status = follow(launched, said.append)
    assert status.state is RunState.succeeded, (status, said)
    return "".join(said)


@pytest.fixture
def failed(code: Path) -> RunDir:
    launched = launch(make_job(code))
    assert follow(launched).state is RunState.failed
    return launched.run


def test_it_is_the_next_attempt_of_the_same_run(failed: RunDir) -> None:
    (failed.path / "result.json").write_text('{"metrics": {"val/loss": 1}}')
    launched = resume(failed)
    assert finish(launched) == "old 2 ['--again']\n"
    assert (launched.run.id, launched.attempt.number) == (failed.id, 2)
    assert launched.notes == ("attempt 2: the command is started again",)
    assert failed.get_attempt(1).log_path().read_text() == "old 1 []\n"
    assert failed.find_json("result.json") is None  # that was the first attempt's
    assert (failed.get_attempt(1).path / "result.json").exists()


def test_code_that_changed_is_told_and_the_recorded_one_runs(code: Path, failed: RunDir) -> None:
    (code / "helper.py").write_text("WORD = 'new'\n")
    (code / "more.py").write_text("")
    launched = resume(failed)
    assert launched.notes[1] == "the code changed since: helper.py (changed), more.py (new)"
    assert finish(launched) == "old 2 ['--again']\n"


def test_code_that_changed_runs_when_that_is_asked_for_and_is_recorded(code: Path, failed: RunDir) -> None:
    (code / "helper.py").write_text("WORD = 'new'\n")
    launched = resume(failed, code="current")
    assert finish(launched) == "new 2 ['--again']\n"
    before = json.loads((failed.get_attempt(1).path / "code.json").read_text())
    assert before["tree_hash"] != failed.read_json("code.json")["tree_hash"]


def test_a_working_directory_that_is_gone_is_made_anew_from_the_record(code: Path, failed: RunDir) -> None:
    moved = failed.path.rename(code.parent / failed.id)
    for path in sorted(code.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    code.rmdir()
    launched = resume(RunDir(path=moved))
    assert "(gone)" in launched.notes[1]
    assert finish(launched) == "old 2 ['--again']\n"


def test_what_has_succeeded_and_what_is_alive_is_left_alone(code: Path, failed: RunDir) -> None:
    finish(resume(failed))
    with pytest.raises(InputError, match="has succeeded"):
        resume(failed)
    launched = launch(make_job(code, "sleep", "600"))
    with pytest.raises(InputError, match=r"is (starting|running)"):
        resume(launched.run)
    launched.process.terminate()
    assert follow(launched).state is RunState.cancelled
    with pytest.raises(InputError, match="no training profile"):
        resume(failed, overrides=["training.max_epochs=3"])
    (failed.path / "attempts").rename(failed.path / "gone")
    with pytest.raises(NotFoundError, match="was never started"):
        resume(failed)


def test_a_run_whose_wrapper_is_gone_is_resumed_only_when_its_job_is_gone_too(code: Path) -> None:
    launched = launch(make_job(code, sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"))
    log = launched.attempt.log_path()
    follow_until(lambda: log.exists() and log.read_text())
    receipt = find_receipt(launched.attempt)
    assert receipt is not None
    assert receipt.pid is not None
    launched.process.kill()
    launched.process.wait()
    with pytest.raises(InputError) as caught:
        resume(launched.run)
    assert caught.value.hint == f"stop it first: kill {receipt.pid}"
    os.kill(receipt.pid, signal.SIGKILL)
    follow_until(lambda: get_status(launched.run).state is RunState.lost)
    again = resume(launched.run)
    again.process.terminate()
    follow(again)
    assert again.attempt.number == 2


def test_a_preempted_run_that_nobody_starts_again_is_resumed(code: Path) -> None:
    script = "import os, sys; sys.exit(75 if os.environ['FOOTPLATE_ATTEMPT'] == '1' else 0)"
    launched = launch(make_job(code, sys.executable, "-c", script))
    assert follow(launched).state is RunState.queued
    finish(resume(launched.run))


def test_of_two_at_once_one_starts_an_attempt(code: Path, failed: RunDir) -> None:
    (code / "train.py").write_text(_TRAIN)
    barrier, started, refused = threading.Barrier(2), list[Launched](), list[FootplateError]()

    def try_it() -> None:
        barrier.wait()
        try:
            started.append(resume(failed))
        except InputError as error:
            refused.append(error)

    threads = [threading.Thread(target=try_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finish(started[0])
    assert (len(started), len(refused)) == (1, 1)
    assert [attempt.number for attempt in failed.attempts()] == [1, 2]


def test_an_attempt_that_could_not_be_started_is_recorded_and_can_be_resumed(code: Path, failed: RunDir) -> None:
    job = failed.get_attempt(1).job_path
    text = job.read_text()
    job.write_text(json.dumps({**json.loads(text), "env": {"TOKEN": "${file:/no/such/file}"}}))
    with pytest.raises(FootplateError):
        resume(failed)
    status = get_status(failed)
    assert (status.state, status.attempt) == (RunState.failed, 2)
    job.write_text(text)
    launched = resume(failed)
    assert launched.attempt.number == 3
    finish(launched)


def test_the_environment_is_added_to_and_sidecars_move(code: Path) -> None:
    job = replace(make_job(code, "sh", "-c", "echo $MORE $EVER; exit 1"), env={"EVER": "b"}, sidecar_interval_s=10.0)
    launched = launch(job)
    follow(launched)
    again = resume(launched.run, env={"MORE": "a"})
    said: list[str] = []
    follow(again, said.append)
    assert said == ["a b\n"]
    sidecar = again.run.read_json("attempts/2/job.json")["sidecars"][0]
    assert str(again.attempt.path) in sidecar
    assert str(launched.attempt.path) not in sidecar


def test_a_checkpoint_that_is_named_is_looked_for_first_and_found_from_anywhere(code: Path) -> None:
    profile = f"entrypoint: {{command: [{sys.executable}, -B, train.py]}}\n"
    launched = launch(replace(make_job(code), kind="train", profile_yaml=profile))
    assert follow(launched).state is RunState.failed
    key = "fault_tolerance.checkpoint_path"
    with pytest.raises(InputError, match=rf"--set {key}: .*nowhere: no checkpoint"):
        resume(launched.run, overrides=[f"{key}=nowhere"])
    assert len(launched.run.attempts()) == 1
    under_way = begin_checkpoint(code / "earlier" / "checkpoints", 3)
    told = {"step": 3, "epoch": 0, "position": 24, "attempt": 1, "world_size": 1}
    commit_checkpoint(under_way, make_manifest(under_way, {}, **told))
    finish(resume(launched.run, overrides=[f"{key}=earlier"]))
    assert str(code / "earlier") in (launched.run.path / "profile.yaml").read_text()


def follow_until(holds: object) -> None:
    import time

    limit = time.monotonic() + 120
    assert callable(holds)
    while not holds():
        assert time.monotonic() < limit, "it did not come true in time"
        time.sleep(0.01)
