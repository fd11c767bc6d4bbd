"""Takes personal data and secrets out of texts: of a log, ``python -m footplate.record.redact JOB_JSON LOG``.

It knows patterns (addresses, telephone and card numbers, tokens) and the names it is told: those of this machine, its
user and the profile's author. It does not understand language: another name in a sentence stays. The standard library
is all it needs.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from footplate.errors import FootplateError
from footplate.record.files import read_json
from footplate.record.run_info import RunInfo
from footplate.record.rundir import RunDir

__all__ = ["Redactor", "main", "read_redactor"]

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_SECRETS: tuple[_Rule, ...] = (
    (
        re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [^-]*-----|$)", re.DOTALL),
        "<secret>",
    ),
    (
        re.compile(
            r"\b(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{16,}"
            r"|hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
        ),
        "<secret>",
    ),
    (re.compile(r"hooks\.slack\.com/services/[\w/]+"), "hooks.slack.com/services/<secret>"),
    (re.compile(r"(://)[^/\s:@]*:[^/\s@]+@"), r"\1<secret>@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/-]{12,}=*"), r"\1 <secret>"),
    (
        re.compile(
            r"(?i)((?:\b|_)(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
            r"(?![\d.]+\b)[^\s\"',;]{6,}"
        ),
        r"\1<secret>",
    ),
)
_EMAIL: _Rule = (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>")
_HOME: _Rule = (re.compile(r"((?:/home|/Users|[A-Za-z]:\\Users|/export/home)[/\\])[^/\\\s:;,'\"<>]+"), r"\1<user>")
_MAC: _Rule = (re.compile(r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b"), "<mac>")
_PHONE: _Rule = (
    re.compile(
        r"(?<![\w.])(?:\+\d{1,3}(?:[ ()/-]{0,2}\d){7,13}|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w.]\d|\w)"
    ),
    "<phone>",
)
_NATIONAL: _Rule = (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), "<id>")
_GENERIC = frozenset(
    {
        "root",
        "user",
        "users",
        "admin",
        "ubuntu",
        "debian",
        "runner",
        "nobody",
        "jovyan",
        "mambauser",
        "localhost",
        "home",
    }
)
"""Names of users and machines that name nobody."""
_MOST_HELD = 65_536
_IDLE_S = 1.0


class Redactor:
    """Replaces what names people and machines, and secrets, by words such as ``<email>``."""

    def __init__(self, *, anonymize: bool, pii: bool, names: Sequence[str] = (), hosts: Sequence[str] = ()) -> None:
        """``anonymize``: names, addresses and machine names; ``pii``: personal data. Secrets go with either.

        ``names`` and ``hosts`` are those known beside this machine's own.
        """
        here = _find_user_names() if anonymize or pii else []
        self._names = sorted({name for name in (*names, *here) if _tells(name)}, key=len, reverse=True)
        self._hosts = sorted({host for host in (*hosts, *_find_hosts()) if _tells(host)}, key=len, reverse=True)
        self._anonymize, self._pii = anonymize, pii
        rules: list[_Rule] = [*_SECRETS, _EMAIL]
        if anonymize:
            rules += [_HOME]
        if self._names:
            rules.append((_make_pattern(self._names), "<name>"))
        if anonymize:
            rules += [(_make_pattern(self._hosts), "<host>")] if self._hosts else []
            rules.append(_MAC)
        rules += [(_IPV4, _replace_address), (_IPV6, _replace_address)]
        if pii:
            rules += [_PHONE, _NATIONAL, (_CARD, _replace_card), (_IBAN, _replace_iban)]
        self._rules = tuple(rules)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Redactor:
        """Make one of what ``to_json`` gave, on this machine or another."""
        return cls(
            anonymize=bool(value.get("anonymize")),
            pii=bool(value.get("pii")),
            names=tuple(map(str, value.get("names", ()))),
            hosts=tuple(map(str, value.get("hosts", ()))),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it: with the names."""
        return {"anonymize": self._anonymize, "pii": self._pii, "names": self._names, "hosts": self._hosts}

    def clean_text(self, text: str) -> str:
        """Return a text without them."""
        for pattern, replacement in self._rules:
            text = pattern.sub(replacement, text)
        return text

    def clean_info(self, info: RunInfo) -> RunInfo:
        """Return what is known of a launch as it may be shown elsewhere."""
        cleaned: dict[str, Any] = self.clean(info.to_json()) | {"id": info.id}
        hidden = {"user": "<name>", "host": "<host>"} if self._anonymize else {"user": "<name>"}
        return RunInfo.from_json(cleaned | {name: word for name, word in hidden.items() if cleaned[name]})

    def clean(self, value: Any) -> Any:
        """Return a JSON-like value, nested as it may be, with its texts cleaned; names of fields stay."""
        if isinstance(value, str):
            return self.clean_text(value)
        if isinstance(value, Mapping):
            return {name: self.clean(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean(item) for item in value]
        return value


def read_redactor(run: RunDir) -> Redactor | None:
    """Return what a run's texts are cleaned by, as its last attempt has it; None where that is not asked for."""
    for attempt in reversed(run.attempts()):
        if attempt.job_path.exists():
            value = read_json(attempt.job_path).get("redact")
            return Redactor.from_json(value) if value else None
    return None


def main(argv: list[str] | None = None) -> int:
    """Append what comes in to a file, cleaned, line by line, until there is no more."""
    job, log = (sys.argv[1:] if argv is None else argv)[:2]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # it ends when the last who writes to it has ended
    redactor = Redactor.from_json(read_json(Path(job)).get("redact") or {"anonymize": True, "pii": True})
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    held = b""
    while True:
        ready, _, _ = select.select([0], [], [], _IDLE_S if held else None)
        chunk = os.read(0, _MOST_HELD) if ready else b""
        held += chunk
        is_last = bool(ready) and not chunk
        # What stands in a line is looked at together: at its end, or when nothing more of it comes.
        end = (
            len(held)
            if is_last or not ready or len(held) > _MOST_HELD
            else max(held.rfind(b"\n"), held.rfind(b"\r")) + 1
        )
        if end:
            text = held[:end].decode("utf-8", "surrogateescape")
            _write(file, redactor.clean_text(text).encode("utf-8", "surrogateescape"))
            held = held[end:]
        if is_last:
            return 0


def _write(file: int, data: bytes) -> None:
    """Write all of it; on a full disk it is tried for a moment, for the job must not wait for its log."""
    for _ in range(3):
        try:
            while data:
                data = data[os.write(file, data) :]
        except OSError:
            time.sleep(0.2)
        else:
            return


def _tells(name: str) -> bool:
    return len(name) >= 3 and name.lower() not in _GENERIC and not name.isdecimal()


def _find_user_names() -> list[str]:
    """Return the login of this process's user, and the full name and its words where the system knows one."""
    names = []
    with suppress(KeyError, OSError):
        names.append(getpass.getuser())
    with suppress(ImportError, KeyError):
        import pwd

        full = pwd.getpwuid(os.getuid()).pw_gecos.partition(",")[0].strip()
        names += [full] if " " in full else []
    return names


def _find_hosts() -> list[str]:
    full = socket.gethostname()
    return [full, full.partition(".")[0]]


def _make_pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Return what finds the words, whole, in any case; spaces in them may be any."""
    parts = [r"[\s._-]+".join(map(re.escape, word.split())) for word in words]
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(parts)})(?![A-Za-z0-9])", re.IGNORECASE)


_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\w.-]\d|\w)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")


def _replace_address(match: re.Match[str]) -> str:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return match[0]
    return match[0] if address.is_loopback or address.is_unspecified else "<ip>"


def _replace_card(match: re.Match[str]) -> str:
    """Luhn's check (ISO/IEC 7812-1): every second digit from the right counts twice."""
    digits = [int(digit) for digit in match[0] if digit.isdecimal()][::-1]
    total = sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return match[0] if total % 10 else "<card>"


def _replace_iban(match: re.Match[str]) -> str:
    """ISO 7064, modulo 97."""
    plain = match[0].replace(" ", "")
    number = int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4]))
    return match[0] if number % 97 != 1 else "<iban>"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FootplateError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
