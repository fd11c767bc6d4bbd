"""The cause of an end follows from its exit, the kernel's count and the last words of the log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from footplate.record.cause import Cause, Ending, classify_ending, find_exception
from footplate.record.oom import find_oom_kills

_TRACEBACK = """epoch 1
Traceback (most recent call last):
  File "/home/a/train.py", line 12, in <module>
    main()
  File "/home/a/train.py", line 9, in main
    raise ValueError("bad batch")
ValueError: bad batch
"""

_CASES = {
    "done": (Ending(exit_code=0), None, "exit code 0"),
    "done although the log has an error": (Ending(exit_code=0, log_tail=_TRACEBACK), None, "exit code 0"),
    "cancelled": (Ending(exit_code=143, signal="SIGTERM", cancelled=True), None, "cancelled; killed by SIGTERM"),
    "cancelled with a checkpoint": (Ending(exit_code=75, cancelled=True), None, "cancelled; exit code 75"),
    "config": (Ending(exit_code=64), Cause.config_error, "exit code 64"),
    "checkpointed": (Ending(exit_code=75), Cause.preempted, "checkpoint"),
    "the worker's word": (Ending(exit_code=76), Cause.out_of_memory, "exit code 76"),
    "killed, the counter grew": (Ending(exit_code=137, signal="SIGKILL", oom_kills=2), Cause.out_of_memory, "by 2"),
    "killed below a shell": (Ending(exit_code=137, oom_kills=1), Cause.out_of_memory, "exit code 137"),
    "killed, no counter": (
        Ending(exit_code=137, signal="SIGKILL"),
        None,
        "killed by SIGKILL; by whom is not known",
    ),
    "killed after a handled exception": (
        Ending(exit_code=137, signal="SIGKILL", log_tail=_TRACEBACK),
        None,
        "by whom is not known",
    ),
    "killed on a full disk": (Ending(exit_code=137, signal="SIGKILL", disk_full=True), None, "by whom"),
    "killed, and the log tells of memory": (
        Ending(exit_code=137, signal="SIGKILL", log_tail="MemoryError"),
        Cause.out_of_memory,
        "killed by SIGKILL; the log says: MemoryError",
    ),
    "ended by a signal from outside": (
        Ending(exit_code=143, signal="SIGTERM"),
        None,
        "killed by SIGTERM; by whom is not known",
    ),
    "killed below a shell, no counter": (Ending(exit_code=137), None, "exit code 137, as after SIGKILL; by whom"),
    "the worker was interrupted from outside": (Ending(exit_code=130), None, "exit code 130, as after SIGINT"),
    "abort": (Ending(exit_code=134, signal="SIGABRT"), Cause.user_error, "killed by SIGABRT"),
    "a message": (
        Ending(exit_code=1, log_tail="step 1\nerror: loss became NaN at step 2\n  hint: a smaller rate\n"),
        Cause.user_error,
        "exit code 1; loss became NaN at step 2",
    ),
    "argparse": (
        Ending(exit_code=2, log_tail="usage: a.py [-h]\na.py: error: unrecognized arguments: --x\n"),
        Cause.user_error,
        "exit code 2; unrecognized arguments: --x",
    ),
    "a message about the configuration": (
        Ending(exit_code=64, log_tail="error: no such column\n"),
        Cause.config_error,
        "exit code 64: a configuration that cannot work; no such column",
    ),
    "a message and a traceback": (
        Ending(exit_code=1, log_tail=_TRACEBACK + "error: it failed\n"),
        Cause.user_error,
        "exit code 1; ValueError: bad batch (train.py:9)",
    ),
    "errors inside a line": (Ending(exit_code=1, log_tail="mean error: 0.2\n"), Cause.user_error, "exit code 1"),
    "the counter grew for another": (Ending(exit_code=1, oom_kills=1), Cause.user_error, "exit code 1"),
    "CPU time": (Ending(exit_code=152, signal="SIGXCPU"), Cause.time_limit, "SIGXCPU"),
    "CUDA": (
        Ending(exit_code=1, log_tail="x\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"),
        Cause.out_of_memory,
        "exit code 1; the log says: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
    ),
    "Python's memory": (Ending(exit_code=1, log_tail="MemoryError"), Cause.out_of_memory, "MemoryError"),
    "C++": (Ending(exit_code=134, signal="SIGABRT", log_tail="what():  std::bad_alloc"), Cause.out_of_memory, "bad_"),
    "torch on the CPU": (
        Ending(exit_code=1, log_tail="DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        Cause.out_of_memory,
        "you tried",
    ),
    "fork": (Ending(exit_code=1, log_tail="OSError: [Errno 12] Cannot allocate memory"), Cause.out_of_memory, "12"),
    "disk": (
        Ending(exit_code=1, log_tail="OSError: [Errno 28] No space left on device: 'x'"),
        Cause.platform,
        "No space left on device: 'x'",
    ),
    "disk, and nothing could be said": (Ending(exit_code=1, disk_full=True), Cause.platform, "exit code 1"),
    "disk, and something was": (
        Ending(exit_code=1, disk_full=True, log_tail=_TRACEBACK),
        Cause.user_error,
        "bad batch",
    ),
    "exception": (
        Ending(exit_code=1, log_tail=_TRACEBACK),
        Cause.user_error,
        "exit code 1; ValueError: bad batch (train.py:9)",
    ),
    "exception of a rank": (
        Ending(exit_code=1, log_tail='[rank0]:   File "a.py", line 3, in f\n[rank0]:     x()\n[rank0]: KeyError: 1\n'),
        Cause.user_error,
        "KeyError: 1 (a.py:3)",
    ),
    "segmentation fault": (Ending(exit_code=139, signal="SIGSEGV"), Cause.user_error, "killed by SIGSEGV"),
    "no words at all": (Ending(exit_code=2), Cause.user_error, "exit code 2"),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
def test_cause(case: tuple[Ending, Cause | None, str]) -> None:
    ending, cause, words = case
    found, evidence = classify_ending(ending)
    assert found is cause
    assert words in evidence


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("int('x')", "ValueError: invalid literal for int() with base 10: 'x' (<string>:1)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (<string>:1)"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (<string>:1)"),
        ("try:\n  1/0\nexcept ZeroDivisionError as e:\n  raise RuntimeError('later') from e", "RuntimeError: later"),
        ("x = = 1", "SyntaxError: invalid syntax (<string>:1)"),
        ("raise ExceptionGroup('many', [ValueError('one')])", "ExceptionGroup: many"),
        ("import logging; logging.error('Error: no')", ""),
    ],
)
def test_the_last_exception_of_a_real_python(code: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    found = find_exception(done.stderr)
    assert found.startswith(expected) if expected else found == ""


_LAUNCHER = """Traceback (most recent call last):
  File "/lib/torch/distributed/launcher/api.py", line 383, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (_TRACEBACK + _LAUNCHER, "exit code 1; ValueError: bad batch (train.py:9)"),
        ("error: loss became NaN at step 812\n" + _LAUNCHER, "exit code 1; loss became NaN at step 812"),
        (_LAUNCHER, "ChildFailedError"),
    ],
)
def test_the_launcher_has_the_last_word_only_where_nobody_else_has_one(log: str, expected: str) -> None:
    cause, evidence = classify_ending(Ending(exit_code=1, log_tail=log))
    assert cause is Cause.user_error
    assert evidence == expected or (log == _LAUNCHER and expected in evidence)


def test_a_long_line_is_shortened() -> None:
    _, evidence = classify_ending(Ending(exit_code=1, log_tail="MemoryError " + "x" * 1000))
    assert len(evidence) < 350


def test_kills_are_counted_in_the_second_version_of_control_groups(tmp_path: Path) -> None:
    group = tmp_path / "sys" / "job"
    group.mkdir(parents=True)
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\n")
    (tmp_path / "cgroup").write_text("0::/job\n")
    assert find_oom_kills(proc=tmp_path / "cgroup", root=tmp_path / "sys") == 2


def test_kills_are_counted_in_the_first_version_of_control_groups(tmp_path: Path) -> None:
    group = tmp_path / "sys" / "memory" / "job"
    group.mkdir(parents=True)
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    (tmp_path / "cgroup").write_text("9:name=systemd:/\n4:memory:/job\n0::/\n")
    assert find_oom_kills(proc=tmp_path / "cgroup", root=tmp_path / "sys") == 5


def test_in_a_container_the_group_is_what_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom_kill 1\n")
    (tmp_path / "cgroup").write_text("0::/the/hosts/path\n")
    assert find_oom_kills(proc=tmp_path / "cgroup", root=tmp_path) == 1


def test_where_nothing_counts_there_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    assert find_oom_kills(proc=tmp_path / "cgroup", root=tmp_path) is None
    assert find_oom_kills(proc=tmp_path / "missing", root=tmp_path) is None
