"""Processes of this machine, told apart for ever by PID and start time, without psutil."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["find_start_time", "get_boot_id", "get_host", "is_alive", "list_session"]

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


def list_session(leader: int) -> list[tuple[int, str]]:
    """Return PID and name of the living processes in the session or process group that ``leader`` opened."""
    if not _ON_LINUX:
        rows = (line.split(maxsplit=3) for line in _ask(["ps", "-A", "-o", "pid=,pgid=,stat=,comm="]).splitlines())
        return [(int(row[0]), row[3]) for row in rows if len(row) == 4 and int(row[1]) == leader and row[2][0] != "Z"]
    members = []
    for name in os.listdir("/proc"):
        fields = _read_stat(int(name)) if name.isdecimal() else None
        if fields and fields[0] not in "ZX" and str(leader) in fields[2:4]:
            members.append((int(name), _read_name(int(name))))
    return members


def _read_stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on: 0 state, 1 parent, 2 group, 3 session, 19 start time."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    # The name before it stands in brackets and may hold spaces and brackets itself.
    return text.rpartition(")")[2].split()


def _read_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"


def _ask(argv: list[str]) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout
