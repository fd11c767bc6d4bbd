"""Writes constraints.txt: the exact versions that were tested together, of all that Footplate needs here."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

__all__ = ["list_needed", "render"]

_FILE = Path(__file__).resolve().parents[1] / "constraints.txt"
_HEAD = "# The versions that were tested together, written by `make constraints`; pip install -c constraints.txt\n"


def list_needed(package: str, extras: Iterable[str] = ()) -> dict[str, str]:
    """Return name → version of all that a package needs on this machine, itself left out.

    Markers are followed (platform, Python, extras). A package that is needed and not installed is an error.
    """
    needed: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(package, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found = distribution(name)
        needed[canonicalize_name(name)] = Version(found.version).public
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, wanted) for wanted in ("", *requirement.extras)]
    del needed[canonicalize_name(package)]
    return needed


def render() -> str:
    """Return the text of constraints.txt; a local version such as `+cpu` is left out, it is the machine's choice."""
    needed = list_needed("footplate", ("all", "dev"))
    return _HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(needed.items()))


if __name__ == "__main__":
    try:
        _FILE.write_text(render(), encoding="utf-8")
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed; run `make check` first")
