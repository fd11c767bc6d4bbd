"""Footplate trains machine-learning models: one file describes a training, one command runs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footplate.client import Client
    from footplate.errors import (
        CommandError,
        DataError,
        FootplateError,
        InputError,
        MissingExtraError,
        NotFoundError,
        PlanError,
        ProfileError,
        RecordError,
        RunFailedError,
        SnapshotError,
    )
    from footplate.profile.load import load_profile

    __version__: str

# Where each public name lives. A name is resolved on first use, so that `import footplate` costs nothing.
_PUBLIC = {
    "Client": "footplate.client",
    "CommandError": "footplate.errors",
    "DataError": "footplate.errors",
    "FootplateError": "footplate.errors",
    "InputError": "footplate.errors",
    "MissingExtraError": "footplate.errors",
    "NotFoundError": "footplate.errors",
    "PlanError": "footplate.errors",
    "ProfileError": "footplate.errors",
    "RecordError": "footplate.errors",
    "RunFailedError": "footplate.errors",
    "SnapshotError": "footplate.errors",
    "load_profile": "footplate.profile.load",
}

__all__ = [
    "Client",
    "CommandError",
    "DataError",
    "FootplateError",
    "InputError",
    "MissingExtraError",
    "NotFoundError",
    "PlanError",
    "ProfileError",
    "RecordError",
    "RunFailedError",
    "SnapshotError",
    "__version__",
    "load_profile",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _read_version()
    elif name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
    else:
        raise AttributeError(f"module 'footplate' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _read_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("footplate")
    except PackageNotFoundError:  # the source tree is on the path, nothing is installed
        return "0+unknown"
