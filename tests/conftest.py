"""Gives every test its own home and directory, and fails a test that leaves anything behind."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# The same examples on every machine and every day: a test that fails here fails there. Nothing is written to disk.
settings.register_profile("footplate", derandomize=True, deadline=None, database=None)
settings.load_profile("footplate")

# Tests train tiny networks, often side by side: one thread each is faster than many that wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SETTLE_S = 3.0
"""How long what a test has started may take to go away by itself before it counts as left behind."""

_ALLOWED_VARIABLES = {
    "PYTEST_CURRENT_TEST": "pytest's own",
    "KMP_DUPLICATE_LIB_OK": "scikit-learn sets it when it is imported",
    "KMP_INIT_AT_FORK": "scikit-learn sets it when it is imported",
    "TORCHINDUCTOR_CACHE_DIR": "torch sets it when its compiler is loaded",
}
_ALLOWED_THREADS = {
    "TMonitor": "tqdm's monitor: one for the process, ends with it",
}
_ALLOWED_CHILDREN = {
    "multiprocessing.resource_tracker": "Python's: one for the process, ends with it",
    "multiprocessing.forkserver": "Python's: one for the process, ends with it",
}
_CACHES = (".cache/", "_cache/", "__pycache__/", ".hypothesis/", ".venv/", ".work/", "dist/", ".egg-info/")
"""What tools may leave in the tree: it is ignored by git and made again when it is missing."""


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of each later collection of garbage, which walks through all of it otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _tree_stays_clean() -> Iterator[None]:
    """Fail when the tests have left files in the repository; `make` switches it on, an editor's save would trip it."""
    if not os.environ.get("FOOTPLATE_CHECK_TREE"):
        yield
        return
    before = _list_tree()
    yield
    changed = sorted(_list_tree() ^ before)
    assert not changed, f"the tests changed the repository: {changed}"


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail a test that leaks variables, the directory, threads, files, sockets or processes."""
    root = f"{tmp_path_factory.getbasetemp()}{os.sep}"  # another worker's begins like it: gw1, gw10
    variables, directory = dict(os.environ), os.getcwd()
    threads, files = set(threading.enumerate()), _list_open_files()
    children, reaped = _list_children(), _count_reaped()
    yield
    leaks = _compare_variables(variables)
    _restore_variables(variables)
    if os.getcwd() != directory:
        leaks.append(f"the current directory: {os.getcwd()}")
        os.chdir(directory)
    leaks += _wait_for_none(lambda: [f"thread {thread.name}" for thread in _list_new_threads(threads)])
    leaks += _wait_for_none(lambda: [f"open {name}" for name in sorted(_list_open_files() - files)])
    processes = _list_children() - children
    if processes or _count_reaped() != reaped:
        leaks += _wait_for_none(lambda: [_name(process) for process in _list_left(children, root)])
        _kill(_list_left(children, root))
    assert not leaks, f"the test leaves behind: {leaks}"


@pytest.fixture(autouse=True)
def _own_place(
    _leaves_nothing: None, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run each test in its own empty directory, with a Footplate home and a git without this person's settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FOOTPLATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FOOTPLATE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")


@pytest.fixture
def footplate(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `footplate ARGS` as a person would, at 80 columns and with a time limit."""

    def run(
        *args: str,
        cwd: Path = tmp_path,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
        check: int | None = None,
        input: str | None = None,  # as subprocess names it
    ) -> subprocess.CompletedProcess[str]:
        """Run it in `cwd`; `env` is added to the environment, `check` is the exit code that is expected."""
        command = [sys.executable, "-m", "footplate", *args]
        done = _run(command, cwd, {"COLUMNS": "80", "LINES": "24", **(env or {})}, timeout, input)
        if check is not None:
            told = f"{' '.join(args)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            assert done.returncode == check, told
        return done

    return run


def _run(
    command: list[str], cwd: Path, env: Mapping[str, str], timeout: float, text: str | None
) -> subprocess.CompletedProcess[str]:
    # Warm bytecode is how it is used; some machines switch it off for everything.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**variables, **env},
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that at the time limit everything it has started can be ended
    )
    try:
        out, err = process.communicate(text, timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _list_tree() -> set[str]:
    command = ["git", "status", "--porcelain", "--untracked-files=all", "--ignored"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    return {line for line in done.stdout.splitlines() if not any(cache in f"{line}/" for cache in _CACHES)}


def _compare_variables(before: Mapping[str, str]) -> list[str]:
    names = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
    return [f"variable {name}={os.environ.get(name)}" for name in sorted(names - set(_ALLOWED_VARIABLES))]


def _restore_variables(before: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(before) - set(_ALLOWED_VARIABLES):
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if name not in _ALLOWED_VARIABLES})


def _list_new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and type(thread).__name__ not in _ALLOWED_THREADS
    ]


def _list_open_files() -> set[str]:
    """Return this process's regular files and sockets by number; empty where there is no /proc."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = os.readlink(entry)
        except OSError:  # closed meanwhile, such as the one that lists
            continue
        if target.startswith("socket:") or (target.startswith("/") and Path(target).is_file()):
            found.add(f"{entry.name} → {target}")
    return found


def _list_children() -> set[psutil.Process]:
    if hasattr(os, "waitid"):
        try:  # asking the kernel whether there is any costs microseconds, listing all processes milliseconds
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return set()
    return {process for process in psutil.Process().children() if not _is_allowed(process)}


def _count_reaped() -> int:
    """Return a number that changes when a child of this process has ended and was waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt


def _list_left(before: set[psutil.Process], root: str) -> set[psutil.Process]:
    """Return new children, and processes in whose environment the home of a test of this session stands."""
    left = _list_children() - before
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("FOOTPLATE_HOME", "").startswith(root):
                left.add(process)
        except (psutil.Error, OSError):  # another user's, or ended meanwhile
            continue
    return {process for process in left if not _is_allowed(process)}


def _is_allowed(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return True
    return any(name in command for name in _ALLOWED_CHILDREN)


def _name(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"process {process.pid}, which has just ended"


def _kill(processes: set[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=_SETTLE_S)


def _wait_for_none(find: Callable[[], list[str]]) -> list[str]:
    """Return what is still found after it was given time to go."""
    end = time.monotonic() + _SETTLE_S
    found = find()
    if found:
        gc.collect()
    while found and time.monotonic() < end:
        time.sleep(0.02)
        found = find()
    return found
