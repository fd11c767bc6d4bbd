"""The keys of a profile as a tree, read from its models: what each takes, in plain words."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from footplate.profile.fields import Known, Section, parse_duration, parse_size_gb
from footplate.profile.model import Profile

__all__ = ["Key", "Kind", "get_key_tree", "walk_keys"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a key takes."""

    name: Literal["whole", "number", "text", "bool", "duration", "size", "choice", "list", "mapping", "section", "any"]
    """Kind of value; ``choice`` when only ``choices`` are taken."""
    optional: bool = False
    """Whether null is taken."""
    choices: tuple[str, ...] = ()
    """Words that are taken, alone or besides the values of ``name``."""
    item: Kind | None = None
    """What a list or mapping holds."""
    length: int | None = None
    """How many items a list must have."""
    limits: tuple[tuple[str, float], ...] = ()
    """Limits of a number: (≥, > , ≤ or <, limit)."""
    known: Known | None = None
    """Words that a text must be one of."""

    def describe(self) -> str:
        """Return what is taken, in words: ``a whole number``."""
        return " or ".join([self._describe_values(), *(f"`{word}`" for word in self.choices if self.name != "choice")])

    def _describe_values(self) -> str:
        if self.name == "choice":
            return "one of " + ", ".join(self.choices)
        if self.name == "list" and self.item is not None:
            count = "a list of" if self.length is None else f"a list of {self.length}"
            return f"{count} {_MANY.get(self.item.name, 'values')}"
        return _ONE[self.name]


_ONE = {
    "whole": "a whole number",
    "number": "a number",
    "text": "text",
    "bool": "true or false",
    "duration": "a time such as 48:00:00, 1h30m or seconds",
    "size": "a size such as 8GB, 512MB or GB",
    "mapping": "a section (key: value lines)",
    "section": "a section (key: value lines)",
    "any": "any value",
}
_MANY = {"whole": "whole numbers", "number": "numbers", "text": "texts", "choice": "words"}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key or section."""

    path: tuple[str, ...]
    """Its parts."""
    kind: Kind
    """What it takes."""
    info: FieldInfo | None
    """How it is declared; None for the profile as a whole."""
    model: type[Section] = Profile
    """The section it is declared in."""
    children: Mapping[str, Key] = field(default_factory=dict)
    """The keys of a section."""
    open: bool = False
    """Whether a section takes keys that are not listed."""

    @property
    def dotted(self) -> str:
        """Return the dotted form of the path."""
        return ".".join(self.path)

    @property
    def default(self) -> Any:
        """Return the default of a key (not of a section)."""
        return None if self.info is None else self.info.default

    @property
    def description(self) -> str:
        """Return the text under the key's declaration, on one line.

        It is read when it is asked for: pydantic would read the source of every section at every start.
        """
        return _read_descriptions(self.model).get(self.path[-1], "")

    def get_mark(self, name: str) -> Any:
        """Return one of the markers given to ``fields.key`` (`inactive`, `unit` …), or None."""
        extra = None if self.info is None else self.info.json_schema_extra
        return extra.get(name) if isinstance(extra, dict) else None


@cache
def get_key_tree() -> Key:
    """Return the whole profile as a tree of keys."""
    return _read_section(Profile, (), None)


def walk_keys(root: Key | None = None) -> Iterator[Key]:
    """Yield every section and key below ``root``, in the order of the models."""
    for child in (root or get_key_tree()).children.values():
        yield child
        yield from walk_keys(child)


@cache
def _read_descriptions(model: type[Section]) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        key.target.id: " ".join(str(text.value.value).split())
        for key, text in itertools.pairwise(body.body)
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def _read_section(
    model: type[Section], path: tuple[str, ...], info: FieldInfo | None, parent: type[Section] = Profile
) -> Key:
    children = {name: _read_key(child, (*path, name), model) for name, child in model.model_fields.items()}
    is_open = model.model_config.get("extra") == "allow"
    return Key(path=path, kind=Kind(name="section"), info=info, model=parent, children=children, open=is_open)


def _read_key(info: FieldInfo, path: tuple[str, ...], parent: type[Section]) -> Key:
    annotation = info.annotation
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return _read_section(annotation, path, info, parent)
    return Key(path=path, kind=_read_kind(annotation, tuple(info.metadata)), info=info, model=parent)


def _read_kind(annotation: Any, metadata: tuple[Any, ...] = ()) -> Kind:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _read_kind(arguments[0], (*arguments[1:], *metadata))
    if origin in (Union, types.UnionType):
        return _join([_read_kind(part, metadata) for part in arguments if part is not type(None)], arguments)
    if origin is Literal:
        return Kind(name="choice", choices=tuple(str(word) for word in arguments))
    if origin is tuple:
        length = None if arguments[-1] is Ellipsis else len(arguments)
        return Kind(name="list", item=_read_kind(arguments[0]), length=length)
    if origin is not None and issubclass(origin, Mapping):
        return Kind(name="mapping", item=_read_kind(arguments[1]))
    if annotation is Any:
        return Kind(name="any")
    return _read_scalar(annotation, metadata)


def _join(kinds: list[Kind], arguments: tuple[Any, ...]) -> Kind:
    words = tuple(word for kind in kinds for word in kind.choices)
    values = [kind for kind in kinds if kind.name != "choice"]
    main = values[0] if values else Kind(name="choice")
    return Kind(
        name=main.name,
        optional=type(None) in arguments,
        choices=words,
        item=main.item,
        length=main.length,
        limits=main.limits,
        known=main.known,
    )


def _read_scalar(annotation: Any, metadata: tuple[Any, ...]) -> Kind:
    limits = tuple(limit for mark in metadata for limit in _read_limits(mark))
    parsers = {mark.func for mark in metadata if isinstance(mark, BeforeValidator)}
    if parse_duration in parsers:
        return Kind(name="duration", limits=limits)
    if parse_size_gb in parsers:
        return Kind(name="size", limits=limits)
    known = next((mark for mark in metadata if isinstance(mark, Known)), None)
    names: dict[Any, Any] = {bool: "bool", int: "whole", float: "number", str: "text"}
    return Kind(name=names[annotation], limits=limits, known=known)


def _read_limits(mark: object) -> Iterator[tuple[str, float]]:
    for kind, sign, name in (
        (annotated_types.Ge, "≥", "ge"),
        (annotated_types.Gt, ">", "gt"),
        (annotated_types.Le, "≤", "le"),
        (annotated_types.Lt, "<", "lt"),
    ):
        if isinstance(mark, kind):
            yield sign, getattr(mark, name)
