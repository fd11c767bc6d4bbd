"""Loads a profile: one file, what it extends and the overrides, checked as a whole; every problem at once."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from footplate.errors import ProfileError
from footplate.profile.check import check_values
from footplate.profile.keys import get_key_tree
from footplate.profile.model import Profile
from footplate.profile.source import KeyPath, Problem, Source, Where, join_path
from footplate.profile.templates import TEMPLATES, render_template
from footplate.profile.yaml_reader import read_yaml

__all__ = ["load_profile", "load_profile_text"]

_MAX_BYTES = 5_000_000
_MAX_EXTENDS = 8


def load_profile(path: Path | str, *, overrides: Sequence[str] = ()) -> Profile:
    """Load a profile from a file.

    Paths in the profile start from the current directory, ``extends`` from the directory of the file that says it.

    Args:
        path: the YAML file.
        overrides: ``training.batch_size=64`` …, read like YAML and checked like the file.

    Raises:
        ProfileError: with every problem, each with file, line and what to do.

    """
    file = Path(path)
    text, fault = _read_text(file)
    if fault:
        raise ProfileError(f"{file}: {fault}", problems=(), hint=_HINT_FILE)
    return _load(_Part(text, str(file), file.parent), overrides, Path.cwd())


def load_profile_text(
    text: str, *, name: str = "<text>", base_dir: Path | None = None, overrides: Sequence[str] = ()
) -> Profile:
    """Load a profile from text; relative paths and ``extends`` start from ``base_dir`` (the current directory)."""
    directory = Path.cwd() if base_dir is None else base_dir
    return _load(_Part(text, name, directory), overrides, directory)


_HINT_FILE = "`footplate init quickstart` writes a profile to start from"
_HINT_KEYS = "`footplate explain KEY` says what a key takes"


@dataclass(frozen=True)
class _Part:
    """One text of a chain of ``extends``."""

    text: str
    file: str
    directory: Path
    chain: tuple[str, ...] = ()


@dataclass
class _Tree:
    """Keys with their places, while they are put together."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Where] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def _load(part: _Part, overrides: Sequence[str], base_dir: Path) -> Profile:
    tree = _read_part(part, [text for text in overrides if text.startswith("extends=")])
    for text in overrides:
        if not text.startswith("extends="):
            _apply_override(tree, text)
    checked = check_values(tree.values, tree.places)
    problems = [*tree.problems, *checked.problems]
    profile, more = _build(checked.values, problems, checked.find_place)
    problems.extend(more)
    if profile is None or problems:
        raise _collect(part.file, problems, tree.files)
    profile.attach_source(Source(base_dir=base_dir, file=part.file, values=tree.values, places=tree.places))
    return profile


def _read_text(file: Path) -> tuple[str, str]:
    """Return the text of a file, or what is wrong with it."""
    try:
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            return "", "is a directory, not a file"
        if not stat.S_ISREG(status.st_mode):
            return "", "is not an ordinary file"
        if status.st_size > _MAX_BYTES:
            return "", f"is {status.st_size / 1e6:.1f} MB; a profile has at most {_MAX_BYTES / 1e6:.0f} MB"
        data = file.read_bytes()
    except FileNotFoundError:
        return "", "there is no such file"
    except OSError as error:
        return "", f"cannot be read: {error.strerror or error}"
    except ValueError as error:
        return "", f"cannot be read: {error}"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return "", f"line {line}: not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8"


def _read_part(part: _Part, overrides: Sequence[str] = ()) -> _Tree:
    """Read one text and, below it, what it extends."""
    document = read_yaml(part.text, part.file)
    tree = _Tree(places=document.places, problems=document.problems, files=[part.file])
    if isinstance(document.value, Mapping):
        tree.values = dict(document.value)
    elif document.value is not None:
        kind = "a list" if isinstance(document.value, tuple) else "a single value"
        message = f"holds {kind}, not a profile; a profile is made of `key: value` lines"
        tree.problems.append(Problem(Where(part.file, document.line), "", message))
    elif not document.problems:
        tree.problems.append(Problem(Where(part.file, 0), "", "is empty; a profile needs at least one key"))
    for text in overrides:
        _apply_override(tree, text)
    target = tree.values.get("extends")
    if not isinstance(target, str) or not target:
        return tree
    base, fault = _open_base(part, target)
    if base is None:
        tree.problems.append(Problem(tree.places[("extends",)], "extends", fault))
        return tree
    return _merge(_read_part(base), tree)


def _open_base(part: _Part, target: str) -> tuple[_Part | None, str]:
    """Return the text that ``extends`` names, or what is wrong with it."""
    me = part.file if part.file.startswith("template ") else str((part.directory / Path(part.file).name).resolve())
    chain = (*part.chain, me)
    file = part.directory / target
    is_template = target in TEMPLATES and not file.is_file()
    name = f"template {target}" if is_template else str(file.resolve())
    if name in chain:
        names = [Path(link).name for link in (*chain[chain.index(name) :], name)]
        return None, f"goes round in a circle: {' → '.join(names)}"
    if len(chain) > _MAX_EXTENDS:
        return None, f"a chain of more than {_MAX_EXTENDS} files"
    if is_template:
        return _Part(render_template(target), name, part.directory, chain), ""
    text, fault = _read_text(file)
    if fault:
        known = "" if "/" in target or "." in target else f"; the templates are {', '.join(TEMPLATES)}"
        return None, f"{file}: {fault}{known}"
    return _Part(text, str(file), file.parent, chain), ""


def _merge(base: _Tree, over: _Tree) -> _Tree:
    """Put the keys of ``over`` on those of ``base``: sections are joined key by key, all else is replaced."""
    places = {path: place for path, place in base.places.items() if not _is_replaced(path, base.values, over.values)}
    return _Tree(
        values=_merge_values(base.values, over.values),
        places={**places, **over.places},
        problems=[*base.problems, *over.problems],
        files=[*over.files, *base.files],
    )


def _merge_values(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = base.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _merge_values(below, value)
        elif not (isinstance(below, Mapping) and value is None):
            merged[name] = value
    return merged


def _is_replaced(path: KeyPath, base: Any, over: Any) -> bool:
    """Return whether the value of a base's key, or of something around it, is replaced by another."""
    for name in path:
        if not isinstance(base, Mapping) or not isinstance(over, Mapping):
            return not isinstance(base, Mapping)
        if name not in over:
            return False
        base, over = base.get(name), over[name]
        if over is None and isinstance(base, Mapping):
            return False
    return False


def _apply_override(tree: _Tree, text: str) -> None:
    """Set one key as `--set` asks for."""
    name, sign, written = text.partition("=")
    path = tuple(part.strip() for part in name.split("."))
    place = Where(f"--set {text if len(text) <= 60 else text[:57] + '...'}", 0, written)
    if not sign or not all(path):
        message = "write --set section.key=value, for example --set training.batch_size=64"
        tree.problems.append(Problem(place, "", message))
        return
    value, problems = _read_value(path, written, place)
    if problems:
        tree.problems.extend(problems)
        return
    section = tree.values
    for depth, part in enumerate(path[:-1], start=1):
        below = section.get(part)
        if below is not None and not isinstance(below, Mapping):
            message = f"{join_path(path[:depth])} is no section; it holds {below!r}"
            tree.problems.append(Problem(place, "", message))
            return
        section[part] = section = dict(below or {})
        tree.places.setdefault(path[:depth], place)
    section[path[-1]] = value
    for old in [old for old in tree.places if old[: len(path)] == path]:
        del tree.places[old]
    tree.places[path] = place


def _read_value(path: KeyPath, written: str, place: Where) -> tuple[Any, list[Problem]]:
    """Return the value of an override; a key that is text takes any text."""
    key = get_key_tree()
    for part in path:
        key = key.children.get(part, key)
    document = read_yaml(written, place.file)
    is_text = key.path == path and key.kind.name == "text"
    if is_text and (document.problems or isinstance(document.value, tuple | Mapping)):
        return written, []
    return document.value, [Problem(place, join_path(path), problem.message) for problem in document.problems]


def _build(
    values: Mapping[str, Any], problems: Sequence[Problem], find_place: Callable[[KeyPath], Where]
) -> tuple[Profile | None, list[Problem]]:
    """Make the profile; the rules that join several keys of a section are checked here."""
    broken = {problem.path.partition(".")[0] for problem in problems}
    try:
        return Profile.model_validate({name: value for name, value in values.items() if name not in broken}), []
    except ValidationError as error:
        found = []
        for fault in error.errors(include_url=False):
            path = tuple(str(part) for part in fault["loc"])
            cause = fault.get("ctx", {}).get("error")
            found.append(Problem(find_place(path), join_path(path), str(cause or fault["msg"])))
        return None, found


def _collect(file: str, problems: Sequence[Problem], files: Sequence[str]) -> ProfileError:
    """Return the error with every problem once: by file, this one first, then by line."""
    order = {name: number for number, name in enumerate(files)}
    ranked = sorted(dict.fromkeys(problems), key=lambda p: (order.get(p.where.file, len(order)), p.where.line))
    lines = list(dict.fromkeys(str(problem) for problem in ranked))
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    has_keys = any(problem.path for problem in problems)
    return ProfileError(f"{file}: {count}", problems=lines, hint=_HINT_KEYS if has_keys else "")
