"""How verbs take the name of a run: an argument with completion, and what it means."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from footplate.errors import FootplateError, NotFoundError
from footplate.record.rundir import RunDir
from footplate.runs.store import Store

__all__ = ["complete_run", "decode_word", "find_run", "run_argument"]

F = TypeVar("F", bound=Callable[..., Any])

_NUM_COMPLETED = 50


def run_argument(function: F) -> F:
    """Add the argument ``[RUN]`` to a verb, as the parameter ``name``; None means the newest run."""
    return click.argument("name", metavar="[RUN]", required=False, shell_complete=complete_run)(function)


def find_run(name: str | None) -> RunDir:
    """Return the run of that name, or the newest one that is still there when there is no name."""
    with Store() as store:
        if name is not None:
            return store.find(name)
        for stored in store.list():
            if stored.exists:
                return RunDir.open(stored.path)
    raise NotFoundError("there are no runs yet", hint="footplate run -- python train.py")


def decode_word(word: str) -> str:
    """Return a word of the command line read as UTF-8, whatever the locale is: that is how it is recorded."""
    return os.fsencode(word).decode("utf-8", "surrogateescape")


def complete_run(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the ids that a shell offers for what was typed so far, newest first."""
    try:
        with Store(tell=lambda _: None) as store:
            runs = store.list()
    except FootplateError:
        return []  # a shell that completes has no place for an error
    suffixed = [run for run in runs if run.id.startswith(incomplete) or run.id[-6:].startswith(incomplete)]
    return [CompletionItem(run.id, help=run.name) for run in suffixed[:_NUM_COMPLETED]]
