"""What verbs that take a profile share: its argument, its overrides, the examples in their help."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

__all__ = ["DEFAULT_PROFILE", "allow_option", "complete_key", "profile_argument", "set_option", "with_examples"]

DEFAULT_PROFILE = Path("footplate.yaml")

_KEEP_LINES = "\b"  # click's mark in front of a paragraph whose lines must stay as they are

F = TypeVar("F", bound=Callable[..., Any])


def with_examples(*lines: str) -> Callable[[F], F]:
    """Add lines to type to the help of a verb, one below the other."""

    def add(function: F) -> F:
        function.__doc__ = "\n".join(
            [cleandoc(function.__doc__ or ""), "", _KEEP_LINES, *(f"  {line}" for line in lines)]
        )
        return function

    return add


def profile_argument(function: F) -> F:
    """Add the profile's path, ``footplate.yaml`` when none is given, as the parameter ``profile``."""
    return click.argument("profile", type=click.Path(path_type=Path), default=DEFAULT_PROFILE)(function)


def set_option(function: F) -> F:
    """Add ``--set``, as the parameter ``overrides``."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key: training.batch_size=64.",
        shell_complete=_complete_override,
    )(function)


def complete_key(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the keys of a profile that a shell offers for what was typed so far."""
    from footplate.profile.explain import all_keys

    return [CompletionItem(info.path) for info in all_keys() if info.path.startswith(incomplete)]


def _complete_override(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(f"{item.value}=") for item in complete_key(ctx, param, incomplete)]


def allow_option(function: F) -> F:
    """Add ``--allow``, as the parameter ``allow``."""
    return click.option(
        "--allow", multiple=True, metavar="CODE", help="Let an error of this code pass; it is recorded."
    )(function)
