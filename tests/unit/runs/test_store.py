"""The index of runs: it finds them, and losing it loses nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from footplate.errors import NotFoundError
from footplate.record.run_info import RunInfo, write_run_info
from footplate.record.rundir import RunDir
from footplate.runs.store import Store


def make_run(root: Path, run_id: str, created_at: str = "2026-01-01T00:00:00.000+00:00") -> tuple[RunDir, RunInfo]:
    path = root / run_id
    path.mkdir(parents=True)
    info = RunInfo(
        id=run_id,
        name=run_id[:-7],
        kind="exec",
        created_at=created_at,
        argv=("true",),
        cwd="/",
        host="here",
        user="me",
        version="0",
    )
    run = RunDir(path=path.absolute())
    write_run_info(run, info)
    return run, info


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_a_run_is_found_by_prefix_by_suffix_and_by_path(home: Path, tmp_path: Path) -> None:
    run, info = make_run(tmp_path / "runs", "train-q3abcd")
    other, other_info = make_run(tmp_path / "runs", "tune-q7abcd")
    with Store(home) as store:
        store.add(run, info)
        store.add(other, other_info)
        for text in ("train-q3abcd", "tr", "q3", "Q3AB", str(run.path)):
            assert store.find(text).path == run.path
        assert store.find("q7").path == other.path


def test_an_ambiguous_prefix_lists_the_candidates(home: Path, tmp_path: Path) -> None:
    with Store(home) as store:
        for run_id in ("train-q3abcd", "train-q7abcd"):
            store.add(*make_run(tmp_path / "runs", run_id))
        with pytest.raises(NotFoundError, match=r"(?s)means 2 runs.*train-q3abcd.*train-q7abcd"):
            store.find("tra")


def test_an_unknown_run_gets_the_nearest_names(home: Path, tmp_path: Path) -> None:
    with Store(home) as store:
        with pytest.raises(NotFoundError) as caught:
            store.find("x")
        assert caught.value.hint == "there are no runs yet"
        store.add(*make_run(tmp_path / "runs", "train-q3abcd"))
        with pytest.raises(NotFoundError) as caught:
            store.find("trian-q3abcd")
        assert "train-q3abcd" in caught.value.hint
        with pytest.raises(NotFoundError):
            store.find("")


def test_a_full_id_wins_over_longer_ones(home: Path, tmp_path: Path) -> None:
    with Store(home) as store:
        for run_id in ("a-abcdef", "a-abcdef-aaaaaa"):
            store.add(*make_run(tmp_path / "runs", run_id))
        assert store.find("a-abcdef").id == "a-abcdef"


def test_runs_are_listed_newest_first(home: Path, tmp_path: Path) -> None:
    with Store(home) as store:
        for day in (2, 3, 1):
            store.add(*make_run(tmp_path / "runs", f"r-{day}aaaaa", f"2026-01-0{day}T00:00:00.000+00:00"))
        assert [run.id for run in store.list()] == ["r-3aaaaa", "r-2aaaaa", "r-1aaaaa"]
        assert [run.id for run in store.list(limit=1)] == ["r-3aaaaa"]
        store.remove("r-3aaaaa")
        store.remove("r-3aaaaa")
        assert [run.id for run in store.list(limit=1)] == ["r-2aaaaa"]


def test_a_vanished_directory_is_told_and_dropped_by_rebuild(home: Path, tmp_path: Path) -> None:
    run, info = make_run(tmp_path / "runs", "train-q3abcd")
    with Store(home) as store:
        store.add(run, info)
        shutil.rmtree(run.path)
        assert [stored.exists for stored in store.list()] == [False]
        with pytest.raises(NotFoundError, match="is gone"):
            store.find("q3")
        assert store.rebuild().num_dropped == 1
        assert list(store.list()) == []


def test_a_lost_file_is_made_anew_from_the_run_directories(home: Path, tmp_path: Path) -> None:
    for root in ("one", "two"):
        run, info = make_run(tmp_path / root, f"{root}-abcdef")
        with Store(home) as store:
            store.add(run, info)
    for file in home.glob("runs.sqlite*"):
        file.unlink()
    said: list[str] = []
    with Store(home, tell=said.append) as store:
        assert {stored.id for stored in store.list()} == {"one-abcdef", "two-abcdef"}
    assert said == ["the index of runs was missing; made anew from the run directories: 2 runs in 2 directories"]


def test_rebuild_takes_directories_that_were_moved_here(home: Path, tmp_path: Path) -> None:
    run, info = make_run(tmp_path / "old", "train-q3abcd")
    with Store(home) as store:
        store.add(run, info)
        (tmp_path / "old").rename(tmp_path / "new")
        rebuilt = store.rebuild([tmp_path / "new"])
        assert (rebuilt.num_found, rebuilt.num_dropped) == (1, 1)
        assert store.find("q3").path == tmp_path / "new" / "train-q3abcd"
        with pytest.raises(NotFoundError, match="no such directory"):
            store.rebuild([tmp_path / "nowhere"])


def test_rebuild_passes_over_a_damaged_run_and_names_it(home: Path, tmp_path: Path) -> None:
    run, info = make_run(tmp_path / "runs", "good-abcdef")
    damaged, _ = make_run(tmp_path / "runs", "bad-abcdef")
    (damaged.path / "run.json").write_text('{"id": ')
    with Store(home) as store:
        store.add(run, info)
        rebuilt = store.rebuild()
    assert (rebuilt.num_found, rebuilt.damaged) == (1, (damaged.path,))
    assert (damaged.path / "run.json").exists()


@pytest.mark.parametrize("damage", [b"this is no database, it is a text that somebody saved here" * 100, None])
def test_a_corrupt_file_is_set_aside_and_made_anew(home: Path, tmp_path: Path, damage: bytes | None) -> None:
    with Store(home) as store:
        for number in range(200):
            store.add(*make_run(tmp_path / "runs", f"train-{number:03}abc"))
    path = home / "runs.sqlite"
    content = path.read_bytes()
    # Either something else altogether, or a database of which all pages but the first are overwritten.
    path.write_bytes(damage if damage is not None else content[:4096] + b"\xa5" * (len(content) - 4096))
    said: list[str] = []
    with Store(home, tell=said.append) as store:
        assert len(store.list()) == 200
    assert "was damaged; set aside as" in " ".join(said)
    assert len(list(home.glob("runs.sqlite.corrupt-*"))) == 1


ADD_MANY = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_store import make_run
from footplate.runs.store import Store
home, root, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
for number in range(20):
    run, info = make_run(root / name, f"{{name}}-{{number:02}}aaaa")
    with Store(home) as store:
        store.add(run, info)
"""


def test_many_processes_may_add_at_once_to_a_new_file(home: Path, tmp_path: Path) -> None:
    program = ADD_MANY.format(here=str(Path(__file__).parent))
    processes = [subprocess.Popen([sys.executable, "-c", program, str(home), str(tmp_path), name]) for name in "abcd"]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    with Store(home) as store:
        assert len(store.list()) == 80
        assert len(store.read_roots()) == 4
