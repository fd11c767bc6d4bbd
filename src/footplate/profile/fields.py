"""What a key of the profile is made of: its type, unit, range, default, and whether it acts yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "CLASS_PATH",
    "Known",
    "MetricName",
    "RawFloat",
    "RawInt",
    "Seconds",
    "Section",
    "SizeGB",
    "Text",
    "key",
    "parse_duration",
    "parse_metric_name",
    "parse_size_gb",
]


class Section(BaseModel):
    """One section of a profile: frozen, keyword-only, no unknown keys; the text under each field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


def key(
    default: Any,
    *,
    unit: str = "",
    inactive: str = "",
    inactive_values: dict[str, str] | None = None,
    protection: bool = False,
    recorded: bool = False,
    **limits: Any,
) -> Any:
    """Declare a key of a section.

    Args:
        default: its default; a section class as default means an empty section of that class.
        unit: what a number counts (``steps``, ``GB``, ``s``); shown by ``explain`` and in the reference.
        inactive: not empty when the feature is not built yet: says what will act instead of nothing.
        inactive_values: values (regular expressions) that are not built yet, each with what to use instead.
        protection: declaring it while it is inactive is an error, not a warning.
        recorded: the key is a declaration that is recorded and does nothing else.
        limits: pydantic's ``ge``, ``gt``, ``le``, ``lt``, ``min_length``, ``max_length``.

    """
    extra: dict[str, Any] = {
        "unit": unit,
        "inactive": inactive,
        "inactive_values": inactive_values or {},
        "protection": protection,
        "recorded": recorded,
    }
    told = {name: value for name, value in extra.items() if value}
    if isinstance(default, type):
        return Field(default_factory=default, json_schema_extra=told, **limits)
    return Field(default=default, json_schema_extra=told, **limits)


@dataclass(frozen=True)
class Known:
    """Marks a text, within ``Annotated``, that must be one of some words."""

    words: tuple[str, ...]
    """The words."""
    also: str = ""
    """Other texts that are taken, as a regular expression."""
    also_told: str = ""
    """The other texts in words, for messages."""

    def takes(self, text: str) -> bool:
        """Return whether a text is taken."""
        return text in self.words or bool(self.also and re.fullmatch(self.also, text))


class RawInt(int):
    """A whole number of a profile that remembers how it was written (``raw``), for the keys that are text."""

    raw: str


class RawFloat(float):
    """A number of a profile that remembers how it was written (``raw``): version ``2.10`` is not ``2.1``."""

    raw: str


def _as_written(value: object) -> object:
    return getattr(value, "raw", value)


_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d)", re.IGNORECASE)
_SECONDS_PER = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d)(?::([0-5]?\d))?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?)B?", re.IGNORECASE)
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_duration(value: object) -> object:
    """Return seconds for ``48:00:00``, ``2-12:00:00``, ``1h30m``, ``90s`` or a plain number of seconds.

    Anything else is returned as it is, for the type check to name.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return float(days * 86400 + hours * 3600 + minutes * 60 + seconds)
    parts = _DURATION_PART.findall(text)
    if parts and not _DURATION_PART.sub("", text).strip():
        return sum(float(number) * _SECONDS_PER[unit.lower()] for number, unit in parts)
    raise ValueError(f"{value!r} is no duration; write 48:00:00, 2-12:00:00, 1h30m, 90s or a number of seconds")


def parse_size_gb(value: object) -> object:
    """Return GB (10⁹ bytes) for ``8GB``, ``512 MB``, ``16GiB`` or a plain number of GB."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or (match[2] == "" and not match[3] and value.strip()[-1:].isalpha()):
        raise ValueError(f"{value!r} is no size; write 8GB, 512MB, 16GiB or a number of GB")
    if not match[2]:
        return float(match[1])
    base = 1024 if match[3] else 1000
    return float(match[1]) * base ** _POWER[match[2].upper()] / 1e9


CLASS_PATH = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"
"""Form of `package.module:Class`."""

_METRIC = re.compile(r"(?:(train|validation|valid|val|eval|test)[/_])?(.+)")
_SPLITS = {"validation": "val", "valid": "val", "eval": "val", None: "val"}


def parse_metric_name(text: str) -> str:
    """Return a metric's name as `split/name`: ``val_loss``, ``eval_loss`` and ``loss`` are ``val/loss``."""
    match = _METRIC.fullmatch(text.strip())
    return f"{_SPLITS.get(match[1], match[1])}/{match[2]}" if match else text


Text = Annotated[str, BeforeValidator(_as_written)]
"""Text, also when it looks like a number: ``2.10`` stays ``2.10``."""

Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A time in seconds; ``48:00:00``, ``1h30m`` and a plain number are read."""

SizeGB = Annotated[float, BeforeValidator(parse_size_gb)]
"""A size in GB (10⁹ bytes); ``8GB``, ``512MB`` and a plain number are read."""

MetricName = Annotated[Text, AfterValidator(parse_metric_name)]
"""A metric as `split/name`; `val_loss` and `loss` are read as `val/loss`."""
