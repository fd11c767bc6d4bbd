"""Reads YAML with the line of every key: numbers as people write them, no code, no bombs, every problem named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from footplate.profile.fields import RawFloat, RawInt
from footplate.profile.source import KeyPath, Problem, Where, join_path

__all__ = ["Document", "read_yaml", "resolve_scalar"]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MAX_DEPTH = 40
_MAX_VALUES = 20_000

_CONSTANTS: dict[str, object] = {
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_WHOLE = re.compile(r"[-+]?[0-9][0-9_]{0,99}")
_BASED = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]{1,32}|o[0-7_]{1,40}|b[01_]{1,128})")
_REAL = re.compile(r"(?=.*[.eE])[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]{1,5})?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}


@dataclass
class Document:
    """What a YAML text holds. Lists are tuples; ``places`` has every key and every item of a list."""

    value: Any = None
    line: int = 1
    places: dict[KeyPath, Where] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_yaml(text: str, file: str) -> Document:
    """Read the one document of a text that is not empty; a second one is a problem."""
    reader = _Reader(file)
    documents: list[_Node] = []
    try:
        documents = list(reader.read(text))
    except _TooDeepError as error:
        reader.problems.append(Problem(Where(file, error.line), "", f"nested more than {_MAX_DEPTH} levels deep"))
    except yaml.YAMLError as error:
        reader.problems.append(_describe(error, text, file))
    filled = [node for node in documents if not (node.kind == "scalar" and node.value is None)]
    result = Document(problems=reader.problems)
    for extra in filled[1:]:
        message = "a second document starts here; one file is one training: put it into a file of its own"
        result.problems.append(Problem(Where(file, extra.line), "", message))
    if filled:
        result.line = filled[0].line
        result.value = _Flattener(file, result).flatten(filled[0], ())
    return result


def resolve_scalar(text: str) -> object:
    """Return what an unquoted value means: a number, true or false, nothing, or the text itself.

    Unlike YAML 1.1, ``1e-4`` is a number, and ``48:00:00`` and dates stay text.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    number: RawInt | RawFloat
    try:
        if _WHOLE.fullmatch(text):
            number = RawInt(text.replace("_", ""))
        elif _BASED.fullmatch(text):
            number = RawInt(text.replace("_", ""), 0)
        elif _REAL.fullmatch(text):
            number = RawFloat(text.replace("_", ""))
        elif _SPECIAL.fullmatch(text):
            number = RawFloat(text.lower().replace(".", ""))
        else:
            return text
    except ValueError:
        return text
    number.raw = text
    return number


@dataclass
class _Node:
    kind: str
    line: int
    value: Any = None
    written: str = ""


class _TooDeepError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Reader:
    """Builds nodes from YAML events; anchors are shared nodes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._anchors: dict[str, _Node] = {}

    def read(self, text: str) -> Iterator[_Node]:
        events = iter(yaml.parse(text, Loader=_Loader))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                yield self._build(next(events), events, 0)

    def _build(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        line = event.start_mark.line + 1
        if depth > _MAX_DEPTH:
            raise _TooDeepError(line)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                self._add(line, f"*{event.anchor} refers to no &{event.anchor} above it")
                return _Node("scalar", line)
            return self._anchors[event.anchor]
        node = _Node("scalar", line)
        if event.anchor:
            self._anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent):
            node.written = event.value
            node.value = self._resolve(event, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, line)
            node.kind, node.value = "list", []
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                node.value.append(self._build(item, events, depth + 1))
        else:
            self._check_tag(event, line)
            node.kind, node.value = "map", []
            while not isinstance(item := next(events), yaml.MappingEndEvent):
                name = self._build(item, events, depth + 1)
                node.value.append((name, self._build(next(events), events, depth + 1)))
        return node

    def _resolve(self, event: Any, line: int) -> object:
        if event.tag in _TAGS or (event.tag is None and event.implicit[0]):
            return resolve_scalar(event.value)
        self._check_tag(event, line)
        return event.value

    def _check_tag(self, event: Any, line: int) -> None:
        if event.tag not in (None, "!") and not str(event.tag).startswith("tag:yaml.org,2002:"):
            self._add(line, f"the tag {event.tag} is not allowed; a profile holds plain values only")
        elif str(event.tag).startswith("tag:yaml.org,2002:python/"):
            self._add(line, "Python objects are not allowed; a profile holds plain values only")

    def _add(self, line: int, message: str) -> None:
        self.problems.append(Problem(Where(self.file, line), "", message))


class _Flattener:
    """Turns nodes into plain values and places; aliases are copied, merges are done, their growth is bounded."""

    def __init__(self, file: str, into: Document) -> None:
        self._file = file
        self._into = into
        self._count = 0
        self._full = False
        self._open: set[int] = set()

    def flatten(self, node: _Node, path: KeyPath) -> Any:
        if node.kind == "scalar":
            return node.value
        self._count += len(node.value)
        if self._is_full(node, path):
            return None
        if id(node) in self._open:
            self._add(node.line, path, "an alias (*name) that contains itself")
            return None
        self._open.add(id(node))
        try:
            return self._flatten_list(node, path) if node.kind == "list" else self._flatten_map(node, path)
        finally:
            self._open.discard(id(node))

    def _is_full(self, node: _Node, path: KeyPath) -> bool:
        if self._count <= _MAX_VALUES:
            return False
        if not self._full:
            self._add(node.line, path, f"more than {_MAX_VALUES:,} values, aliases (*name) counted in full")
        self._full = True
        return True

    def _flatten_list(self, node: _Node, path: KeyPath) -> tuple[Any, ...]:
        items = []
        for number, item in enumerate(node.value):
            where = (*path, str(number))
            self._into.places[where] = Where(self._file, item.line, item.written)
            items.append(self.flatten(item, where))
        return tuple(items)

    def _flatten_map(self, node: _Node, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, (line, child) in self._list_keys(node, path).items():
            where = (*path, name)
            self._into.places[where] = Where(self._file, line, child.written)
            result[name] = self.flatten(child, where)
        return result

    def _list_keys(self, node: _Node, path: KeyPath) -> dict[str, tuple[int, _Node]]:
        own: dict[str, tuple[int, _Node]] = {}
        merged: dict[str, tuple[int, _Node]] = {}
        for name, child in node.value:
            if name.kind != "scalar":
                self._add(name.line, path, "a key must be a single word")
            elif name.written == "<<":
                for key, found in self._list_merged(child, path).items():
                    merged.setdefault(key, found)
            elif name.written in own:
                first = own[name.written][0]
                message = f"given twice, in lines {first} and {name.line}; keep one"
                self._add(name.line, (*path, name.written), message)
            else:
                own[name.written] = (name.line, child)
        return {**merged, **own}

    def _list_merged(self, node: _Node, path: KeyPath) -> dict[str, tuple[int, _Node]]:
        """Return the keys that ``<<`` brings in; of several mappings the first wins."""
        parts = node.value if node.kind == "list" else [node]
        found: dict[str, tuple[int, _Node]] = {}
        for part in parts:
            if self._is_full(node, path):
                break
            if part.kind != "map" or id(part) in self._open:
                self._add(node.line, path, "<< takes a mapping, or a list of mappings")
                continue
            self._open.add(id(part))
            self._count += len(part.value)
            for key, value in self._list_keys(part, path).items():
                found.setdefault(key, value)
            self._open.discard(id(part))
        return found

    def _add(self, line: int, path: KeyPath, message: str) -> None:
        self._into.problems.append(Problem(Where(self._file, line), join_path(path), message))


def _describe(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """Return a syntax error with its line, its column and the text that is marked."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it is no YAML")
    lines = text.splitlines()
    if mark is None:
        position = min(max(int(getattr(error, "position", 0) or 0), 0), len(text))
        line = text.count("\n", 0, position) + 1
        return Problem(Where(file, line), "", f"cannot be read as YAML: {what}")
    marked = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in marked[: mark.column + 1] and "cannot start any token" in what:
        what = "a tab; YAML indents with spaces"
    elif "could not find expected ':'" in what:
        what = "a ':' is missing after the key"
    elif "mapping values are not allowed" in what:
        what = "a second ':' in one line; put the value in quotes or on a line of its own"
    message = f"column {mark.column + 1}: cannot be read as YAML: {what}"
    shown = marked.strip().replace("\t", "→")[:60]
    return Problem(Where(file, mark.line + 1), "", f"{message}, at `{shown}`" if shown else message)
