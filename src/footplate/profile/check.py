"""Checks what was written against the keys of a profile; every problem in plain words, with its place."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from footplate.profile.fields import Known, RawFloat, RawInt, parse_duration, parse_size_gb
from footplate.profile.keys import Key, Kind, get_key_tree, walk_keys
from footplate.profile.source import KeyPath, Problem, Where, join_path

__all__ = ["Checked", "check_values", "suggest_key"]

_DROP = object()
_HOLDS = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}
_OTHER_VALUES = {"gpu": "cuda", "float16": "fp16", "half": "fp16", "bfloat16": "bf16", "cosine": "cosine_annealing"}
_OTHER_WORDS = {
    "amp": "training.mixed_precision.enabled",
    "batch": "training.batch_size",
    "betas": "training.adam_beta1",
    "bs": "training.batch_size",
    "cpus": "resources.num_cpus",
    "epochs": "training.max_epochs",
    "eps": "training.adam_epsilon",
    "gpus": "resources.num_gpus",
    "lr": "training.learning_rate",
    "model_type": "model.architecture",
    "num_epochs": "training.max_epochs",
    "optim": "training.optimizer",
    "optimiser": "training.optimizer",
    "partition": "resources.queue",
    "random_seed": "reproducibility.seed",
    "steps": "training.max_steps",
    "time": "resources.wall_time",
    "train": "data.train_data",
    "wd": "training.weight_decay",
    "workers": "data.num_workers",
}


class Checked:
    """The values that are good, ready for the models, and the problems with the others."""

    def __init__(self, places: Mapping[KeyPath, Where]) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self._places = places

    def add(self, path: KeyPath, message: str, *, at: KeyPath | None = None) -> None:
        """Add a problem with a key; it stands where the key, or the nearest section around it, stands."""
        self.problems.append(Problem(self.find_place(path if at is None else at), join_path(path), message))

    def find_place(self, path: KeyPath) -> Where:
        """Return where a key, or the nearest section around it, stands."""
        for end in range(len(path), 0, -1):
            if found := self._places.get(path[:end]):
                return found
        return Where("", 0)

    def get_written(self, path: KeyPath, value: object) -> str:
        """Return a value for a message, as it was written."""
        if isinstance(value, Mapping):
            return "a section"
        if isinstance(value, tuple):
            return f"a list of {len(value)}"
        if isinstance(value, str):
            return f'"{value if len(value) <= 60 else value[:57] + "..."}"'
        if value is None:
            return "nothing"
        place = self._places.get(path)
        return (place.written if place else "") or str(value)


def check_values(values: Mapping[str, Any], places: Mapping[KeyPath, Where]) -> Checked:
    """Check the keys of a whole profile."""
    checked = Checked(places)
    checked.values = _check_section(get_key_tree(), values, (), checked)
    return checked


def suggest_key(path: str) -> str:
    """Return the key that was probably meant, or nothing."""
    *front, name = path.split(".")
    section = get_key_tree()
    for part in front:
        if part in section.children:
            section = section.children[part]
    return _suggest(section, name)


def _check_section(key: Key, values: Mapping[str, Any], path: KeyPath, checked: Checked) -> dict[str, Any]:
    good: dict[str, Any] = {}
    takes_any = key.open and _takes_any(key, values)
    for name, value in values.items():
        child = key.children.get(name)
        if child is None:
            if takes_any:
                good[name] = _as_plain(value)
            else:
                checked.add((*path, name), _describe_unknown(key, name, values))
            continue
        checked_value = _check_key(child, value, (*path, name), checked)
        if checked_value is not _DROP:
            good[name] = checked_value
    return good


def _takes_any(key: Key, values: Mapping[str, Any]) -> bool:
    """Return whether keys that are not listed are taken: of a model only when it is a class of the user's."""
    return key.path != ("model",) or ":" in str(values.get("architecture", ""))


def _describe_unknown(key: Key, name: str, values: Mapping[str, Any]) -> str:
    if suggestion := _suggest(key, name):
        return f"unknown key; did you mean {suggestion}?"
    if key.path == ("model",):
        architecture = values.get("architecture", "mlp")
        return f"unknown key; {architecture} takes no such argument (a class of yours, package.module:Class, may)"
    if key.path:
        return f"unknown key; {key.dotted} has {_list_some(key)}"
    return "unknown key; no section or key has this name"


def _list_some(key: Key) -> str:
    names = list(key.children)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _check_key(key: Key, value: Any, path: KeyPath, checked: Checked) -> Any:
    kind = key.kind
    if kind.name == "section":
        if value is None:
            return _DROP
        if isinstance(value, Mapping):
            return _check_section(key, value, path, checked)
        return _refuse(f"expected {kind.describe()}, got {checked.get_written(path, value)}", path, checked)
    if value is None:
        if kind.optional:
            return None
        if key.default in ("", (), {}):
            return _DROP
        message = f"expected {kind.describe()}, got nothing; leave the key out for its default ({key.default})"
        return _refuse(message, path, checked)
    return _check_value(kind, value, path, checked)


def _refuse(message: str, path: KeyPath, checked: Checked) -> object:
    checked.add(path, message)
    return _DROP


def _check_value(kind: Kind, value: Any, path: KeyPath, checked: Checked) -> Any:
    """Return the value for the models, or say what is wrong with it."""
    if kind.choices and isinstance(value, str | bool | RawInt | RawFloat):
        written = checked.get_written(path, value).strip('"') if isinstance(value, bool) else _get_text(value)
        if written in kind.choices:
            return written
        if kind.name == "choice" or (isinstance(value, str) and get_close_matches(value, kind.choices, 1, 0.7)):
            return _refuse(_describe_choice(kind, written), path, checked)
    if kind.name == "list":
        return _check_list(kind, value, path, checked)
    if kind.name == "mapping":
        return _check_mapping(kind, value, path, checked)
    if kind.name == "any":
        return value
    message = _find_fault(kind, value, path, checked)
    if message:
        return _refuse(message, path, checked)
    if kind.name != "text":
        return value
    text = _get_text(value)
    if kind.known and not kind.known.takes(text):
        return _refuse(_describe_known(kind.known, text), path, checked)
    return text


def _get_text(value: object) -> str:
    return str(getattr(value, "raw", value))


def _describe_choice(kind: Kind, written: str) -> str:
    message = f"must be one of {', '.join(kind.choices)} (got {written})"
    if kind.name != "choice":
        message = f"expected {kind.describe()}, got {written}"
    return message + _suggest_word(kind.choices, written)


def _describe_known(known: Known, text: str) -> str:
    also = f", or {known.also_told}" if known.also_told else ""
    return f"must be one of {', '.join(known.words)}{also} (got {text}){_suggest_word(known.words, text)}"


def _suggest_word(words: Sequence[str], written: str) -> str:
    if (other := _OTHER_VALUES.get(written.lower())) in words:
        return f"; did you mean {other}?"
    close = {word.lower(): word for word in words}
    found = get_close_matches(written.lower(), list(close), 1, 0.6) or [
        word for word in close if len(written) > 2 and written.lower() in word
    ]
    return f"; did you mean {close[found[0]]}?" if found else ""


def _check_list(kind: Kind, value: Any, path: KeyPath, checked: Checked) -> Any:
    written = checked.get_written(path, value)
    if not isinstance(value, tuple):
        mend = "" if isinstance(value, Mapping) else f"; write [{written.strip(chr(34))}]"
        return _refuse(f"expected {kind.describe()}, got {written}{mend if kind.length is None else ''}", path, checked)
    if kind.length is not None and len(value) != kind.length:
        return _refuse(f"expected {kind.describe()}, got {len(value)}", path, checked)
    item = kind.item or Kind(name="any")
    found = [_check_item(item, part, (*path, str(number)), checked) for number, part in enumerate(value)]
    return _DROP if any(part is _DROP for part in found) else tuple(found)


def _check_mapping(kind: Kind, value: Any, path: KeyPath, checked: Checked) -> Any:
    if not isinstance(value, Mapping):
        return _refuse(f"expected {kind.describe()}, got {checked.get_written(path, value)}", path, checked)
    item = kind.item or Kind(name="any")
    found = {name: _check_item(item, part, (*path, name), checked) for name, part in value.items()}
    return _DROP if any(part is _DROP for part in found.values()) else found


def _check_item(kind: Kind, value: Any, path: KeyPath, checked: Checked) -> Any:
    if value is None and kind.name != "any":
        return _refuse(f"expected {kind.describe()}, got nothing", path, checked)
    return _check_value(kind, value, path, checked)


def _find_fault(kind: Kind, value: Any, path: KeyPath, checked: Checked) -> str:
    """Return what is wrong with a single value, or nothing."""
    number: Any = value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind.name in ("duration", "size") and isinstance(value, str):
        try:
            number = (parse_duration if kind.name == "duration" else parse_size_gb)(value)
        except ValueError as error:
            return str(error)
        is_number = True
    fits = {
        "bool": isinstance(value, bool),
        "text": isinstance(value, str | RawInt | RawFloat),
        "whole": is_number and float(number).is_integer() if is_number and _is_finite(number) else False,
    }.get(kind.name, is_number)
    written = checked.get_written(path, value)
    if not fits:
        quotes = f'; write "{written}"' if kind.name == "text" and isinstance(value, bool) else ""
        return f"expected {kind.describe()}, got {written}{quotes}"
    if is_number and kind.name != "text" and not _is_finite(number):
        return f"must be finite (got {written})"
    for sign, limit in kind.limits if is_number else ():
        if not _HOLDS[sign](number, limit):
            return f"must be {' and '.join(f'{s} {_show_number(n)}' for s, n in kind.limits)} (got {written})"
    return ""


def _show_number(number: float) -> str:
    return f"{number:g}" if abs(number) < 1e6 else f"{number:,.0f}"


def _is_finite(number: float) -> bool:
    return abs(number) < float("inf")


def _as_plain(value: Any) -> Any:
    """Return a value for the user's own code: ordinary numbers, lists and mappings."""
    if isinstance(value, RawInt):
        return int(value)
    if isinstance(value, RawFloat):
        return float(value)
    if isinstance(value, Mapping):
        return {name: _as_plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_as_plain(part) for part in value]
    return value


def _squash(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _suggest(section: Key, name: str) -> str:
    """Return the key meant by a name that is not in a section: there first, then anywhere in the profile."""
    own = {_squash(child): child for child in section.children}
    if found := own.get(_squash(name)):
        return found
    elsewhere: dict[str, list[str]] = {}
    for key in walk_keys():
        elsewhere.setdefault(_squash(key.path[-1]), []).append(key.dotted)
    if 0 < len(same := elsewhere.get(_squash(name), [])) <= 3:
        return " or ".join(same)
    if other := _OTHER_WORDS.get(name.lower()):
        return other.removeprefix(f"{section.dotted}.") if section.path else other
    if close := _find_close(name, own, 0.75):
        return own[close]
    if (close := _find_close(name, elsewhere, 0.85)) and len(elsewhere[close]) <= 3:
        return " or ".join(elsewhere[close])
    return own[close] if (close := _find_close(name, own, 0.6)) else ""


def _find_close(name: str, names: Mapping[str, object] | Sequence[str], cutoff: float) -> str:
    found = get_close_matches(_squash(name), list(names), 1, cutoff)
    return found[0] if found else ""
