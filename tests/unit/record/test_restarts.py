"""The wrapper starts the next attempt when there is to be one, and asks for a checkpoint before the machine is left."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from footplate.record.cause import Cause
from footplate.record.checkpoints import begin_checkpoint, commit_checkpoint, get_folder, make_manifest
from footplate.record.exit_files import RankExit, choose_exit, read_exits, write_exit
from footplate.record.receipt import Receipt, find_receipt, make_attempt
from footplate.record.restart import End, RestartPolicy, Restarts
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, get_status

Wrap = Callable[..., Any]  # starts a wrapper: see conftest.py
WaitUntil = Callable[[Callable[[], object]], None]

_SOON = {"after_failure": True, "max_restarts": 3, "delay_s": 0.0}
# A worker as ours are: it handles the signal, says so, and ends with a checkpoint's exit code.
_WORKER = """
import signal, sys
def save(*_):
    print("saved", flush=True); sys.exit(75)
signal.signal(signal.SIGUSR1, save)
print("listening", flush=True)
while True:
    signal.pause()
"""
# A launcher as torchrun is: its worker has a session of its own, and it makes 1 of every exit code.
_LAUNCHER = f"""
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", {_WORKER!r}], start_new_session=True)
sys.exit(1 if worker.wait() else 0)
"""
_PREEMPTED = End(exit_code=75, cause=Cause.preempted)
_MISTAKE = End(exit_code=1, cause=Cause.user_error, evidence="ValueError: bad", step=7)
_KILLED = End(exit_code=137)


def _read(run: RunDir, number: int) -> Receipt:
    receipt = find_receipt(run.get_attempt(number))
    assert receipt is not None
    return receipt


def test_a_preempted_job_is_started_again_and_the_wrapper_ends_with_the_last_attempt(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap("sh", "-c", 'echo "try $FOOTPLATE_ATTEMPT"; [ "$FOOTPLATE_ATTEMPT" = 3 ] || exit 75', restart=_SOON)
    assert wrapped.wait() == 0
    assert [attempt.number for attempt in run.attempts()] == [1, 2, 3]
    assert [attempt.log_path().read_text() for attempt in run.attempts()] == ["try 1\n", "try 2\n", "try 3\n"]
    assert [_read(run, number).exit_code for number in (1, 2, 3)] == [75, 75, 0]
    assert _read(run, 1).cause is Cause.preempted
    assert _read(run, 1).ended_at is not None
    status = get_status(run)
    assert (status.state, status.attempt) == (RunState.succeeded, 3)


def test_without_a_policy_nothing_is_started_again(run: RunDir, wrap: Wrap) -> None:
    assert wrap("sh", "-c", "exit 75").wait() == 75
    assert len(run.attempts()) == 1


def test_a_failure_is_followed_by_an_attempt_only_when_that_is_asked_for(run: RunDir, wrap: Wrap) -> None:
    assert wrap("sh", "-c", "kill -KILL $$", restart={**_SOON, "after_failure": False}).wait() == 137
    assert len(run.attempts()) == 1
    assert wrap("sh", "-c", '[ "$FOOTPLATE_ATTEMPT" = 3 ] || kill -KILL $$', restart=_SOON).wait() == 0
    assert [_read(run, number).signal for number in (1, 2, 3)] == ["SIGKILL", "SIGKILL", None]


def test_the_same_mistake_twice_in_a_row_is_not_tried_again(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap(sys.executable, "-c", "raise ValueError('always')", restart=_SOON)
    assert wrapped.wait() == 1
    assert len(run.attempts()) == 2
    assert "not started again: the same error twice in a row" in _read(run, 2).evidence
    assert get_status(run).state is RunState.failed


def test_a_wait_for_the_next_attempt_is_told_and_can_be_cancelled(
    run: RunDir, wrap: Wrap, wait_until: WaitUntil
) -> None:
    wrapped = wrap("sh", "-c", "exit 75", restart={**_SOON, "delay_s": 600.0})
    wait_until(lambda: get_status(run).attempt == 2)
    status = get_status(run)
    starts_at = _read(run, 2).starts_at
    assert starts_at is not None
    moment = datetime.fromisoformat(starts_at).astimezone().strftime("%H:%M:%S")
    assert status.state is RunState.queued
    assert status.evidence[0] == f"attempt 2 starts at {moment}"
    assert status.evidence[1].startswith("attempt 1: exit code 75")
    wait_until(lambda: _read(run, 1).ended_at is not None)
    wrapped.process.send_signal(signal.SIGUSR1)  # there is nothing to save
    wrapped.process.terminate()
    assert wrapped.wait() == 130
    status = get_status(run)
    assert (status.state, status.attempt) == (RunState.cancelled, 2)
    assert status.evidence == ("cancelled by SIGTERM before the attempt started",)
    assert not run.get_attempt(2).log_path().exists()


def test_a_wait_whose_wrapper_is_gone_is_over(run: RunDir, wrap: Wrap, wait_until: WaitUntil) -> None:
    wrapped = wrap("sh", "-c", "exit 75", restart={**_SOON, "delay_s": 600.0})
    wait_until(lambda: get_status(run).attempt == 2 and _read(run, 1).ended_at is not None)
    wrapped.process.kill()
    wrapped.process.wait()
    status = get_status(run)
    assert status.state is RunState.lost
    assert status.evidence[0].startswith("attempt 2 was to start at ")


def test_the_preemption_signal_reaches_the_workers_of_a_launcher(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap(sys.executable, "-c", _LAUNCHER, ignores_preemption=True, num_processes=2)
    wrapped.wait_for_log("listening")
    write_exit(wrapped.attempt, 0, 75, reason="preempted", step=812)
    write_exit(wrapped.attempt, 1, 75, reason="preempted", step=812)
    wrapped.process.send_signal(signal.SIGUSR1)
    assert wrapped.wait() == 75  # and not the launcher's 1
    assert "saved" in wrapped.log
    receipt = wrapped.receipt
    assert (receipt.exit_code, receipt.cause, receipt.cancelled) == (75, Cause.preempted, False)
    assert "SIGUSR1 was passed on to 1 process" in receipt.evidence
    assert get_status(run).state is RunState.queued


def test_the_preemption_signal_waits_for_a_worker_that_does_not_listen_yet(wrap: Wrap) -> None:
    late = f"import time; print('born', flush=True); time.sleep(0.5)\n{_WORKER}"
    wrapped = wrap(sys.executable, "-c", late)
    wrapped.wait_for_log("born")
    wrapped.process.send_signal(signal.SIGUSR1)
    assert wrapped.wait() == 75


def test_the_preemption_signal_kills_nobody_who_does_not_handle_it(
    tmp_path: Path, wrap: Wrap, wait_until: WaitUntil
) -> None:
    wrapped = wrap("sh", "-c", "echo ready; until [ -e go ]; do sleep 0.02; done; echo unhurt")
    wrapped.wait_for_log("ready")
    wrapped.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: wrapped.receipt.pid is not None)
    (tmp_path / "go").touch()
    assert wrapped.wait() == 0
    assert "unhurt" in wrapped.log


def test_a_sidecar_of_the_next_attempt_writes_to_its_place(run: RunDir, wrap: Wrap) -> None:
    place = str(run.get_attempt(1).path)
    sidecar = ["sh", "-c", 'echo beside > "$1/said"', "-", place]
    script = 'until [ -e "$FOOTPLATE_RUN_DIR/attempts/$FOOTPLATE_ATTEMPT/said" ]; do sleep 0.02; done'
    wrapped = wrap("sh", "-c", f"{script}; [ $FOOTPLATE_ATTEMPT = 2 ] || exit 75", sidecars=[sidecar], restart=_SOON)
    assert wrapped.wait() == 0


def test_arguments_for_a_resume_are_added_once(run: RunDir, wrap: Wrap) -> None:
    code = "import os, sys; print(sys.argv[1:]); sys.exit(75 if os.environ['FOOTPLATE_ATTEMPT'] != '3' else 0)"
    wrapped = wrap(sys.executable, "-c", code, "a", restart=_SOON, resume_args=["--resume"])
    assert wrapped.wait() == 0
    logs = [attempt.log_path().read_text() for attempt in run.attempts()]
    assert logs == ["['a']\n", "['a', '--resume']\n", "['a', '--resume']\n"]


def test_the_newest_whole_checkpoint_stands_in_the_receipt(run: RunDir, wrap: Wrap, wait_until: WaitUntil) -> None:
    for step in (10, 20):
        folder = begin_checkpoint(get_folder(run), step)
        told = {"step": step, "epoch": 0, "position": 0, "attempt": 1, "world_size": 1}
        commit_checkpoint(folder, make_manifest(folder, {}, **told))
    (get_folder(run) / "step-00000030").mkdir()  # it has no manifest
    wrapped = wrap("sh", "-c", "until [ -e go ]; do sleep 0.02; done", heartbeat_s=0.05)
    wait_until(lambda: wrapped.attempt.receipt_path.exists() and wrapped.receipt.last_checkpoint)
    assert wrapped.receipt.last_checkpoint == "step-00000020"


@pytest.mark.parametrize(
    ("ends", "starts"),
    [
        ([_PREEMPTED] * 100, True),
        ([_PREEMPTED] * 101, False),
        ([_KILLED] * 3, True),
        ([_KILLED] * 4, False),
        ([_KILLED, _PREEMPTED, _KILLED, _PREEMPTED, _KILLED], True),
        ([_MISTAKE], True),
        ([_MISTAKE, _MISTAKE], False),
        ([_MISTAKE, End(exit_code=1, cause=Cause.user_error, evidence="ValueError: bad", step=8)], True),
        ([_MISTAKE, _PREEMPTED, _MISTAKE], True),
        ([End(exit_code=76, cause=Cause.out_of_memory, step=7)] * 3, True),
        ([End(exit_code=64, cause=Cause.config_error)], False),
        ([End(exit_code=152, cause=Cause.time_limit)], False),
        ([End(exit_code=75, cause=Cause.preempted, cancelled=True)], False),
        ([End(exit_code=0)], False),
    ],
)
def test_what_is_followed_by_another_attempt(ends: list[End], starts: bool) -> None:
    restarts, policy = Restarts(), RestartPolicy(after_failure=True, max_restarts=3, delay_s=0)
    decisions = [restarts.decide(policy, end) for end in ends]
    assert decisions[-1].starts is starts
    assert RestartPolicy.from_json(policy.to_json()) == policy


def test_a_preemption_does_not_need_the_wish_for_restarts() -> None:
    policy = RestartPolicy(after_failure=False)
    assert Restarts().decide(policy, _PREEMPTED).starts
    assert not Restarts().decide(policy, _KILLED).starts


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        ([], None),
        ([0, 0], None),
        ([75, 75, 1], 75),  # one failed because the others had left
        ([1, 75, 75], 1),  # the launcher stopped the others because one had failed
        ([75, 76, 1], 76),
        ([1, 76, 64], 64),
    ],
)
def test_the_end_that_explains_the_others_is_chosen(codes: list[int], chosen: int | None) -> None:
    exits = [RankExit(rank=rank, exit_code=code, written_ns=rank) for rank, code in enumerate(codes)]
    found = choose_exit(exits)
    assert (found.exit_code if found else None) == chosen


def test_a_process_without_a_last_word_is_no_preemption(run: RunDir, wrap: Wrap) -> None:
    attempt = run.get_attempt(1)
    write = (
        f"import json; json.dump({{'exit_code': 75}}, open('{attempt.path}/exit.rank0.json', 'w')); raise SystemExit(1)"
    )
    wrapped = wrap(sys.executable, "-c", write, num_processes=2)
    assert wrapped.wait() == 1
    assert "rank 1 ended without a word" in wrapped.receipt.evidence
    (attempt.path / "exit.rank1.json").write_text("{half")
    assert [one.rank for one in read_exits(attempt)] == [0]


def test_of_two_who_make_the_same_attempt_one_gets_it(run: RunDir, wrap: Wrap) -> None:
    assert wrap("true").wait() == 0
    receipt = Receipt(**{**_read(run, 1).to_json(), "attempt": 2, "ended_at": None})
    made = [make_attempt(run, receipt) for _ in range(2)]
    assert [attempt.number if attempt else None for attempt in made] == [2, None]
    assert [entry.name for entry in sorted((run.path / "attempts").iterdir())] == ["1", "2"]
