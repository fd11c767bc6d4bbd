"""The command line: one small file per verb, loaded only when its verb is typed."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

import click
from click.shell_completion import CompletionItem

from footplate.cli.output import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    say,
    show_bug,
    show_error,
)
from footplate.errors import FootplateError, InputError

__all__ = ["PURPOSES", "VERBS", "main"]

# The module of a verb has a click command named ``command``. The help text stands here so that `--help` loads no verb.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("footplate.cli.init:command", "Write a commented profile for this machine and data"),
    "validate": ("footplate.cli.validate:command", "Check a profile: every problem at once, with its line"),
    "explain": ("footplate.cli.explain:command", "Say what a key of the profile means and takes"),
    "plan": ("footplate.cli.plan:command", "Show what would run, with its arithmetic; runs nothing"),
    "train": ("footplate.cli.train:command", "Train from a profile, here and now"),
    "run": ("footplate.cli.run:command", "Run your own command and record it"),
    "resume": ("footplate.cli.resume:command", "Go on with a run that has ended before its time"),
    "rerun": ("footplate.cli.rerun:command", "Run a recorded run again, with its exact code"),
    "drill": ("footplate.cli.drill:command", "Prove that a training survives being killed"),
    "replay": ("footplate.cli.replay:command", "Do one step of a run again, looked at closely"),
    "runs": ("footplate.cli.runs:command", "List runs, newest first"),
    "status": ("footplate.cli.status:command", "Say how a run is doing, and how that is known"),
    "logs": ("footplate.cli.logs:command", "Print what a run has printed; -f follows it"),
    "compare": ("footplate.cli.compare:command", "Say what differs between runs"),
    "best": ("footplate.cli.best:command", "Name the best run of an experiment"),
    "report": ("footplate.cli.report:command", "Show the report of a run"),
    "sync": ("footplate.cli.sync:command", "Tell trackers what they have not been told yet"),
    "import": ("footplate.cli.import_runs:command", "Bring runs of MLflow here, as runs like all others"),
    "rm": ("footplate.cli.rm:command", "Remove runs and their directories"),
    "completion": ("footplate.cli.completion:command", "Print the completion script of your shell"),
}

PURPOSES: dict[str, tuple[str, ...]] = {
    "Ask": ("init", "validate", "explain", "plan"),
    "Do": ("train", "run", "resume", "rerun"),
    "See": ("runs", "status", "logs", "report", "compare", "best", "sync"),
    "Prove": ("drill", "replay"),
    "Tidy": ("import", "rm", "completion"),
}

_COMPLETE_VARIABLE = "_FOOTPLATE_COMPLETE"


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    0 done · 1 the run failed · 2 bad input · 75 checkpointed, run it again · 130 interrupted.
    """
    words = list(sys.argv[1:] if args is None else args)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path or a locale that is no Unicode ends no verb
    as_json = "--json" in (words[: words.index("--")] if "--" in words else words)
    try:
        code = _invoke(words)
        sys.stdout.flush()
    except FootplateError as error:
        code = _tell(error, as_json=as_json)
    except click.ClickException as error:
        code = _tell(_to_input_error(error), as_json=as_json)
    except (click.exceptions.Abort, KeyboardInterrupt):
        say("interrupted")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        _close_stdout()  # the reader has seen enough (`footplate runs | head`)
        code = EXIT_OK
    except Exception as error:  # noqa: BLE001  # the last place where anything can still be told
        if _is_somewhere():
            show_bug(error)
            code = EXIT_FAILED
        else:
            gone = InputError("the current directory is gone", hint="cd to one that is there")
            code = _tell(gone, as_json=as_json)
    return code


def _invoke(words: list[str]) -> int:
    if _COMPLETE_VARIABLE in os.environ:
        _GROUP.main(words, prog_name="footplate", complete_var=_COMPLETE_VARIABLE)
    try:
        with _GROUP.make_context("footplate", words or ["--help"]) as context:
            result = _GROUP.invoke(context)
    except click.exceptions.Exit as end:
        return int(end.exit_code)
    return result if isinstance(result, int) else EXIT_OK


def _is_somewhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _tell(error: FootplateError, *, as_json: bool) -> int:
    try:
        show_error(error, as_json=as_json)
    except BrokenPipeError:
        _close_stdout()
    return error.exit_code


def _to_input_error(error: click.ClickException) -> InputError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "footplate"
    hint = getattr(error, "hint", "") or f"see `{path} --help`"
    shown = InputError(error.format_message(), hint=hint)
    shown.exit_code = EXIT_BAD_INPUT
    return shown


def _close_stdout() -> None:
    # Python flushes stdout once more at exit; it then writes to nowhere instead of complaining.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


class _UnknownVerbError(click.UsageError):
    """A verb that does not exist; carries its own hint."""

    def __init__(self, name: str, ctx: click.Context) -> None:
        super().__init__(f"there is no verb {name!r}", ctx)
        near = difflib.get_close_matches(name, VERBS, n=1, cutoff=0.5)
        self.hint = f"did you mean `footplate {near[0]}`?" if near else "see `footplate --help` for all verbs"


class _LazyGroup(click.Group):
    """A group that knows its verbs from the table and loads one when it is typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise _UnknownVerbError(args[0], ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for purpose, names in PURPOSES.items():
            with formatter.section(purpose):
                formatter.write_dl([(f"{name:<10}", VERBS[name][1]) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=VERBS[name][1]) for name in VERBS if name.startswith(incomplete)]


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from footplate import __version__

        click.echo(f"footplate {__version__}")
        ctx.exit()


_GROUP = _LazyGroup(
    name="footplate",
    help="One file describes a training, one command runs it: checked first, recorded, explainable.",
    epilog="`footplate VERB --help` tells more. Every verb takes --json. A unique prefix of a run id is enough.",
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version.",
        )
    ],
)
