"""Finds the files that are a project's code: what git would see, or a careful walk where there is no git."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["CodeFiles", "find_code_files"]

_GIT_TIMEOUT_S = 20.0
_MAX_WALKED = 100_000
_SKIPPED = frozenset({"__pycache__", "node_modules", "mlruns", "mlartifacts", "wandb"})
"""What tools put beside the code."""
_STORES = frozenset({"mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db-shm"})
"""Databases of trackers: they grow while a run is recorded."""
_IGNORE_FILE = ".footplateignore"
# Set inside a hook, they would name another repository than the folder's.
_REPOSITORY_VARIABLES = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})
_Check = Callable[[str], bool]


@dataclass(kw_only=True)
class CodeFiles:
    """Where the code's tree begins and which files belong to it."""

    root: Path
    paths: list[str]
    """Relative to the root, sorted."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of what could not be looked into."""
    git_commit: str = ""
    """Empty without git, or before the first commit."""
    git_dirty: bool = False
    """Whether the files differ from that commit; untracked files count."""


def find_code_files(cwd: Path, run: Path) -> CodeFiles:
    """Return the code that a command started in ``cwd`` may use. ``run`` is the run's own directory, never code."""
    cwd = Path(os.path.realpath(cwd))
    found = _find_by_git(cwd, run) or _find_by_walk(cwd, run)
    is_ignored = _read_ignore_file(found.root)
    paths = {path for path in found.paths if os.path.basename(path) not in _STORES}
    found.paths = sorted(path for path in paths if not is_ignored(path))
    return found


def _find_by_git(cwd: Path, run: Path) -> CodeFiles | None:
    """Ask git; None when the folder is in no repository, or in one that ignores it."""
    top = _ask_git(cwd, "rev-parse", "--show-toplevel")
    if not top:
        return None
    root = Path(os.fsdecode(top.rstrip(b"\n")))
    if cwd != root and _ask_git(cwd, "check-ignore", "-q", str(cwd)) is not None:
        return None
    listed = _ask_git(root, "ls-files", "-t", "--cached", "--others", "--exclude-standard", "-z")
    status = _ask_git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "-z")
    if listed is None or status is None:
        return None
    lines = status.split(b"\0")
    commit = next((line[13:].decode() for line in lines if line.startswith(b"# branch.oid ")), "")
    found = CodeFiles(root=root, paths=[], git_commit="" if commit == "(initial)" else commit)
    found.git_dirty = any(line and not line.startswith(b"# ") for line in lines)
    belongs = _make_folder_check(root, run)
    for entry in filter(None, listed.split(b"\0")):
        tag, path = entry[:1], os.fsdecode(entry[2:])
        if tag != b"?":
            if (root / path).is_dir() and not (root / path).is_symlink():
                found.notes.append((path, "a git submodule"))
            else:
                found.paths.append(path)
        elif path.endswith("/"):
            if not (root / path / "pyvenv.cfg").exists():
                found.notes.append((path, "a git repository of its own"))
        elif belongs(os.path.dirname(path)):
            found.paths.append(path)
            found.git_dirty = True
    return found


def _find_by_walk(root: Path, run: Path) -> CodeFiles:
    found = CodeFiles(root=root, paths=[])
    shallow = root in (Path(os.path.realpath(Path.home())), Path(root.anchor))
    if shallow:
        found.notes.append((".", "folders of a home or root directory: start in the project's own folder"))
    belongs = _make_folder_check(root, run)
    walked = 0

    def note(error: OSError) -> None:
        found.notes.append((os.path.relpath(error.filename, root), f"unreadable: {error.strerror}"))

    for folder, names, files in os.walk(root, onerror=note):
        at = os.path.relpath(folder, root)
        prefix = "" if at == "." else at + "/"
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        found.paths.extend(prefix + name for name in files + links)
        names[:] = sorted(
            name
            for name in names
            if not shallow and not name.startswith(".") and name not in links and belongs(prefix + name)
        )
        walked += len(files) + len(links)
        if walked > _MAX_WALKED:
            found.notes.append((at, f"the walk ended here, after {walked:,} files: start in the project's own folder"))
            break
    return found


def _make_folder_check(root: Path, run: Path) -> _Check:
    run = Path(os.path.realpath(run))

    @cache
    def belongs(folder: str) -> bool:
        """Tell whether what lies in a folder may be code: not runs, a virtual environment or the like."""
        if not folder:
            return True
        path = root / folder
        return (
            os.path.basename(folder) not in _SKIPPED
            and path != run
            and not _ignores_itself(path)
            and not (path / "pyvenv.cfg").exists()
            and not ((path / "attempts").is_dir() and (path / "artifacts").is_dir())  # a run
            and belongs(os.path.dirname(folder))
        )

    return belongs


def _ignores_itself(folder: Path) -> bool:
    """Tell whether a folder keeps itself out of git, as directories of runs and caches do."""
    try:
        lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return "*" in lines and not any(line.startswith("!") for line in lines)


def _read_ignore_file(root: Path) -> _Check:
    """Return a check for the root's ignore file: patterns as git's; with a slash inside they start at the root."""
    try:
        lines = (root / _IGNORE_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return lambda _: False
    forms = []
    for line in filter(None, (line.strip() for line in lines)):
        if line.startswith("#"):
            continue
        pattern = line.rstrip("/")
        anchor = "" if "/" in pattern else "(?:.*/)?"
        # Whatever lies below a match is ignored as well; a pattern for folders only does not match a file itself.
        body = fnmatch.translate(pattern.lstrip("/")).removesuffix(r"\Z")
        forms.append(f"(?:{anchor}{body}{'/.*' if line.endswith('/') else '(?:/.*)?'})")
    form = re.compile("|".join(forms) or r"(?!)")
    return lambda path: form.fullmatch(path) is not None


def _ask_git(cwd: Path, *arguments: str) -> bytes | None:
    """Return what a git command prints; None when it fails, is not there or takes too long."""
    environment = {key: value for key, value in os.environ.items() if key not in _REPOSITORY_VARIABLES}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        answer = subprocess.run(
            ["git", "-C", str(cwd), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
