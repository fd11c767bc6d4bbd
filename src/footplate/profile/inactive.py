"""Finds keys that ask for something that is not built yet; a protection declared while it is off is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from footplate.profile.findings import Finding, Severity
from footplate.profile.keys import Key, get_key_tree
from footplate.profile.model import Profile

__all__ = ["find_inactive"]


def find_inactive(profile: Profile) -> list[Finding]:
    """Return a finding for each key that was set and does nothing yet, in the order of the file.

    A key that has its default, or stands in a section that is switched off, is silent. A section whose switch is
    itself not built yet gives one finding.
    """
    findings = list(_walk(profile, get_key_tree(), profile))
    return sorted(findings, key=lambda finding: finding.line)


def _walk(profile: Profile, section: Key, values: Any) -> Iterator[Finding]:
    for key in _list_keys(profile, section, values):
        value = getattr(values, key.path[-1])
        if key.kind.name == "section":
            yield from _walk(profile, key, value)
        elif profile.is_set(key.dotted) and value != _get_default(key):
            yield from _find(profile, key, value)


def _list_keys(profile: Profile, section: Key, values: Any) -> list[Key]:
    """Return the keys of a section that count: none when it is switched off, its switch when that is not built."""
    switch = section.children.get("enabled")
    if switch is not None and profile.is_set(switch.dotted):
        if not values.enabled:
            return []
        if switch.get_mark("inactive") and not switch.default:
            return [switch, *(key for key in section.children.values() if key.get_mark("protection"))]
    return list(section.children.values())


def _get_default(key: Key) -> Any:
    return None if key.info is None else key.info.get_default(call_default_factory=True)


def _find(profile: Profile, key: Key, value: Any) -> Iterator[Finding]:
    place = profile.where(key.dotted)
    line = place.line if place else 0
    if reason := key.get_mark("inactive"):
        is_protection = bool(key.get_mark("protection"))
        yield Finding(
            code="inactive",
            severity=Severity.error if is_protection else Severity.warning,
            path=key.dotted,
            line=line,
            message=str(reason),
            fix="take the key out, or set it to its default" if not is_protection else "take the key out",
        )
    for pattern, reason in (key.get_mark("inactive_values") or {}).items():
        for word in value if isinstance(value, tuple) else (value,):
            if re.fullmatch(pattern, str(word)):
                yield Finding(
                    code="inactive",
                    severity=Severity.error,
                    path=key.dotted,
                    line=line,
                    message=f"{word}: {reason}",
                    fix=f"choose another value for {key.dotted}",
                )
