"""What `--where` takes: ``metrics.val/loss < 0.1 and (state = succeeded or params.training.optimizer ~ adam)``.

    where      := and_part { "or" and_part }
    and_part   := not_part { "and" not_part }
    not_part   := [ "not" ] ( "(" where ")" | comparison )
    comparison := NAME ( = | != | < | <= | > | >= | ~ ) VALUE  |  NAME "in" "(" VALUE { "," VALUE } ")"

A value is a number (``1e-4``), a time (``2h``, ``-7d``: seconds, or before now), or a text with or without quotes.
``~`` looks for a regular expression. Nothing is evaluated as code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from footplate.errors import InputError
from footplate.runs.summary import FACTS

__all__ = ["Query", "check_name", "list_missing", "parse_query"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<sign><=|>=|!=|==|=|<|>|~|\(|\)|,)|(?P<word>[^\s()=<>!~,"']+))"""
)
_TIME = re.compile(r"([+-]?\d+(?:\.\d+)?)(s|min|h|d|w)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SIGNS = ("=", "==", "!=", "<", "<=", ">", ">=", "~")
_AT_TIMES = ("created_at", "started_at", "ended_at")

Find = Callable[[str], Any | None]
Test = Callable[[Find], bool]


@dataclass(frozen=True)
class Query:
    """A condition on runs."""

    names: tuple[str, ...]
    """What it asks for."""
    _test: Test = field(repr=False)

    def matches(self, find: Find) -> bool:
        """Tell whether a run meets it; ``find`` gives its values by name. What a run has not is equal to nothing."""
        return self._test(find)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int
    """Column, from 0."""


def parse_query(text: str, *, now: float) -> Query:
    """Return what a condition says; ``now`` is in seconds since 1970.

    Raises InputError with the place of a mistake, or with all names that mean nothing and those that are near.
    """
    parser = _Parser(text, _split(text), now)
    test = parser.parse()
    problems = [problem for name in dict.fromkeys(parser.names) if (problem := check_name(name))]
    if problems:
        raise InputError("\n  ".join(["--where asks for what no run has:", *problems]))
    return Query(tuple(dict.fromkeys(parser.names)), test)


def check_name(name: str) -> str:
    """Return what is wrong with a name; nothing when it can mean something."""
    if name in FACTS or re.fullmatch(r"(metrics|params)\.\S+", name):
        return ""
    near = difflib.get_close_matches(name, [*FACTS, "metrics", "params"], n=1, cutoff=0.6)
    if near and near[0] not in ("metrics", "params"):
        return f"{name}: did you mean {near[0]}?"
    example = f"metrics.{name}" if "/" in name else f"params.{name}" if "." in name else "metrics.val/loss"
    return f"{name}: write {example}, or one of {', '.join(FACTS)}"


def _split(text: str) -> list[_Token]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _point(text, at + len(text[at:]) - len(text[at:].lstrip()), "this means nothing here")
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return tokens


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, text: str, tokens: Sequence[_Token], now: float) -> None:
        self._text, self._tokens, self._now = text, tokens, now
        self._next = 0
        self.names: list[str] = []

    def parse(self) -> Test:
        test = self._parse_any()
        if (token := self._peek()) is not None:
            raise _point(self._text, token.at, "`and` or `or` is missing before this")
        return test

    def _parse_any(self) -> Test:
        parts = [self._parse_all()]
        while self._take("or"):
            parts.append(self._parse_all())
        return parts[0] if len(parts) == 1 else lambda find: any(part(find) for part in parts)

    def _parse_all(self) -> Test:
        parts = [self._parse_not()]
        while self._take("and"):
            parts.append(self._parse_not())
        return parts[0] if len(parts) == 1 else lambda find: all(part(find) for part in parts)

    def _parse_not(self) -> Test:
        if self._take("not"):
            inner = self._parse_not()
            return lambda find: not inner(find)
        if self._take("("):
            inner = self._parse_any()
            self._need(")")
            return inner
        return self._parse_comparison()

    def _parse_comparison(self) -> Test:
        token = self._get("a name is missing here: metrics.val/loss, params.training.batch_size, state …")
        if token.kind != "word":
            raise _point(self._text, token.at, "a name is expected here")
        name = token.text
        self.names.append(name)
        if self._take("in"):
            self._need("(")
            values = [self._parse_value(name)]
            while self._take(","):
                values.append(self._parse_value(name))
            self._need(")")
            return lambda find: any(_compare(find(name), "=", value) for value in values)
        sign = self._get(f"{' '.join(_SIGNS)} or in is missing here")
        if sign.text not in _SIGNS:
            raise _point(self._text, sign.at, f"{' '.join(_SIGNS)} or in is expected here")
        value = self._parse_value(name)
        if sign.text == "~":
            return self._make_search(name, str(value), self._tokens[self._next - 1].at)
        return lambda find: _compare(find(name), sign.text, value)

    def _make_search(self, name: str, pattern: str, at: int) -> Test:
        try:
            wanted = re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            raise _point(self._text, at, f"no regular expression: {error}") from error

        def search(find: Find) -> bool:
            value = find(name)
            return value is not None and wanted.search(str(value)) is not None

        return search

    def _parse_value(self, name: str) -> str | float:
        token = self._get("a value is missing here")
        if token.kind == "text":
            return token.text[1:-1]
        if token.kind == "sign":
            raise _point(self._text, token.at, "a value is expected here")
        if match := _TIME.fullmatch(token.text):
            seconds = float(match[1]) * _SECONDS[match[2]]
            return self._now + seconds if name in _AT_TIMES else seconds
        try:
            return float(token.text)
        except ValueError:
            return token.text

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self, word: str) -> bool:
        token = self._peek()
        if token is None or token.kind == "text" or token.text.lower() != word:
            return False
        self._next += 1
        return True

    def _get(self, missing: str) -> _Token:
        token = self._peek()
        if token is None:
            raise _point(self._text, len(self._text), missing)
        self._next += 1
        return token

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            token = self._peek()
            raise _point(self._text, len(self._text) if token is None else token.at, f"{sign} is missing here")


def _compare(here: Any | None, sign: str, wanted: str | float) -> bool:
    """Compare a run's value, as numbers where both are; what is not there is equal to nothing."""
    if here is None:
        return False
    left, right = _to_number(here), _to_number(wanted)
    if left is None or right is None:
        left, right = str(here).lower(), str(wanted).lower()  # type: ignore[assignment]  # both are texts then
    outcomes = {
        "=": left == right,
        "==": left == right,
        "!=": left != right,
        "<": left < right,  # type: ignore[operator]  # both are numbers, or both texts
        "<=": left <= right,  # type: ignore[operator]  # as above
        ">": left > right,  # type: ignore[operator]  # as above
        ">=": left >= right,  # type: ignore[operator]  # as above
    }
    return outcomes[sign]


def _to_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _point(text: str, at: int, why: str) -> InputError:
    return InputError(f"--where: {why}\n  {text}\n  {' ' * at}^", hint="metrics.val/loss < 0.1 and state = succeeded")


def list_missing(names: Iterable[str], find: Find) -> list[str]:
    """Return the names of which a run has nothing."""
    return [name for name in names if find(name) is None]
