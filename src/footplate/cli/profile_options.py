"""What every verb that takes a profile shares: its argument, its overrides, and how its findings are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["DEFAULT_PROFILE", "allow_option", "profile_argument", "set_option"]

DEFAULT_PROFILE = Path("footplate.yaml")

F = TypeVar("F", bound=Callable[..., Any])


def profile_argument(function: F) -> F:
    """Add the profile's path, ``footplate.yaml`` when none is given, as the parameter ``profile``."""
    return click.argument("profile", type=click.Path(path_type=Path), default=DEFAULT_PROFILE)(function)


def set_option(function: F) -> F:
    """Add ``--set``, as the parameter ``overrides``."""
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: training.batch_size=64."
    )(function)


def allow_option(function: F) -> F:
    """Add ``--allow``, as the parameter ``allow``."""
    return click.option(
        "--allow", multiple=True, metavar="CODE", help="Let an error of this code pass; it is recorded."
    )(function)
