"""Writes the reference pages of docs/ from the code: keys, command line, errors; `--check` only compares."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import get_args

import click

import footplate.errors
from footplate.cli import PURPOSES, VERBS
from footplate.errors import FootplateError
from footplate.profile.architectures import ARCHITECTURES, HUGGING_FACE, INPUT_WORDS, Architecture
from footplate.profile.explain import KeyInfo, all_keys
from footplate.profile.facts import TaskKind

__all__ = ["FOLDER", "PAGES"]

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
_MARK = "<!-- Written by tools/write_docs.py from the code; `make docs` writes it again. -->"


@dataclass(frozen=True)
class Group:
    """A section and the keys directly in it."""

    name: str
    description: str
    keys: list[KeyInfo]


def render_keys() -> str:
    """Return the page of all keys, one table for each section."""
    keys = all_keys()
    top = Group("The profile itself", "", [key for key in keys if "." not in key.path and not key.is_section])
    groups = [top, *(Group(key.path, key.description, find_children(keys, key.path)) for key in keys if key.is_section)]
    lines = [
        "# Keys of a profile",
        "",
        _MARK,
        "",
        "`footplate explain KEY` shows the same. *Inactive*: not built yet; the key is read and checked, has no",
        "effect, and `validate` says so (an error for protections). *Recorded*: a declaration, kept with the run.",
        "",
        "Sections: " + " · ".join(f"[`{group.name}`](#{to_anchor(group.name)})" for group in groups[1:]),
        "",
    ]
    for group in groups:
        lines += render_group(group)
    return "\n".join(lines).rstrip() + "\n"


def find_children(keys: list[KeyInfo], section: str) -> list[KeyInfo]:
    return [key for key in keys if key.path.rpartition(".")[0] == section and not key.is_section]


def render_group(group: Group) -> Iterator[str]:
    title = f"`{group.name}`" if group.description else group.name
    yield from (f"## {title}", "")
    if group.description:
        yield from (group.description, "")
    if not group.keys:
        return
    yield from ("| key | takes | default | what it does |", "|---|---|---|---|")
    for key in group.keys:
        takes = key.type + (f", {key.range}" if key.range else "") + (f" ({key.unit})" if key.unit else "")
        marks = "" if key.status == "active" else f" *{key.status.capitalize()}*"
        marks += f": {key.reason}." if key.reason and key.status == "inactive" else ("." if marks else "")
        marks += f" Not yet: {key.reason}." if key.reason and key.status != "inactive" else ""
        name = key.path.rpartition(".")[2]
        default = "null" if key.default is None else json.dumps(key.default, ensure_ascii=False)
        yield f"| `{name}` | {escape(takes)} | `{escape(default)}` | {escape(key.description + marks)} |"
    yield ""


def render_cli() -> str:
    """Return the page of all verbs with their options, as click knows them."""
    lines = [
        "# Command line",
        "",
        _MARK,
        "",
        "stdout is data, stderr is talk. `footplate.yaml` in the current directory is every verb's default profile.",
        "A unique prefix of a run id, or of its last six characters, is enough wherever a RUN is asked for.",
        "",
    ]
    for purpose, names in PURPOSES.items():
        lines.append(f"{purpose}: " + " · ".join(f"[`{name}`](#footplate-{name})" for name in names) + "  ")
    for name in (name for names in PURPOSES.values() for name in names):
        lines += ["", f"## `footplate {name}`", "", *render_verb(name)]
        while not lines[-1]:
            lines.pop()
    return "\n".join(lines).rstrip() + "\n"


def render_verb(name: str) -> Iterator[str]:
    module, _, attribute = VERBS[name][0].partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    context = click.Context(command, info_name=f"footplate {name}")
    yield VERBS[name][1] + "."
    yield from ("", "```", command.get_usage(context).removeprefix("Usage: ").strip(), "```", "")
    yield from render_help(command.help or "")
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    records = [record for record in records if record[1]]  # an argument is explained by the text above
    if records:
        yield from ("| option | what it does |", "|---|---|")
        yield from (f"| `{escape(option)}` | {escape(' '.join(text.split()))} |" for option, text in records)
        yield ""
    if command.epilog:
        yield from (" ".join(inspect.cleandoc(command.epilog).split()), "")


def render_help(text: str) -> Iterator[str]:
    """Yield a help text as markdown: click's unwrapped paragraphs and indented lines are examples."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text).replace("\f", "")):
        lines = paragraph.splitlines()
        if lines[0].strip() == "\b" or all(line.startswith(" ") for line in lines):
            examples = [line.strip() for line in lines if line.strip() != "\b"]
            yield from ("```", *examples, "```", "")
        else:
            yield from (" ".join(line.strip() for line in lines), "")


def render_errors() -> str:
    """Return the page of all errors: their tree, their meaning, the exit codes."""
    text = inspect.getdoc(footplate.errors) or ""
    lines = [
        "# Errors and exit codes",
        "",
        _MARK,
        "",
        "An error says what happened and where; `hint:` says what to do. From Python each is a class in `footplate`",
        "with `message`, `hint` and `exit_code`.",
        "",
        "```",
        text[text.index("FootplateError") :],
        "```",
        "",
        "| error | exit code | meaning |",
        "|---|---|---|",
    ]
    for name in footplate.errors.__all__:
        error: type[FootplateError] = getattr(footplate.errors, name)
        meaning = " ".join((inspect.getdoc(error) or "").replace("``", "`").split())
        lines.append(f"| `{name}` | {error.exit_code} | {escape(meaning)} |")
    lines += ["", "## Exit codes of the command line", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    lines += ["", "## Exit codes of a job", "", "What a command says with them when it ends; all others mean 1.", ""]
    lines += ["| code | name | meaning |", "|---|---|---|"]
    record = import_module("footplate.record.exit_codes")
    codes = sorted((getattr(record, name), name) for name in record.__all__)
    lines += [f"| {code} | `{name}` | {JOB_EXIT_CODES[name]} |" for code, name in codes]
    return "\n".join(lines) + "\n"


def render_architectures() -> str:
    """Return the page of all architectures: what each learns, takes and is set by."""
    tasks = get_args(TaskKind)
    lines = [
        "# Architectures",
        "",
        _MARK,
        "",
        "`model.architecture` takes one of these, or [a class of yours](../guides/own-model.md), for which nothing is",
        "excluded. When to choose which is told in [the guide](../guides/architectures.md).",
        "",
        f"| architecture | what it is | {' | '.join(f'`{task}`' for task in tasks)} |",
        f"|---|---|{'---|' * len(tasks)}",
    ]
    every: dict[str, Architecture] = {**ARCHITECTURES, "hf:PATH": HUGGING_FACE}
    for name, entry in every.items():
        marks = ("yes" if task in entry.tasks else "—" for task in tasks)
        lines.append(f"| `{name}` | {entry.title} | {' | '.join(marks)} |")
    lines += ["", "What comes out for each sample, by the task:", "", "| task | outputs |", "|---|---|"]
    lines += [f"| `{task}` | {OUTPUTS[task]} |" for task in tasks]
    lines += ["", "| architecture | takes | keys of `model` |", "|---|---|---|"]
    for name, entry in every.items():
        takes = "; ".join(INPUT_WORDS[kind] for kind in entry.inputs)
        keys = ", ".join(f"`{key}`" for key in entry.keys) or "none: its config.json decides"
        lines.append(f"| `{name}` | {takes} | {keys} |")
    return "\n".join(lines) + "\n"


OUTPUTS = {
    "classification": "[K]: a logit for each class",
    "regression": "as many numbers as a target has",
    "multi_label": "[K]: a logit for each label",
    "sequence": "[L, K]: a logit for each class at each position",
    "language_model": "[L, V]: a logit for each token that may come next, at each position",
    "segmentation": "[K, H, W]: a logit for each class at each pixel",
}
EXIT_CODES = {
    0: "done",
    1: "the run failed, or Footplate could not do its work",
    2: "bad input: the profile, the data, the command, the name of a run; nothing was started",
    75: "checkpointed: run it again and it goes on",
    130: "interrupted: Ctrl-C, or the run was cancelled",
}
JOB_EXIT_CODES = {
    "DONE": "done",
    "FAILED": "failed",
    "CONFIG_ERROR": "the configuration or the data are wrong; trying again cannot help",
    "CHECKPOINTED": "everything is saved; run it again and it goes on",
    "OUT_OF_MEMORY": "out of memory",
    "NOT_STARTED": "the command is not there or cannot be started",
    "INTERRUPTED": "stopped by a signal in good order",
}


def escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_anchor(title: str) -> str:
    """Return the anchor that GitHub makes of a title."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


PAGES: dict[str, Callable[[], str]] = {
    "keys.md": render_keys,
    "cli.md": render_cli,
    "errors.md": render_errors,
    "architectures.md": render_architectures,
}


def main(*, check: bool) -> int:
    """Write the pages, or with `check` only say which are out of date."""
    stale = [name for name, render in PAGES.items() if read(name) != render()]
    if check:
        print("\n".join(f"{name} is out of date: make docs" for name in stale) or "all pages are up to date")
        return int(bool(stale))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote {name}")
    return 0


def read(name: str) -> str:
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
