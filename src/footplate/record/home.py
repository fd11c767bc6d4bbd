"""Where Footplate keeps what belongs to the person and not to one run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from footplate.errors import InputError

__all__ = ["get_home"]


def get_home() -> Path:
    """Return FOOTPLATE_HOME, or Footplate's folder in the platform's data folder; it is made when it is not there.

    Only its owner may read it (mode 0700), as settings and logins will live in it.
    """
    home = _locate()
    try:
        if not home.is_dir():
            home.parent.mkdir(parents=True, exist_ok=True)
            home.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make Footplate's home {home}: {error.strerror}",
            hint="set FOOTPLATE_HOME to a directory you may write to",
        ) from error
    return home


def _locate() -> Path:
    given = os.environ.get("FOOTPLATE_HOME", "")
    if given:
        return Path(given).expanduser().absolute()
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "footplate"
        data = os.environ.get("XDG_DATA_HOME", "")
        # The standard says that a relative path in XDG_DATA_HOME is to be ignored.
        return (Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share") / "footplate"
    except RuntimeError as error:  # this user has no home directory (a container with an unknown user id)
        raise InputError("this user has no home directory", hint="set FOOTPLATE_HOME to a directory") from error
