"""The kernel's count of processes killed for memory in this control group."""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_oom_kills"]


def find_oom_kills(*, proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return how many processes of this control group were killed for memory; None where nothing counts them."""
    try:
        lines = proc.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if "memory" in controllers.split(","):
            candidates = [root / "memory" / path.lstrip("/"), root / "memory"]
            name = "memory.oom_control"
        elif number == "0":
            candidates = [root / path.lstrip("/"), root / "unified" / path.lstrip("/"), root]
            name = "memory.events"
        else:
            continue
        # In a container the path is the host's, and the group itself is what is mounted at the root.
        for candidate in candidates:
            count = _read_count(candidate / name)
            if count is not None:
                return count
    return None


def _read_count(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii")
    except OSError:
        return None
    counts = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    return int(counts["oom_kill"]) if "oom_kill" in counts else None
