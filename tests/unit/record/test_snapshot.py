"""A snapshot holds exactly the code a run started with, without secrets, and can be put back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from footplate.errors import NotFoundError, SnapshotError
from footplate.record.rundir import RunDir
from footplate.record.snapshot import Snapshot, SnapshotLimits, read_snapshot, restore_snapshot, take_snapshot

Git = Callable[..., str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "project"
    tree.mkdir()
    _write(tree, "train.py", "print('hi')\n")
    _write(tree, "pkg/model.py", "x = 1\n")
    return tree


@pytest.fixture
def git(tree: Path) -> Git:
    """Make the tree a repository with one commit; return a function that runs git in it."""

    def call(*arguments: str, cwd: Path = tree) -> str:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.strip()

    call("init", "-q")
    _write(tree, ".gitignore", "ignored/\n*.log\n")
    call("add", ".")
    call("commit", "-qm", "first")
    return call


def _write(root: Path, path: str, content: str | bytes = "") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def _paths(snapshot: Snapshot) -> list[str]:
    return [path for path, _, _ in snapshot.files]


def _reasons(snapshot: Snapshot) -> dict[str, str]:
    return {path: reason for path, _, reason in snapshot.left_out}


def test_git_decides_what_is_code(tree: Path, git: Git, run: RunDir) -> None:
    _write(tree, "pkg/model.py", "x = 2  # not committed\n")
    _write(tree, "new file ü.py", "untracked\n")
    _write(tree, "ignored/data.bin")
    _write(tree, "out.log")
    (tree / "train.py").unlink()
    snapshot = take_snapshot(tree, run)
    assert _paths(snapshot) == [".gitignore", "new file ü.py", "pkg/model.py"]
    assert snapshot.left_out == ()
    assert (snapshot.root, snapshot.cwd) == (tree, ".")
    assert (snapshot.git_commit, snapshot.git_dirty) == (git("rev-parse", "HEAD"), True)
    assert read_snapshot(run) == snapshot


def test_a_clean_tree_is_not_dirty(tree: Path, git: Git, run: RunDir) -> None:
    assert take_snapshot(tree, run).git_dirty is False


def test_a_staged_change_or_an_untracked_file_is_dirty(tree: Path, git: Git, run: RunDir) -> None:
    _write(tree, "new.py")
    assert take_snapshot(tree, run).git_dirty is True
    git("add", "new.py")
    assert take_snapshot(tree, RunDir.create(run.path.parent, "x")).git_dirty is True


def test_below_the_top_the_whole_repository_is_taken(tree: Path, git: Git, run: RunDir) -> None:
    snapshot = take_snapshot(tree / "pkg", run)
    assert (snapshot.root, snapshot.cwd) == (tree, "pkg")
    assert "train.py" in _paths(snapshot)


def test_a_repository_without_a_commit_is_taken(tree: Path, git: Git, run: RunDir) -> None:
    shutil.rmtree(tree / ".git")
    git("init", "-q")
    snapshot = take_snapshot(tree, run)
    assert _paths(snapshot) == [".gitignore", "pkg/model.py", "train.py"]
    assert (snapshot.git_commit, snapshot.git_dirty) == ("", True)


def test_a_folder_that_its_repository_ignores_is_walked(tree: Path, git: Git, run: RunDir) -> None:
    _write(tree, "ignored/mine/train.py")
    snapshot = take_snapshot(tree / "ignored" / "mine", run)
    assert (snapshot.root, _paths(snapshot)) == (tree / "ignored" / "mine", ["train.py"])


def test_submodules_and_inner_repositories_are_named(tree: Path, git: Git, run: RunDir, tmp_path: Path) -> None:
    other = tmp_path / "other"
    _write(other, "lib.py")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        git(*arguments, cwd=other)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    shutil.copytree(other, tree / "inner")
    snapshot = take_snapshot(tree, run)
    assert _reasons(snapshot) == {"sub": "a git submodule", "inner/": "a git repository of its own"}


def test_the_variables_of_a_hook_do_not_mislead(
    tree: Path, git: Git, run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert take_snapshot(tree, run).git_commit


def test_code_beside_the_run_directories_is_code(tree: Path) -> None:
    run = RunDir.create(tree / "pkg", "beside")
    assert _paths(take_snapshot(tree, run)) == ["pkg/model.py", "train.py"]


def test_a_folder_that_keeps_itself_out_of_git_is_not_code(tree: Path) -> None:
    _write(tree, "cache/x.py")
    _write(tree, "cache/.gitignore", "# made by a tool\n*\n")
    _write(tree, "pkg/.gitignore", "*\n!model.py\n")
    run = RunDir.create(tree / "runs", "elsewhere")
    assert _paths(take_snapshot(tree, run)) == ["pkg/.gitignore", "pkg/model.py", "train.py"]


def test_runs_and_environments_are_never_code(tree: Path, git: Git) -> None:
    for parent in (tree / "runs", tree / "pkg"):
        run = RunDir.create(parent, "x")
        run.new_attempt()
        _write(run.path, "artifacts/model.bin")
    _write(tree, "env/pyvenv.cfg")
    _write(tree, "env/lib/x.py")
    _write(tree, "pkg/__pycache__/model.pyc")
    _write(tree, "web/node_modules/a.js")
    new = RunDir.create(tree / "runs", "new")
    new.new_attempt()
    assert _paths(take_snapshot(tree, new)) == [".gitignore", "pkg/model.py", "train.py"]
    again = RunDir.create(tree / "runs", "again")
    assert _paths(take_snapshot(tree, again)) == [".gitignore", "pkg/model.py", "train.py"]


def test_without_git_a_walk_finds_the_code(tree: Path, run: RunDir) -> None:
    _write(tree, ".hidden/x.py")
    _write(tree, "env/pyvenv.cfg")
    _write(tree, "pkg/__pycache__/model.pyc")
    _write(tree, "node_modules/a.js")
    (tree / "runs/x-1/attempts").mkdir(parents=True)
    (tree / "runs/x-1/artifacts").mkdir()
    _write(tree, ".config.yaml")
    (tree / "linked").symlink_to("pkg")
    snapshot = take_snapshot(tree, run)
    assert _paths(snapshot) == [".config.yaml", "linked", "pkg/model.py", "train.py"]
    assert (snapshot.git_commit, snapshot.git_dirty) == ("", False)


def test_in_the_home_directory_folders_are_not_taken(tree: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    snapshot = take_snapshot(tree, run)
    assert _paths(snapshot) == ["train.py"]
    assert "home" in _reasons(snapshot)["."]


@pytest.mark.parametrize("in_git", [False, True])
def test_an_ignore_file_of_our_own(tree: Path, run: RunDir, request: pytest.FixtureRequest, in_git: bool) -> None:
    if in_git:
        request.getfixturevalue("git")
    for path in ("data/big.csv", "pkg/data", "a/data/x", "notes.md", "pkg/notes.md", "b/c/d.txt", "x/b/c/d.txt"):
        _write(tree, path)
    _write(tree, ".footplateignore", "# comment\n\ndata/\n*.md\nb/c\n/train.py\n")
    assert [path for path in _paths(take_snapshot(tree, run)) if not path.startswith(".")] == [
        "pkg/data",
        "pkg/model.py",
        "x/b/c/d.txt",
    ]


_KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END"


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        (".env", "", "looks like a secret: named like .env"),
        ("a/.env.production", "", "looks like a secret: named like .env.*"),
        ("server.PEM", "", "looks like a secret: named like *.pem"),
        ("id_ed25519", "", "looks like a secret: named like id_ed25519*"),
        ("service-account-prod.json", "", "looks like a secret: named like service-account*.json"),
        ("notes.txt", _KEY, "looks like a secret: holds a private key"),
        ("a.py", "KEY = '" + "AKIA" + "Q3EGR7IOSFODNN7X'", "looks like a secret: holds an AWS access key"),
        ("a.py", "t = '" + "ghp_" + "a1B2" * 9 + "'", "looks like a secret: holds a GitHub token"),
        ("a.py", "t = '" + "xoxb-" + "123456789012-abcdefghij'", "looks like a secret: holds a Slack token"),
        ("big.bin", b"0" * 10_000_001, "larger than 10 MB"),
    ],
)
def test_secrets_and_large_files_are_left_out(
    tree: Path, run: RunDir, path: str, content: str | bytes, reason: str
) -> None:
    _write(tree, path, content)
    snapshot = take_snapshot(tree, run)
    assert snapshot.left_out == ((path, len(content), reason),)
    assert path not in _paths(snapshot)
    with zipfile.ZipFile(run.path / snapshot.archive) as archive:
        assert path not in archive.namelist()


@pytest.mark.parametrize(
    ("path", "content"),
    [(".env.example", "TOKEN=\n"), ("id_rsa.pub", "ssh-rsa x"), ("a.py", "'AKIAIOSFODNN7EXAMPLE'"), ("key.py", "")],
)
def test_what_only_resembles_a_secret_is_taken(tree: Path, run: RunDir, path: str, content: str) -> None:
    _write(tree, path, content)
    assert path in _paths(take_snapshot(tree, run))


def test_links_are_kept_unless_they_lead_outside(tree: Path, run: RunDir, tmp_path: Path) -> None:
    _write(tmp_path, "secret.txt")
    (tree / "inside").symlink_to("pkg/model.py")
    (tree / "broken").symlink_to("pkg/none")
    (tree / "outside").symlink_to("../secret.txt")
    (tree / "absolute").symlink_to(tree / "train.py")
    (tree / "hop").symlink_to("outside")
    snapshot = take_snapshot(tree, run)
    assert {"inside", "broken"} <= set(_paths(snapshot))
    assert set(_reasons(snapshot)) == {"outside", "absolute", "hop"}
    assert _reasons(snapshot)["outside"] == "a link to ../secret.txt, outside the snapshot"


def test_what_is_no_file_or_cannot_be_read_is_left_out(tree: Path, run: RunDir) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("project/sock")
        Path(os.fsdecode(os.fsencode(tree) + b"/odd\xff.py")).touch()
        snapshot = take_snapshot(tree, run)
    assert _reasons(snapshot)["pipe"] == _reasons(snapshot)["sock"] == "not a regular file"
    assert "its name is not UTF-8" in _reasons(snapshot).values()
    assert read_snapshot(run) == snapshot


def test_an_unreadable_file_is_left_out(tree: Path, run: RunDir) -> None:
    """Root may read everything: as root the snapshot is taken by a process that gave that right away."""
    _write(tree, "closed.py").chmod(0)
    code = "import sys; from pathlib import Path; from footplate.record.rundir import RunDir\n"
    code += "from footplate.record.snapshot import take_snapshot\n"
    code += "take_snapshot(Path(sys.argv[1]), RunDir(path=Path(sys.argv[2])))"
    rights = "-dac_override,-dac_read_search"
    without = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.geteuid() == 0 else []
    subprocess.run([*without, sys.executable, "-c", code, tree, run.path], check=True, timeout=120)
    assert _reasons(read_snapshot(run)) == {"closed.py": "unreadable: Permission denied"}


def test_the_largest_files_go_until_the_rest_fits(tree: Path, run: RunDir) -> None:
    for number in range(5):
        _write(tree, f"data{number}", b"x" * (1000 + number))
    snapshot = take_snapshot(tree, run, SnapshotLimits(max_total_bytes=2100))
    assert _reasons(snapshot) == dict.fromkeys(["data2", "data3", "data4"], "all files together exceed 0.0021 MB")
    other = RunDir.create(run.path.parent, "x")
    assert _reasons(take_snapshot(tree, other, SnapshotLimits(max_files=6))) == {"data4": "there are more than 6 files"}


def test_it_comes_back_as_it_was(tree: Path, run: RunDir, tmp_path: Path) -> None:
    _write(tree, "bin/go", "#!/bin/sh\necho went\n").chmod(0o755)
    _write(tree, "binary", bytes(range(256)) * 100)
    (tree / "bin/link").symlink_to("../pkg")
    take_snapshot(tree, run)
    restore_snapshot(run, tmp_path / "back")
    difference = subprocess.run(["diff", "-r", str(tree), str(tmp_path / "back")], capture_output=True, check=False)
    assert (difference.returncode, difference.stdout) == (0, b"")
    assert subprocess.check_output([tmp_path / "back/bin/go"]) == b"went\n"
    assert not os.access(tmp_path / "back/train.py", os.X_OK)
    assert os.readlink(tmp_path / "back/bin/link") == "../pkg"


def test_a_folder_that_is_not_empty_is_left_alone(tree: Path, run: RunDir) -> None:
    take_snapshot(tree, run)
    with pytest.raises(SnapshotError, match="not empty"):
        restore_snapshot(run, tree)


def test_without_a_snapshot_nothing_is_restored(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"code\.json"):
        restore_snapshot(run, tmp_path / "back")


def test_a_changed_archive_is_refused(tree: Path, run: RunDir, tmp_path: Path) -> None:
    snapshot = take_snapshot(tree, run)
    archive = run.path / snapshot.archive
    archive.unlink()
    with zipfile.ZipFile(archive, "w") as file:
        for path in _paths(snapshot):
            file.writestr(path, "other content")
    with pytest.raises(SnapshotError, match=r"pkg/model\.py is not what was captured"):
        restore_snapshot(run, tmp_path / "back")
    archive.write_bytes(b"no archive at all")
    with pytest.raises(SnapshotError, match="cannot be restored"):
        restore_snapshot(run, tmp_path / "back2")


@pytest.mark.parametrize("evil", ["../evil", "/tmp/evil-absolute", "a/../../evil"])
def test_an_archive_that_writes_outside_is_refused(run: RunDir, tmp_path: Path, evil: str) -> None:
    _forge(run, [(evil, 0o100644, b"evil")])
    with pytest.raises(SnapshotError, match="outside"):
        restore_snapshot(run, tmp_path / "deep" / "back")
    assert not (tmp_path / "deep" / "evil").exists()
    assert not Path("/tmp/evil-absolute").exists()


def test_an_archive_whose_links_lead_outside_is_refused(run: RunDir, tmp_path: Path) -> None:
    _forge(run, [("a", 0o120777, b".."), ("a/evil", 0o120777, b"x")])
    with pytest.raises(SnapshotError, match="outside"):
        restore_snapshot(run, tmp_path / "back")
    _forge(run, [("a", 0o120777, b"/etc"), ("a/evil", 0o100644, b"x")])
    with pytest.raises(SnapshotError):
        restore_snapshot(run, tmp_path / "back2")


def _forge(run: RunDir, entries: list[tuple[str, int, bytes]]) -> None:
    files = [[path, len(content), hashlib.sha256(content).hexdigest()] for path, _, content in entries]
    value = {"root": "/x", "tree_hash": "0", "archive": "code-x.zip", "files": files, "left_out": []}
    run.write_json("code.json", value)
    with zipfile.ZipFile(run.path / "code-x.zip", "w") as file:
        for path, mode, content in entries:
            entry = zipfile.ZipInfo(path)
            entry.external_attr = mode << 16
            file.writestr(entry, content)


def test_runs_of_the_same_tree_share_one_archive(tree: Path, run: RunDir, tmp_path: Path) -> None:
    other = RunDir.create(run.path.parent, "x")
    first, second = take_snapshot(tree, run), take_snapshot(tree, other)
    assert first == second
    assert (run.path / first.archive).samefile(other.path / second.archive)
    shutil.rmtree(run.path)
    restore_snapshot(other, tmp_path / "back")
    _write(tree, "train.py", "changed\n")
    assert take_snapshot(tree, RunDir.create(run.path.parent, "y")).tree_hash != first.tree_hash


def test_the_bytes_of_an_archive_depend_on_the_tree_alone(tree: Path, run: RunDir, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    os.utime(copy / "train.py", (1, 1))
    other = RunDir.create(tmp_path / "others", "x")
    first, second = take_snapshot(tree, run), take_snapshot(copy, other)
    assert (run.path / first.archive).read_bytes() == (other.path / second.archive).read_bytes()
    (copy / "train.py").chmod(0o755)
    assert take_snapshot(copy, RunDir.create(tmp_path / "others", "y")).tree_hash != first.tree_hash


def test_a_damaged_shared_archive_is_made_again(tree: Path, run: RunDir, tmp_path: Path) -> None:
    first = take_snapshot(tree, run)
    (shared,) = (run.path.parent / ".code").glob("*.zip")
    shared.unlink()
    shared.write_bytes(b"damaged")
    other = RunDir.create(run.path.parent, "x")
    take_snapshot(tree, other)
    restore_snapshot(other, tmp_path / "back")
    assert (run.path / first.archive).stat().st_size > 7


def test_without_a_shared_store_the_run_has_its_own_archive(tree: Path, run: RunDir, tmp_path: Path) -> None:
    (run.path.parent / ".code").write_text("in the way")
    take_snapshot(tree, run)
    restore_snapshot(run, tmp_path / "back")


def test_shared_archives_without_a_run_are_removed(tree: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    take_snapshot(tree, run)
    shutil.rmtree(run.path)
    _write(tree, "train.py", "changed\n")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 7200)
    take_snapshot(tree, RunDir.create(run.path.parent, "x"))
    assert len(list((run.path.parent / ".code").glob("*.zip"))) == 1


def test_a_small_tree_takes_little_time(tree: Path, git: Git, run: RunDir) -> None:
    for number in range(200):
        _write(tree, f"pkg/part{number}.py", "x = 1\n" * 500)
    take_snapshot(tree, run)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        take_snapshot(tree, RunDir.create(run.path.parent, "x"))
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.3  # 0.05 on an idle machine


def test_a_folder_that_is_not_there_is_named(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="nowhere"):
        take_snapshot(tmp_path / "nowhere", run)


def test_damaged_notes_are_named(run: RunDir) -> None:
    run.write_json("code.json", {"files": [["x"]]})
    with pytest.raises(SnapshotError, match=r"code\.json: not a snapshot"):
        read_snapshot(run)


def test_json_keys_are_stable(tree: Path, run: RunDir) -> None:
    take_snapshot(tree, run)
    assert set(json.loads((run.path / "code.json").read_text())) == {
        "root", "cwd", "tree_hash", "archive", "files", "left_out", "git_commit", "git_dirty",
    }  # fmt: skip
