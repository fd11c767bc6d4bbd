"""Secrets are references (``${env:NAME}``): resolved at the last moment, and recognised when they are written out."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from footplate.errors import InputError

__all__ = ["looks_like_credential", "resolve_secret", "resolve_secrets"]

_REFERENCE = re.compile(r"\$\{(env|file|secret):([^{}]+)\}")
_MAX_SECRET_BYTES = 64_000

_KINDS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("a Slack webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/\w+"),
        ("a Discord webhook", r"discord(?:app)?\.com/api/webhooks/\d+/\S+"),
        ("a Teams webhook", r"webhook\.office\.com/webhookb2/\S+"),
        ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
        ("a GitLab token", r"\bglpat-[\w-]{20,}"),
        ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
        ("an API key", r"\bsk-[A-Za-z0-9_-]{20,}"),
        ("a Google API key", r"\bAIza[\w-]{35}"),
        ("a Slack token", r"\bxox[abeoprs]-[\w-]{10,}"),
        ("a JSON web token", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"),
        ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        ("a password in an address", r"[a-zA-Z][\w+.-]*://[^/\s:@]*:[^/\s@]+@"),
    )
)
_SECRET_NAME = re.compile(r"(?:token|secret|api_?key|access_?key|private_?key|credentials?)$", re.IGNORECASE)
_PASSWORD_NAME = re.compile(r"(?:passw(?:or)?d|passphrase)$", re.IGNORECASE)
_WEBHOOK_NAME = re.compile(r"webhook(?:_?url)?$", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9+/=_.~-]{16,}")


def resolve_secrets(values: Mapping[str, str], *, key: str = "", base_dir: Path | None = None) -> dict[str, str]:
    """Return values with every reference replaced by the secret itself; ``key`` names the section for messages."""
    front = f"{key}." if key else ""
    return {
        name: resolve_secret(text, key=f"{front}{name}", base_dir=base_dir) if isinstance(text, str) else text
        for name, text in values.items()
    }


def resolve_secret(text: str, *, key: str = "", base_dir: Path | None = None) -> str:
    """Return a text with every reference in it replaced by the secret itself.

    Raises:
        InputError: naming the key and the variable or file that is not there; never the secret.

    """
    return _REFERENCE.sub(lambda match: _look_up(match[1], match[2].strip(), key, base_dir), text)


def _look_up(kind: str, name: str, key: str, base_dir: Path | None) -> str:
    front = f"{key}: " if key else ""
    if kind == "env":
        if name not in os.environ:
            raise InputError(f"{front}the environment variable {name} is not set", hint=f"export {name}=…")
        return os.environ[name]
    if kind == "secret":
        raise InputError(
            f"{front}${{secret:{name}}} needs the server's vault, which is not built yet",
            hint=f"use ${{env:{name}}} or ${{file:PATH}}",
        )
    file = (base_dir or Path()) / Path(name).expanduser()
    try:
        if not file.is_file():
            raise InputError(f"{front}the file {file} is not there", hint="the reference is ${file:PATH}")
        with file.open("rb") as stream:
            data = stream.read(_MAX_SECRET_BYTES + 1)
        if len(data) > _MAX_SECRET_BYTES:
            raise InputError(f"{front}{file} has more than {_MAX_SECRET_BYTES:,} bytes, which is no secret")
        return data.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{front}{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def looks_like_credential(text: str, *, name: str = "") -> str:
    """Return what kind of credential a text looks like (``a Slack webhook``), or nothing.

    By the ``name`` of its key more is one: any text under ``password``, any address under ``webhook``, and a long
    random-looking word under ``token``, ``api_key`` and the like. ``tokenizer`` and ``token_file`` are other things.
    """
    rest = _REFERENCE.sub("", text)
    for kind, pattern in _KINDS:
        if pattern.search(rest):
            return kind
    last = name.rpartition(".")[2]
    if _PASSWORD_NAME.search(last) and rest.strip() and not rest.strip().startswith("$"):
        return "a password"
    if _WEBHOOK_NAME.search(last) and "://" in rest:
        return "a webhook's address"
    if not _SECRET_NAME.search(last):
        return ""
    words = _WORD.findall(rest)
    return "a secret" if any(_is_random(word) for word in words) else ""


def _is_random(word: str) -> bool:
    """Return whether a word looks random: 3 bits or more per character, letters and digits mixed."""
    counts = Counter(word)
    bits = -sum(count / len(word) * math.log2(count / len(word)) for count in counts.values())
    return bits >= 3.0 and any(letter.isdigit() for letter in word) and any(letter.isalpha() for letter in word)
