"""Explains the keys of a profile: type, unit, range, default, description, and whether each acts yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from footplate.errors import NotFoundError
from footplate.profile.check import suggest_key
from footplate.profile.keys import Key, walk_keys

__all__ = ["KeyInfo", "all_keys", "find_key"]


@dataclass(frozen=True, kw_only=True)
class KeyInfo:
    """What is to be known about one key or section."""

    path: str
    """Dotted key."""
    type: str
    """What it takes, in words; ``section`` for a section."""
    unit: str
    """What a number counts, or nothing."""
    range: str
    """Limits of a number, or nothing."""
    default: Any
    """Its default; None for a section."""
    description: str
    """What it does."""
    status: Literal["active", "inactive", "recorded"]
    """``inactive``: not built yet; ``recorded``: a declaration that does nothing else."""
    reason: str
    """What happens instead while the key, or a value of it, is not built yet."""
    choices: tuple[str, ...]
    """Words it takes."""
    keys: tuple[str, ...] = ()
    """Keys of a section."""

    @property
    def is_section(self) -> bool:
        """Whether it holds keys of its own."""
        return self.type == "section"

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON form."""
        return {
            "path": self.path,
            "type": self.type,
            "unit": self.unit,
            "range": self.range,
            "default": self.default,
            "description": self.description,
            "status": self.status,
            "reason": self.reason,
            "choices": list(self.choices),
            "keys": list(self.keys),
        }


def find_key(path: str) -> KeyInfo:
    """Return what is to be known about a key; a name that stands only once in the profile needs no section.

    Raises:
        NotFoundError: with the key that was probably meant.

    """
    keys = list(walk_keys())
    found = [key for key in keys if key.dotted == path] or [key for key in keys if key.path[-1] == path]
    if len(found) == 1:
        return _read_info(found[0])
    if found:
        raise NotFoundError(f"{path} stands in several sections", hint="one of " + _list([key.dotted for key in found]))
    meant = suggest_key(path)
    front = path.rpartition(".")[0]
    full = f"{front}.{meant}" if front and meant in {key.path[-1] for key in keys if key.dotted != meant} else meant
    around = [key.dotted for key in keys if key.dotted.rpartition(".")[0] == front]
    there = around or [key.dotted for key in keys if len(key.path) == 1]
    raise NotFoundError(
        f"there is no key {path}", hint=f"did you mean {full}?" if full else f"there are {_list(there)}"
    )


def all_keys() -> list[KeyInfo]:
    """Return every section and key, in the order of the profile."""
    return [_read_info(key) for key in walk_keys()]


def _list(names: list[str]) -> str:
    return ", ".join(names)


def _read_info(key: Key) -> KeyInfo:
    is_section = key.kind.name == "section"
    known = key.kind.known or (key.kind.item.known if key.kind.item else None)
    inactive = str(key.get_mark("inactive") or "")
    later = [
        f"{values.replace('|', ', ').replace('.*', '…')}: {why}"
        for values, why in (key.get_mark("inactive_values") or {}).items()
    ]
    return KeyInfo(
        path=key.dotted,
        type="section" if is_section else _describe_type(key),
        unit=str(key.get_mark("unit") or ""),
        range=" and ".join(f"{sign} {limit:g}" for sign, limit in key.kind.limits),
        default=None if is_section else _as_json(key.default),
        description=key.description,
        status="inactive" if inactive else "recorded" if key.get_mark("recorded") else "active",
        reason="; ".join([*([inactive] if inactive else []), *later]),
        choices=key.kind.choices + (known.words if known else ()),
        keys=tuple(child.dotted for child in key.children.values()),
    )


def _describe_type(key: Key) -> str:
    known = key.kind.known
    text = "one of " + ", ".join([*known.words, *([known.also_told] if known.also_told else [])]) if known else ""
    return (text or key.kind.describe()) + (" or null" if key.kind.optional else "")


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
