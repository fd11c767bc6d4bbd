"""A run directory is made once, and its JSON files are old or new, never half."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from footplate.errors import NotFoundError, RecordError
from footplate.record import rundir
from footplate.record.run_info import RunInfo, read_run_info, write_run_info
from footplate.record.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path, "test")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("digits", "digits-"),
        ("My Großes Net_v2!", "my-groes-net-v2-"),
        ("a" * 50, "a" * 20 + "-"),
        ("訓練", "run-"),
        ("", "run-"),
        ("../../etc/passwd", "etc-passwd-"),
        ("x" * 19 + "--y", "x" * 19 + "-"),
    ],
)
def test_an_id_is_safe_in_a_host_name(tmp_path: Path, name: str, start: str) -> None:
    run = RunDir.create(tmp_path, name)
    assert run.path.parent == tmp_path
    assert run.id.startswith(start)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?-[a-z2-7]{6}", run.id)
    assert run.artifacts.is_dir()


def test_a_directory_that_exists_is_left_alone_and_another_id_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = iter("aaaaaa" + "aaaaaa" + "bbbbbb")
    monkeypatch.setattr(rundir.secrets, "choice", lambda _: next(letters))
    first = RunDir.create(tmp_path, "x")
    (first.path / "precious").write_text("1")
    second = RunDir.create(tmp_path, "x")
    assert (first.id, second.id) == ("x-aaaaaa", "x-bbbbbb")
    assert (first.path / "precious").read_text() == "1"


def test_it_gives_up_when_every_id_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir.secrets, "choice", lambda _: "a")
    RunDir.create(tmp_path, "x")
    with pytest.raises(RecordError, match="no free run id for 'x'"):
        RunDir.create(tmp_path, "x")


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="file") as caught:
        RunDir.create(tmp_path / "file", "x")
    assert "output directory" in caught.value.hint


def test_open_wants_a_run(run: RunDir) -> None:
    with pytest.raises(NotFoundError, match=r"no run\.json"):
        RunDir.open(run.path)
    run.write_json("run.json", {})
    assert RunDir.open(run.path) == run


def test_a_relative_path_becomes_absolute(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_json("run.json", {})
    monkeypatch.chdir(run.path.parent)
    assert RunDir.open(Path(run.id)).path == run.path


def test_attempts_are_numbered_from_one_and_sorted_as_numbers(run: RunDir) -> None:
    assert run.attempts() == []
    assert [run.new_attempt().number for _ in range(11)] == list(range(1, 12))
    assert [attempt.number for attempt in run.attempts()] == list(range(1, 12))


def test_two_callers_never_get_the_same_attempt(run: RunDir) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: run.new_attempt().number, range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_paths_of_an_attempt(run: RunDir) -> None:
    attempt = run.new_attempt()
    assert attempt.log_path().relative_to(run.path).as_posix() == "attempts/1/log.rank0.txt"
    assert attempt.log_path(3).name == "log.rank3.txt"
    attempt.journal_path("system").touch()
    attempt.journal_path().touch()
    assert [path.name for path in attempt.journals()] == ["journal.rank0.jsonl", "journal.system.jsonl"]


def test_json_comes_back_as_it_was(run: RunDir) -> None:
    value = {"text": "Größe \udcff", "numbers": [1, 2.5, None]}
    run.write_json("x.json", value)
    assert run.read_json("x.json") == value
    assert [path.name for path in run.path.iterdir() if "x.json" in path.name] == ["x.json"]


def test_missing_and_damaged_json_are_told_apart(run: RunDir) -> None:
    assert run.find_json("x.json") is None
    with pytest.raises(NotFoundError, match=r"x\.json"):
        run.read_json("x.json")
    (run.path / "x.json").write_text('{"a": ')
    with pytest.raises(RecordError, match=r"x\.json: damaged"):
        run.find_json("x.json")


def test_what_json_cannot_hold_leaves_the_old_file(run: RunDir) -> None:
    run.write_json("x.json", 1)
    with pytest.raises(RecordError, match=r"x\.json"):
        run.write_json("x.json", object())
    assert run.read_json("x.json") == 1


@contextmanager
def _no_room() -> Iterator[None]:
    """Let no file of this process grow beyond 1000 bytes: a write fails as it does on a full disk.

    It is over before the test is, as pytest's own report may go to a file.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_no_room_leaves_the_old_file_and_names_the_free_space(run: RunDir) -> None:
    run.write_json("x.json", "old")
    with _no_room(), pytest.raises(RecordError, match=r"x\.json: cannot be written: .* MB free there") as caught:
        run.write_json("x.json", "new" * 1000)
    assert "Make room" in caught.value.hint
    assert run.read_json("x.json") == "old"
    assert not list(run.path.glob("*.tmp")) + list(run.path.glob(".*.tmp"))


def test_a_reader_never_sees_half_a_file(run: RunDir) -> None:
    run.write_json("x.json", ["0"] * 20_000)
    code = (
        "import sys; from pathlib import Path; from footplate.record.files import write_json\n"
        "for n in range(100): write_json(Path(sys.argv[1]), [str(n)] * 20_000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(run.path / "x.json")])
    while writer.poll() is None:
        value = run.read_json("x.json")
        assert len(value) == 20_000
        assert len(set(value)) == 1
    assert writer.wait(120) == 0


def test_run_info_comes_back_and_ignores_later_keys(run: RunDir) -> None:
    info = RunInfo(
        id=run.id,
        name="test",
        kind="exec",
        created_at="2026-11-21T06:00:00+00:00",
        argv=("python", "a b.py"),
        cwd=os.sep,
        host="h",
        user="u",
        version="1",
    )
    write_run_info(run, info)
    assert read_run_info(run) == info
    run.write_json("run.json", info.to_json() | {"later": 1})
    assert read_run_info(run) == info
    run.write_json("run.json", {"id": "x"})
    with pytest.raises(RecordError, match=r"run\.json"):
        read_run_info(run)
