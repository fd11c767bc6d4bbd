"""The wrapper tells the truth about a command, however either of them ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import footplate
from footplate.record.cause import Cause
from footplate.record.files import write_json
from footplate.record.journal import Journal
from footplate.record.process import is_alive
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, get_status
from footplate.record.wrapper import _name_rank

Wrap = Callable[..., Any]  # starts a wrapper: see conftest.py
WaitUntil = Callable[[Callable[[], object]], None]

_STUBBORN = """
import signal, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
_SIDECAR = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("bye")))
print("beside", os.environ["FOOTPLATE_RUN_ID"], flush=True)
signal.pause()
"""


def test_a_command_that_succeeds(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap("sh", "-c", 'echo out; echo err >&2; echo 42 > "$FOOTPLATE_OUTPUT_DIR/a"; env')
    assert wrapped.wait() == 0
    receipt = wrapped.receipt
    assert (receipt.exit_code, receipt.signal, receipt.cause, receipt.cancelled) == (0, None, None, False)
    assert receipt.started_at <= (receipt.ended_at or "")
    log = wrapped.log
    assert log.startswith("out\nerr\n")
    for line in (
        f"FOOTPLATE_RUN_DIR={run.path}",
        f"FOOTPLATE_OUTPUT_DIR={run.artifacts}",
        f"FOOTPLATE_RUN_ID={run.id}",
        "FOOTPLATE_ATTEMPT=1",
        "PYTHONUNBUFFERED=1",
    ):
        assert line in log.splitlines()
    assert [item["path"] for item in run.read_json("artifacts.json")] == ["a"]
    status = get_status(run)
    assert (status.state, status.attempt, status.evidence) == (RunState.succeeded, 1, ("exit code 0",))


def test_python_that_fails_leaves_its_last_words(tmp_path: Path, run: RunDir, wrap: Wrap) -> None:
    (tmp_path / "train.py").write_text("def load():\n    raise ValueError('bad batch')\n\nload()\n")
    wrapped = wrap(sys.executable, "train.py")
    assert wrapped.wait() == 1
    assert wrapped.receipt.evidence == "exit code 1; ValueError: bad batch (train.py:2)"
    status = get_status(run)
    assert (status.state, status.cause, status.exit_code) == (RunState.failed, Cause.user_error, 1)


def test_a_job_that_is_killed_is_told_by_its_signal(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap("sh", "-c", "kill -KILL $$")
    assert wrapped.wait() == 137
    assert (wrapped.receipt.exit_code, wrapped.receipt.signal) == (137, "SIGKILL")
    assert get_status(run).state is RunState.failed


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/no/such/command"], "/no/such/command: No such file or directory"),
        (["no-such-command-at-all"], "no-such-command-at-all: No such file or directory"),
        (["/etc/passwd"], "/etc/passwd: Permission denied"),
        ([], "no command"),
    ],
)
def test_a_command_that_cannot_be_started(run: RunDir, wrap: Wrap, argv: list[str], words: str) -> None:
    wrapped = wrap(*argv)
    assert wrapped.wait() == 127
    assert wrapped.log.startswith("footplate: the command cannot be started: ")
    assert words in wrapped.log
    assert wrapped.receipt.pid is None
    status = get_status(run)
    assert (status.state, status.cause, status.exit_code) == (RunState.failed, Cause.config_error, 127)


def test_a_shipper_that_is_killed_is_started_again_and_one_that_has_ended_is_not(
    tmp_path: Path, wrap: Wrap, wait_until: WaitUntil
) -> None:
    told = tmp_path / "shippers"
    code = "import os, signal, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')"
    code += "; signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM]); signal.pause()"
    wrapped = wrap("sh", "-c", "exec sleep 600", shipper=[sys.executable, "-c", code, str(told)], heartbeat_s=0.05)
    for number in (1, 2):
        wait_until(lambda number=number: told.exists() and told.read_text().count("\n") == number)  # type: ignore[misc]
        os.kill(int(told.read_text().split()[-1]), signal.SIGKILL)
    wait_until(lambda: told.read_text().count("\n") == 3)
    wrapped.process.terminate()
    assert wrapped.wait() == 130
    assert "was killed by signal 9" in wrapped.notes
    ended = wrap("sleep", "0.5", shipper=["sh", "-c", f"echo once >> {tmp_path}/ended"], heartbeat_s=0.05)
    assert ended.wait() == 0
    assert (tmp_path / "ended").read_text() == "once\n"


def test_a_working_directory_that_is_gone_is_named(wrap: Wrap) -> None:
    wrapped = wrap("true", cwd="/no/such/folder")
    assert wrapped.wait() == 127
    assert "/no/such/folder: No such file or directory" in wrapped.log


def test_a_damaged_job_is_the_platforms_fault(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap("true", heartbeat_s="often")
    assert wrapped.wait() == 1
    assert "not a job" in wrapped.receipt.evidence
    assert get_status(run).cause is Cause.platform


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_run_is_cancelled(run: RunDir, wrap: Wrap, number: signal.Signals) -> None:
    wrapped = wrap("sh", "-c", f"trap 'echo got; exit 3' {number.name[3:]}; echo ready; while :; do sleep 0.05; done")
    wrapped.wait_for_log("ready")
    wrapped.process.send_signal(number)
    assert wrapped.wait() == 130
    assert "got" in wrapped.log
    status = get_status(run)
    assert (status.state, status.cause, status.exit_code) == (RunState.cancelled, None, 3)
    assert status.evidence == (f"cancelled; exit code 3; {number.name} was passed on to the job",)


def test_a_job_that_ignores_the_signal_is_killed_after_the_grace_time(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap(sys.executable, "-c", _STUBBORN, stop_grace_s=0.3)
    wrapped.wait_for_log("ready")
    begin = time.monotonic()
    wrapped.process.terminate()
    assert wrapped.wait() == 130
    assert time.monotonic() - begin >= 0.3
    assert (wrapped.receipt.signal, wrapped.receipt.cancelled) == ("SIGKILL", True)
    assert "did not stop within" in wrapped.receipt.evidence


def test_a_second_interrupt_kills_at_once(wrap: Wrap, wait_until: WaitUntil) -> None:
    wrapped = wrap(sys.executable, "-c", _STUBBORN, stop_grace_s=600)
    wrapped.wait_for_log("ready")
    wrapped.process.send_signal(signal.SIGINT)
    wait_until(lambda: wrapped.receipt.cancelled)
    wrapped.process.send_signal(signal.SIGINT)
    assert wrapped.wait() == 130
    assert wrapped.receipt.signal == "SIGKILL"


def test_workers_with_sessions_of_their_own_are_killed_with_the_job(wrap: Wrap) -> None:
    code = (
        "import subprocess, signal, time\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('child', child.pid, flush=True); time.sleep(600)"
    )
    wrapped = wrap(sys.executable, "-c", code, stop_grace_s=0.1)
    wrapped.wait_for_log("child")
    worker = int(wrapped.log.split()[1])
    wrapped.process.terminate()
    assert wrapped.wait() == 130
    assert not _exists(worker)


def test_what_a_job_leaves_behind_is_killed_and_noted(wrap: Wrap, wait_until: WaitUntil) -> None:
    wrapped = wrap("sh", "-c", "sleep 600 & echo $!")
    assert wrapped.wait() == 0
    assert "1 process(es) it left behind were killed (sleep " in wrapped.receipt.evidence
    wait_until(lambda: not _exists(int(wrapped.log)))


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of a process is read from /proc")
def test_workers_that_outlive_their_launcher_are_killed(wrap: Wrap) -> None:
    start = "TORCHELASTIC_RUN_ID=none setsid sleep 600 >/dev/null 2>&1 & echo $!"
    wrapped = wrap("sh", "-c", f"{start}; until ps -o sid= -p $! | grep -q $!; do :; done; kill -9 $$")
    assert wrapped.wait() == 137
    assert "1 process(es) it left behind were killed (sleep " in wrapped.receipt.evidence
    assert not _exists(int(wrapped.log))


def test_helpers_that_end_just_after_the_job_are_left_in_peace(wrap: Wrap) -> None:
    wrapped = wrap("sh", "-c", "(sleep 0.2; echo last) &")
    assert wrapped.wait() == 0
    assert wrapped.log == "last\n"
    assert wrapped.receipt.evidence == "exit code 0"


def test_the_heartbeat_goes_on_while_the_job_runs(run: RunDir, wrap: Wrap, wait_until: WaitUntil) -> None:
    wrapped = wrap("sleep", "600", heartbeat_s=0.05)
    wait_until(lambda: get_status(run).state is RunState.running)
    seen = wrapped.receipt.heartbeat_at
    wait_until(lambda: wrapped.receipt.heartbeat_at > seen)
    assert get_status(run).evidence == (f"process {wrapped.receipt.pid} under wrapper {wrapped.process.pid}",)


def test_the_wrapper_wakes_up_when_the_job_ends(wrap: Wrap) -> None:
    wrapped = wrap("sh", "-c", "echo ready; exec sleep 0.2", heartbeat_s=600)
    wrapped.wait_for_log("ready")
    assert wrapped.wait() == 0  # long before the next heartbeat


def test_a_killed_wrapper_costs_neither_job_nor_log(
    tmp_path: Path, run: RunDir, wrap: Wrap, wait_until: WaitUntil
) -> None:
    wrapped = wrap("sh", "-c", "echo ready; while [ ! -e go ]; do sleep 0.02; done; echo last words")
    wrapped.wait_for_log("ready")
    wait_until(lambda: wrapped.receipt.pid is not None)
    wrapped.process.kill()
    wrapped.process.wait()
    status = get_status(run)
    assert status.state is RunState.running
    assert "its end will not be recorded" in status.evidence[1]
    (tmp_path / "go").touch()
    wrapped.wait_for_log("last words")
    receipt = wrapped.receipt
    wait_until(lambda: not is_alive(receipt.pid, receipt.pid_start))
    assert get_status(run).state is RunState.lost
    with Journal(wrapped.attempt.journal_path()) as journal:
        journal.event("finish")
    status = get_status(run)
    assert status.state is RunState.succeeded
    assert "the journal says" in status.evidence[0]


def test_sidecars_run_beside_the_job_and_are_stopped(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap(
        "sh",
        "-c",
        'until grep -q beside "$FOOTPLATE_RUN_DIR/attempts/1/wrapper.log"; do sleep 0.02; done',
        sidecars=[[sys.executable, "-c", _SIDECAR]],
    )
    assert wrapped.wait() == 0
    assert f"beside {run.id}\nbye\n" in wrapped.notes


def test_a_failing_sidecar_never_hurts(run: RunDir, wrap: Wrap) -> None:
    wrapped = wrap("sleep", "0.3", sidecars=[["/no/such/sidecar"], ["false"], []], heartbeat_s=0.05)
    assert wrapped.wait() == 0
    assert get_status(run).state is RunState.succeeded
    assert "/no/such/sidecar" in wrapped.notes
    assert "['false'] ended with 1" in wrapped.notes


def test_a_receipt_that_cannot_be_written_is_tried_again(
    tmp_path: Path, run: RunDir, wrap: Wrap, wait_until: WaitUntil
) -> None:
    wrapped = wrap("sh", "-c", "until [ -e go ]; do sleep 0.02; done", heartbeat_s=600)
    path = wrapped.attempt.receipt_path
    wait_until(lambda: path.exists() and wrapped.receipt.pid is not None)
    path.unlink()
    path.mkdir()  # a file cannot take the place of a directory
    (tmp_path / "go").touch()
    wait_until(lambda: "receipt.json: cannot be written" in wrapped.notes)
    path.rmdir()
    assert wrapped.wait() == 0
    assert get_status(run).state is RunState.succeeded


def test_the_end_is_recorded_on_a_disk_that_the_job_has_filled(tmp_path: Path) -> None:
    """The small disk is a mount that only this one process tree sees."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs a kernel that lets users make mounts of their own (unshare -rm)")
    (tmp_path / "disk").mkdir()
    job = {"argv": ["sh", "-c", "head -c 900000 /dev/zero; exit 3"], "cwd": str(tmp_path)}
    write_json(tmp_path / "job.json", job)
    script = """
        mount -t tmpfs -o size=300k tmpfs disk && mkdir -p disk/run/attempts/1 && echo {} > disk/run/run.json || exit 99
        cp job.json disk/run/attempts/1 && "$0" -m footplate.record.wrapper disk/run 1
        echo "ended with $?"; ls -A disk/run/attempts/1; cat disk/run/attempts/1/receipt.json
    """
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert "ended with 3" in done.stdout
    assert ".reserve" not in done.stdout
    receipt = json.loads(done.stdout[done.stdout.index("{") :])
    assert (receipt["exit_code"], receipt["cause"]) == (3, "platform")
    assert receipt["ended_at"]
    assert "the disk of the run directory is full" in receipt["evidence"]


def test_it_runs_zipped_with_nothing_but_the_standard_library(tmp_path: Path, run: RunDir, wrap: Wrap) -> None:
    source = Path(footplate.__file__).parent
    archive = tmp_path / "wrapper.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", "import sys; from footplate.record.wrapper import main; sys.exit(main())")
        file.writestr("footplate/__init__.py", "")
        for path in [source / "errors.py", *sorted((source / "record").glob("*.py"))]:
            file.write(path, f"footplate/{path.relative_to(source)}")
    attempt = run.new_attempt()
    write_json(attempt.job_path, {"argv": ["echo", "hello"], "cwd": str(tmp_path)})
    argv = [sys.executable, "-I", "-S", str(archive), str(run.path), str(attempt.number)]
    assert subprocess.run(argv, timeout=120, check=False).returncode == 0
    assert attempt.log_path().read_text() == "hello\n"
    assert get_status(run).state is RunState.succeeded


def test_it_stays_small(wrap: Wrap, wait_until: WaitUntil) -> None:
    wrapped = wrap("sleep", "600")
    wait_until(lambda: wrapped.attempt.receipt_path.exists() and wrapped.receipt.pid is not None)
    lines = Path(f"/proc/{wrapped.process.pid}/status").read_text().splitlines()
    resident_mb = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000
    assert resident_mb < 40


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    for arguments in ([], [str(tmp_path), "one"], [str(tmp_path), "1"]):
        command = [sys.executable, "-m", "footplate.record.wrapper", *arguments]
        assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 2


def _exists(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("evidence", "told", "expected"),
    [
        ("exit code 1; KeyError: 1 (a.py:2)", "rank 3: KeyError: 1", "exit code 1; rank 3: KeyError: 1 (a.py:2)"),
        ("exit code 1; rank 3: no", "rank 3: no", "exit code 1; rank 3: no"),
        ("exit code 75", "rank 0: preempted", "exit code 75; rank 0: preempted"),
        ("exit code 1", "", "exit code 1"),
    ],
)
def test_what_a_process_says_is_told_once_and_with_its_number(evidence: str, told: str, expected: str) -> None:
    assert _name_rank(evidence, told) == expected
