"""The state follows from receipt, processes and heartbeat, and says how it is known."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from footplate.record.cause import Cause
from footplate.record.process import find_start_time, get_boot_id, get_host, is_alive, list_family
from footplate.record.receipt import Receipt, find_receipt, write_receipt
from footplate.record.rundir import Attempt, RunDir
from footplate.record.state import RunState, get_status

_NOW = datetime(2026, 11, 21, 6, 0, 0, tzinfo=UTC)
_GONE = {"wrapper_pid": os.getpid(), "wrapper_start": -1.0, "pid": os.getpid(), "pid_start": -1.0}


@pytest.fixture
def attempt(run: RunDir) -> Attempt:
    return run.new_attempt()


def _write(attempt: Attempt, **changes: Any) -> Receipt:
    values: dict[str, Any] = {
        "run_id": "test",
        "attempt": attempt.number,
        "host": get_host(),
        "boot_id": get_boot_id(),
        "wrapper_pid": os.getpid(),
        "wrapper_start": find_start_time(os.getpid()),
        "started_at": _NOW.isoformat(),
        "heartbeat_at": _NOW.isoformat(),
    }
    receipt = Receipt(**values | changes)
    write_receipt(attempt, receipt)
    return receipt


def test_a_receipt_comes_back_and_ignores_later_keys(attempt: Attempt) -> None:
    assert find_receipt(attempt) is None
    receipt = _write(attempt, cause=Cause.preempted, exit_code=75)
    assert find_receipt(attempt) == receipt
    assert Receipt.from_json(receipt.to_json() | {"later": 1}) == receipt


def test_without_attempt_or_receipt_it_is_queued(run: RunDir) -> None:
    assert (get_status(run).state, get_status(run).attempt) == (RunState.queued, 0)
    run.new_attempt()
    assert (get_status(run).state, get_status(run).attempt) == (RunState.queued, 1)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"exit_code": 0}, RunState.succeeded),
        ({"exit_code": 1, "cause": Cause.user_error}, RunState.failed),
        ({"exit_code": 137, "signal": "SIGKILL", "cause": Cause.out_of_memory}, RunState.failed),
        ({"exit_code": 0, "cancelled": True}, RunState.cancelled),
        ({"exit_code": 75, "cause": Cause.preempted}, RunState.queued),
        ({"exit_code": 75, "cancelled": True}, RunState.cancelled),
    ],
)
@pytest.mark.parametrize("host", [get_host(), "elsewhere"])
def test_an_end_in_the_receipt_is_final(
    run: RunDir, attempt: Attempt, changes: dict[str, Any], state: RunState, host: str
) -> None:
    _write(attempt, host=host, ended_at=_NOW.isoformat(), evidence="seen", **changes)
    status = get_status(run)
    assert (status.state, status.evidence, status.cause) == (state, ("seen",), changes.get("cause"))


def test_the_last_attempt_counts(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, exit_code=1, ended_at=_NOW.isoformat())
    _write(run.new_attempt(), exit_code=0, ended_at=_NOW.isoformat())
    assert (get_status(run).state, get_status(run).attempt) == (RunState.succeeded, 2)


def test_a_living_wrapper_without_a_job_is_starting(run: RunDir, attempt: Attempt) -> None:
    _write(attempt)
    assert get_status(run).state is RunState.starting


def test_a_launch_that_was_killed_half_way_is_lost(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, **_GONE | {"pid": None, "pid_start": None})
    assert get_status(run).state is RunState.lost


def test_a_wrapper_whose_launcher_was_killed_has_a_moment_to_start(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, **_GONE | {"pid": None, "pid_start": None})
    attempt.job_path.write_text("{}")
    written = datetime.fromtimestamp(attempt.job_path.stat().st_mtime, UTC)
    assert get_status(run, now=written + timedelta(seconds=9)).state is RunState.starting
    assert get_status(run, now=written + timedelta(seconds=11)).state is RunState.lost


def test_a_command_that_no_receipt_names_is_found_by_its_environment(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, **_GONE | {"pid": None, "pid_start": None, "run_id": run.id})
    environment = {**os.environ, "FOOTPLATE_RUN_ID": run.id}
    # Popen returns before the kernel has filled in the new environment: what the program says proves that it has.
    argv = ["sh", "-c", "echo started; read never"]
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as command:
        try:
            assert command.stdout is not None
            assert command.stdout.readline() == b"started\n"
            status = get_status(run)
        finally:
            command.kill()
    assert (status.state, status.evidence[0]) == (RunState.running, f"process {command.pid} is alive")
    assert status.orphan_pid == command.pid
    assert get_status(run).state is RunState.lost


def test_a_run_whose_directory_was_removed_is_lost_and_that_is_said(run: RunDir, attempt: Attempt) -> None:
    shutil.rmtree(run.path)
    status = get_status(run)
    assert (status.state, status.evidence) == (RunState.lost, (f"its directory is gone: {run.path}",))


def test_a_living_wrapper_with_a_job_is_running(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, pid=os.getpid(), pid_start=find_start_time(os.getpid()))
    assert get_status(run).state is RunState.running


def test_while_artifacts_are_listed_the_end_of_the_command_is_told(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, pid=os.getpid(), pid_start=-1.0, exit_code=0, evidence="exit code 0")
    status = get_status(run)
    assert (status.state, status.evidence[0]) == (RunState.running, "exit code 0")
    assert "artifacts are being listed" in status.evidence[1]


def test_a_living_job_without_its_wrapper_is_running_and_that_is_said(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, **_GONE | {"pid_start": find_start_time(os.getpid())})
    status = get_status(run)
    assert status.state is RunState.running
    assert status.orphan_pid == os.getpid()
    assert f"its end will not be recorded; stop it with: kill {os.getpid()}" in status.evidence[1]


@pytest.mark.parametrize("later_s", [-30, 90])
def test_a_lost_run_was_last_seen_at_its_heartbeat_or_when_it_last_wrote(
    run: RunDir, attempt: Attempt, later_s: int
) -> None:
    _write(attempt, **_GONE)
    attempt.log_path().write_text("step 1\n")
    written = _NOW.timestamp() + later_s
    os.utime(attempt.log_path(), (written, written))
    status = get_status(run)
    assert status.state is RunState.lost
    assert status.last_seen_at is not None
    assert datetime.fromisoformat(status.last_seen_at) == _NOW + timedelta(seconds=max(later_s, 0))


def test_another_process_of_the_same_pid_is_not_the_job(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, **_GONE)
    status = get_status(run)
    assert status.state is RunState.lost
    assert "are gone" in status.evidence[0]


def test_a_restarted_machine_has_none_of_the_old_processes(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, boot_id="an earlier one", pid=os.getpid(), pid_start=find_start_time(os.getpid()))
    status = get_status(run)
    assert status.state is RunState.lost
    assert "was restarted" in status.evidence[0]


def test_an_exit_is_known_although_the_wrapper_was_killed_before_the_end(run: RunDir, attempt: Attempt) -> None:
    _write(attempt, exit_code=0, evidence="exit code 0", **_GONE)
    status = get_status(run)
    assert status.state is RunState.succeeded
    assert "artifacts" in status.evidence[1]


@pytest.mark.parametrize(
    ("silence_s", "changes", "state"),
    [
        (-5, {"pid": 1}, RunState.running),
        (59, {"pid": 1}, RunState.running),
        (59, {}, RunState.starting),
        (61, {"pid": 1}, RunState.unknown),
        (61, {"pid": 1, "exit_code": 0}, RunState.succeeded),
    ],
)
def test_another_machine_is_known_by_its_heartbeat(
    run: RunDir, attempt: Attempt, silence_s: int, changes: dict[str, Any], state: RunState
) -> None:
    _write(attempt, host="elsewhere", **changes)
    status = get_status(run, now=_NOW + timedelta(seconds=silence_s))
    assert status.state is state
    assert any("heartbeat from elsewhere" in text for text in status.evidence)


def test_a_damaged_receipt_is_unknown_and_named(run: RunDir, attempt: Attempt) -> None:
    for text in ("{", "[]", '{"run_id": "x"}', '{"cause": "bad luck"}'):
        attempt.receipt_path.write_text(text)
        status = get_status(run)
        assert status.state is RunState.unknown
        assert "receipt.json" in status.evidence[0]


def test_final_states() -> None:
    assert {state for state in RunState if state.is_final} == {
        RunState.succeeded,
        RunState.failed,
        RunState.cancelled,
        RunState.lost,
    }


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with an odd name in a session of its own, and a child."""
    code = (
        "import pathlib, subprocess, sys; pathlib.Path('/proc/self/comm').write_text('a) b (c 1 2')\n"
        "child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); child.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    yield process
    for pid in [process.pid, *list_family(process.pid)]:
        os.kill(pid, 9)
    process.wait(120)
    assert process.stdout is not None
    process.stdout.close()


def test_a_process_is_told_by_pid_and_start(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    start = find_start_time(child.pid)
    assert is_alive(child.pid, start)
    assert start is not None
    assert not is_alive(child.pid, start + 1)
    assert list_family(child.pid) == {grandchild: "sleep"}
    assert grandchild in list_family(os.getpid())


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["sleep", "600"])
    start = find_start_time(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process.pid, start)
    process.wait()
    assert find_start_time(process.pid) is None
