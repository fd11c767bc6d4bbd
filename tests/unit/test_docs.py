"""Checks that everything a person can type, see or get is documented, and that the pages are true to the code."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
import pytest
import write_docs

import footplate.errors
from footplate.cli import VERBS
from footplate.profile.explain import all_keys
from footplate.profile.findings import Severity
from footplate.record import exit_codes
from footplate.record.receipt import Receipt
from footplate.record.run_info import RunInfo
from footplate.record.state import Cause, RunState, Status

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
)

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def list_links(page: Path) -> list[str]:
    links: list[str] = LINK.findall(without_code(page.read_text(encoding="utf-8")))
    return [link for link in links if not link.startswith(("http://", "https://", "mailto:"))]


@pytest.mark.parametrize("name", sorted(write_docs.PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert read(f"reference/{name}") == write_docs.PAGES[name](), "run `make docs`"


def test_every_key_says_what_it_does() -> None:
    assert not [key.path for key in all_keys() if not key.description.endswith((".", ")", "`"))]
    page = read("reference/keys.md")
    shown = {key.path: key.path if key.is_section else key.path.rpartition(".")[2] for key in all_keys()}
    assert not [path for path, name in shown.items() if f"`{name}`" not in page]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_and_option_says_what_it_does(verb: str) -> None:
    module, _, attribute = VERBS[verb][0].partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    page = read("reference/cli.md")
    assert f"## `footplate {verb}`" in page
    assert command.help
    assert "\\b" not in command.help, "click's mark is the character \\b: the docstring must not be raw"
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, f"{verb} {option.opts[0]} has no help"
            assert option.opts[-1] in page


def test_every_verb_takes_json_and_help_fits_80_columns() -> None:
    for verb, (place, _) in VERBS.items():
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        assert any("--json" in parameter.opts for parameter in command.params), verb
        context = click.Context(command, info_name=f"footplate {verb}", max_content_width=80, terminal_width=80)
        assert max(len(line) for line in command.get_help(context).splitlines()) <= 80, verb


def test_every_error_and_exit_code_is_documented() -> None:
    page = read("reference/errors.md")
    assert not [name for name in footplate.errors.__all__ if f"`{name}`" not in page]
    assert not [name for name in exit_codes.__all__ if f"| {getattr(exit_codes, name)} | `{name}` |" not in page]
    output = import_module("footplate.cli.output")
    for name in (name for name in output.__all__ if name.startswith("EXIT_")):
        assert re.search(rf"^\| {getattr(output, name)} \| [a-z]", page, re.MULTILINE), name


def test_every_state_and_cause_is_documented() -> None:
    page = read("guides/run-directory.md")
    assert not [word for word in [*RunState, *Cause] if f"| `{word}` |" not in page]


@pytest.mark.parametrize("kind", [Receipt, RunInfo])
def test_every_key_of_the_record_is_documented(kind: type) -> None:
    page = read("guides/run-directory.md")
    assert not [field.name for field in fields(kind) if f"`{field.name}`" not in page]


def test_every_status_key_and_severity_is_documented() -> None:
    page = read("reference/json.md")
    assert not [field.name for field in fields(Status) if f"`{field.name}`" not in page]
    assert not [word for word in Severity if f"`{word}`" not in page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for link in list_links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in list_anchors(target)):
            wrong.append(link)
    assert not wrong


def list_anchors(page: Path) -> set[str]:
    text = without_code(page.read_text(encoding="utf-8"))
    return {write_docs.to_anchor(title.strip()) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in list_links(page)]
    assert not [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page not in seen]


def test_no_prose_is_wider_than_a_screen() -> None:
    """Tables and links may be; a paragraph that nobody can read in a terminal may not."""
    wrong = []
    for page in PAGES:
        if page.parent.name in ("reference", "lint"):
            continue
        for number, line in enumerate(without_code(page.read_text(encoding="utf-8")).splitlines(), start=1):
            if len(line) > 120 and not line.startswith("|") and "](" not in line:
                wrong.append(f"{page.relative_to(ROOT)}:{number}")
    assert not wrong


def test_examples_in_the_docs_are_well_formed() -> None:
    for page in PAGES:
        for text in re.findall(r"^```json\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in [text] if text.startswith(("{\n", "[\n")) else text.splitlines():
                json.loads(line)
