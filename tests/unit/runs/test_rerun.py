"""Repeating runs: the same tree, what is linked into it, what is said to be different."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from footplate.errors import CommandError, InputError, NotFoundError
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, get_status
from footplate.runs.launch import RUN_DIR_TOKEN, JobSpec, Launched, follow, launch
from footplate.runs.rerun import compare_data, compare_environments, rerun


@pytest.fixture
def code(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    (place / "train.py").write_text("print('one')\n")
    return place


def make_job(code: Path, *argv: str) -> JobSpec:
    return JobSpec(name="train", kind="exec", argv=argv, cwd=code, output_dir=code / "runs", sidecar_interval_s=None)


def finish(launched: Launched) -> tuple[RunDir, str]:
    said: list[str] = []
    status = follow(launched, said.append)
    assert status.state is RunState.succeeded, (status, said)
    return launched.run, "".join(said)


def test_what_was_no_code_is_linked_and_what_is_new_is_not_there(code: Path) -> None:
    (code / ".footplateignore").write_text("cache/\n")
    (code / ".env").write_text("API_KEY=abc\n")
    (code / "big.bin").write_bytes(b"\0" * 10_000_001)
    (code / "cache" / "deep").mkdir(parents=True)
    (code / "cache" / "deep" / "x").write_text("cached")
    (code / "package").mkdir()
    (code / "package" / "a.py").write_text("")
    run, _ = finish(launch(make_job(code, sys.executable, "train.py")))
    (code / "new.py").write_text("")
    (code / "package" / "b.py").write_text("")
    (code / "__pycache__").mkdir()

    launched = rerun(run)
    again, said = finish(launched)
    tree = again.path / "tree"
    assert said == "one\n"
    links = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink()}
    assert links == {".env", "big.bin", "cache"}
    files = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}
    assert files == {"train.py", ".footplateignore", "package/a.py"}
    assert launched.notes[:2] == (
        f"code: 3 files as in {run.id}",
        "not in the snapshot, linked to where they lie now: .env, big.bin, cache",
    )
    assert read_run_info(again).parent == run.id

    (code / "big.bin").unlink()
    launched = rerun(again)
    finish(launched)
    assert "not in the snapshot, and gone: big.bin" in launched.notes


def test_data_beside_the_run_directories_is_linked_and_the_runs_are_not(code: Path) -> None:
    (code / "src").mkdir()
    (code / "src" / "show.py").write_text("import os\nprint(sorted(os.listdir('src')))\n")
    (code / "src" / ".env").write_text("SETTING=1\n")
    job = replace(make_job(code, sys.executable, "src/show.py"), output_dir=code / "src")
    run, _ = finish(launch(job))
    finish(launch(job))
    assert finish(rerun(run))[1] == "['.env', 'show.py']\n"


def test_a_run_is_repeated_when_its_project_is_gone(code: Path, tmp_path: Path) -> None:
    (code / "go.sh").write_text("#!/bin/sh\necho gone\n")
    (code / "go.sh").chmod(0o755)
    run, _ = finish(launch(replace(make_job(code, "./go.sh"), output_dir=tmp_path / "runs")))
    shutil.rmtree(code)
    assert finish(rerun(run))[1] == "gone\n"


def test_settings_of_the_first_run_are_kept_and_secrets_looked_up_again(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "first")
    program = "import os; print(os.environ['GIVEN'])"
    job = replace(make_job(code, sys.executable, "-c", program), env={"GIVEN": "${env:MY_TOKEN}"}, experiment="wing")
    run, said = finish(launch(job))
    assert said == "first\n"
    monkeypatch.setenv("MY_TOKEN", "second")
    again, said = finish(rerun(run))
    assert said == "second\n"
    assert read_run_info(again).experiment == "wing"
    assert again.read_json("attempts/1/job.json")["sidecars"] == []


def test_a_training_is_repeated_with_its_profile_and_takes_no_arguments(code: Path) -> None:
    program = "import sys; print(open(sys.argv[1] + '/profile.yaml').read())"
    job = replace(
        make_job(code, "/no/longer/there/python", "-c", program, RUN_DIR_TOKEN),
        kind="train",
        profile_yaml="name: x",
    )
    run, _ = finish(launch(replace(job, argv=(sys.executable, *job.argv[1:]))))
    with pytest.raises(InputError, match="takes no further arguments") as caught:
        rerun(run, ["--lr", "1"])
    assert caught.value.hint.startswith(f"footplate rerun {run.id} --set ")
    info = run.read_json("run.json") | {"argv": list(job.argv)}
    run.write_json("run.json", info)
    again, said = finish(rerun(run))
    assert said == "name: x\n"
    assert again.path.parent == run.path.parent


def test_a_command_of_your_own_has_no_keys_to_set(code: Path) -> None:
    run, _ = finish(launch(make_job(code, "true")))
    with pytest.raises(InputError, match="no training profile") as caught:
        rerun(run, overrides=["training.learning_rate=1"])
    assert caught.value.hint.endswith(f"footplate rerun {run.id} -- ARGS")


def test_data_are_compared_by_their_place_in_the_training(tmp_path: Path) -> None:
    def describe(base: Path, source: str = "data", **hashes: str) -> dict[str, object]:
        files = [{"path": str(base / name), "size": 1, "sha256": value} for name, value in hashes.items()]
        sets = {key: {"source": source, "files": files} for key in ("train", "val")}
        return {"sets": sets, "hashed": "content"}

    old, new = tmp_path / "a", tmp_path / "b"
    changes = compare_data(
        describe(old, same="1", other="1", left="1"),
        describe(new, same="1", other="2", more="1"),
        base_before=old,
        base_now=new,
    )
    assert changes == ("left (gone)", "more (new)", "other (sha256 differs)")
    chosen = describe(new, "elsewhere", same="3")
    assert compare_data(describe(old, same="1"), chosen, base_before=old, base_now=new) == ()
    assert compare_data({}, chosen, base_before=old, base_now=new) == ()


def test_a_command_that_is_no_longer_there_is_told(code: Path) -> None:
    tool = code / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    run, _ = finish(launch(make_job(code, str(tool))))
    tool.unlink()
    with pytest.raises(CommandError, match="there is no file"):
        rerun(run)
    (new,) = [path.parent for path in (code / "runs").glob("*/run.json") if path.parent != run.path]
    assert get_status(RunDir.open(new)).state is RunState.failed


def test_lost_code_is_told_before_anything_is_made(code: Path) -> None:
    run, _ = finish(launch(make_job(code, "true")))
    (archive,) = run.path.glob("code-*.zip")
    archive.unlink()
    before = sorted(os.listdir(code / "runs"))
    with pytest.raises(NotFoundError, match="recorded code"):
        rerun(run)
    (run.path / "code.json").unlink()
    with pytest.raises(NotFoundError):
        rerun(run)
    assert sorted(os.listdir(code / "runs")) == before


def test_differences_are_told_in_words() -> None:
    before = {
        "python": {"version": "3.11.1", "executable": "/a"},
        "gpus": [],
        "packages": {"numpy": "1.26", "torch": "2.6", "same": "1", **{f"p{i}": "1" for i in range(9)}},
    }
    now = {
        "python": {"version": "3.12.0", "executable": "/a"},
        "gpus": [{"name": "H100"}, {"name": "H100"}],
        "packages": {"numpy": "2.0", "scipy": "1.9", "same": "1"},
    }
    assert compare_environments(before, now) == (
        "Python 3.11.1 → 3.12.0",
        "GPUs: none → H100, H100",
        "packages: numpy 1.26 → 2.0, p0 1 → not there, p1 1 → not there, p2 1 → not there, p3 1 → not there and 7 more",
    )
    assert compare_environments(now, now) == ()
    assert compare_environments({}, now) == ()
