"""Processes of this machine, told apart for ever by PID and start time, without psutil."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "catches",
    "find_by_variable",
    "find_start_time",
    "get_boot_id",
    "get_host",
    "is_alive",
    "list_by_variables",
    "list_family",
]

_ON_LINUX = sys.platform.startswith("linux")
_TIMEOUT_S = 5.0


def get_host() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def get_boot_id() -> str:
    """Return what changes each time this machine is started; empty when it does not tell."""
    if _ON_LINUX:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""
    return _ask(["sysctl", "-n", "kern.bootsessionuuid"]).strip()


def find_start_time(pid: int) -> float | None:
    """Return when a process was started, as the system counts it; None when it is gone or a zombie.

    Clock ticks since boot on Linux, seconds since 1970 elsewhere: a value to compare, not to read.
    """
    if _ON_LINUX:
        fields = _read_stat(pid)
        return float(fields[19]) if fields and fields[0] not in "ZX" else None
    words = _ask(["ps", "-o", "stat=,lstart=", "-p", str(pid)]).split(maxsplit=1)
    if len(words) < 2 or words[0].startswith("Z"):
        return None
    try:
        return time.mktime(time.strptime(words[1].strip()))
    except ValueError:
        return None


def is_alive(pid: int | None, start: float | None) -> bool:
    """Tell whether the very process of that PID and start time still runs."""
    return pid is not None and start is not None and find_start_time(pid) == start


def find_by_variable(name: str, value: str) -> int | None:
    """Return the PID of a living process that was started with an environment variable of this value.

    None when there is none that this user may look into, and where the system does not tell (macOS).
    """
    wanted = os.fsencode(f"{name}={value}")
    for entry in os.listdir("/proc") if _ON_LINUX else ():
        with suppress(OSError):  # another user's, or ended meanwhile
            if entry.isdecimal() and wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                return int(entry)
    return None


def list_by_variables(*words: str) -> dict[int, str]:
    """Return PID and name of the living processes whose environment at their start had all these words.

    ``NAME=value`` means this value, ``NAME=`` any. Nothing where the system does not tell (macOS).
    """
    wanted = [os.fsencode(word) for word in words]
    found = {}
    for entry in os.listdir("/proc") if _ON_LINUX else ():
        with suppress(OSError):  # another user's, or ended meanwhile
            here = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") if entry.isdecimal() else []
            there = [word for word in wanted if word in here or (word[-1:] == b"=" and _begins(here, word))]
            fields = _read_stat(int(entry)) if there == wanted else None
            if fields and fields[0] not in "ZX":
                found[int(entry)] = fields[-1]
    return found


def catches(pid: int, number: int) -> bool | None:
    """Tell whether a process handles a signal itself; None where the system does not tell (macOS)."""
    if not _ON_LINUX:
        return None
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # it has ended
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return bool(masks) and bool(masks[0] >> (number - 1) & 1)


def list_family(leader: int) -> dict[int, str]:
    """Return PID and name of the living processes that descend from ``leader`` or share the session it opened.

    The leader itself is not among them. A process that left both its parent and its session is not found.
    """
    table = _list_processes()
    family = {leader}
    grown = True
    while grown:
        more = {
            pid for pid, row in table.items() if pid not in family and (row.parent in family or row.group == leader)
        }
        grown = bool(more)
        family |= more
    return {pid: table[pid].name for pid in sorted(family - {leader}) if pid in table}


@dataclass(frozen=True)
class _Row:
    parent: int
    group: int
    """The session on Linux: a shell with job control gives its children groups of their own."""
    name: str


def _list_processes() -> dict[int, _Row]:
    """Return all living processes."""
    table = {}
    if not _ON_LINUX:
        for line in _ask(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,comm="]).splitlines():
            words = line.split(maxsplit=4)
            if len(words) == 5 and not words[3].startswith("Z"):
                table[int(words[0])] = _Row(int(words[1]), int(words[2]), words[4].rpartition("/")[2])
        return table
    for entry in os.listdir("/proc"):
        fields = _read_stat(int(entry)) if entry.isdecimal() else None
        if fields and fields[0] not in "ZX":
            table[int(entry)] = _Row(int(fields[1]), int(fields[3]), fields[-1])
    return table


def _begins(items: list[bytes], start: bytes) -> bool:
    return any(item.startswith(start) for item in items)


def _read_stat(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from the state on, and the name last: 0 state, 1 parent, 3 session, 19 start, -1 name."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    # The name stands in brackets and may hold spaces and brackets itself.
    head, _, rest = text.rpartition(")")
    return [*rest.split(), head.partition("(")[2]]


def _ask(argv: list[str]) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout
