"""footplate completion: print what a shell needs to complete verbs, options and run ids."""

from __future__ import annotations

import os
from pathlib import PurePath

import click
from click.shell_completion import get_completion_class

from footplate.cli.output import json_option, print_json, print_text
from footplate.errors import InputError

__all__ = ["command"]

_SHELLS = ("bash", "zsh", "fish")


_HELP = """Print the completion script of a shell, by default of yours.

\b
bash  footplate completion bash >
        ~/.local/share/bash-completion/completions/footplate
zsh   footplate completion zsh > ~/.zfunc/_footplate
        (with fpath+=~/.zfunc before compinit)
fish  footplate completion fish >
        ~/.config/fish/completions/footplate.fish

Verbs, options and run ids are completed.
"""


@click.command("completion", help=_HELP)
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@json_option
@click.pass_context
def command(context: click.Context, shell: str | None, as_json: bool) -> None:
    """Print the completion script of a shell."""
    chosen = shell or PurePath(os.environ.get("SHELL", "")).name
    if chosen not in _SHELLS:
        raise InputError("which shell?", hint=f"footplate completion {'|'.join(_SHELLS)}")
    make = get_completion_class(chosen)
    if make is None:
        raise InputError(f"there is no completion for {chosen}", hint=f"footplate completion {'|'.join(_SHELLS)}")
    script = make(context.find_root().command, {}, "footplate", "_FOOTPLATE_COMPLETE").source()
    if as_json:
        print_json({"shell": chosen, "script": script})
    else:
        print_text(script)
