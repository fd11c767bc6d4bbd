"""Runs what README, guides and examples show, as a reader would: files are written, commands typed, output compared.

Each page has a directory of its own; an example's is a copy of it. A block with a first line `# file: NAME` is
written to that file. In a `console` block each line that starts with `$ ` is typed into a shell; the lines below it
must all come out, in their order, where `…` stands for any text. An HTML comment before a block changes what is
expected: `<!-- exit 2 -->`, or `<!-- not run: reason -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
FILE = re.compile(r"# file: (\S+)\n")


@dataclass(frozen=True)
class Typed:
    """One command and the output that the page shows below it."""

    command: str
    shown: tuple[str, ...]


def list_typed(text: str) -> Iterator[Typed]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
        shown = tuple(line.rstrip() for line in lines[end + 1 :] if line.strip())
        yield Typed("\n".join(lines[: end + 1]), shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    if page.parent.parent.name == "examples":
        shutil.copytree(page.parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        mark, text = block["mark"] or "", block["text"]
        if mark.startswith("not run: "):
            continue
        if file := FILE.match(text):
            target = tmp_path / file[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text[file.end() :], encoding="utf-8")
        elif block["language"] == "console":
            wanted = int(mark.removeprefix("exit ")) if mark else 0
            for typed in list_typed(text):
                check(typed, wanted, tmp_path)
        else:
            assert not mark, f"{mark}: says nothing about a block that is not run"


def check(typed: Typed, wanted: int, cwd: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", typed.command],  # a page shows what is typed into a shell
        cwd=cwd,
        env={**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == wanted, f"$ {typed.command}\nended with {done.returncode}:\n{done.stdout}"
    lines = iter(done.stdout.splitlines())
    for shown in typed.shown:
        pattern = ".*".join(re.escape(part) for part in shown.split("…"))
        assert any(re.fullmatch(pattern, line.rstrip()) for line in lines), (
            f"$ {typed.command}\nno {shown!r} in\n{done.stdout}"
        )


def test_every_page_shows_something_that_is_run() -> None:
    unmarked = [
        [block["language"] for block in BLOCK.finditer(page.read_text(encoding="utf-8")) if not block["mark"]]
        for page in PAGES
    ]
    assert not [page.name for page, languages in zip(PAGES, unmarked, strict=True) if "console" not in languages]
