"""Writes docs/lint/: one page for each code of the lint, from the rule's docstring and its test case.

python tools/write_lint_docs.py          writes the pages
python tools/write_lint_docs.py --check  exits with 1 when a page is not up to date
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from footplate.errors import ProfileError
from footplate.profile.facts import DataFacts, DeviceFacts, Facts, Fault
from footplate.profile.findings import Finding
from footplate.profile.lint import RULES, LintResult, lint
from footplate.profile.load import load_profile_text

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "lint"
CASES = ROOT / "tests" / "unit" / "profile" / "lint_cases"

INACTIVE = (
    "A key asks for something that is not built yet",
    "warning, or error",
    """A key is set whose feature is not built yet.

The profile is valid and the key keeps its meaning, but nothing happens: whoever reads it believes in something that is
not there. The message says what happens instead. A protection that is declared (`compliance.*`, `federated.privacy`)
is an error: data that are believed to be protected and are not must never be trained on. So is a value that would have
to be replaced by another, such as an architecture.

To mend it, take the key out, or switch its section off with `enabled: false`.""",
)

UNREADABLE = (
    "The profile cannot be read",
    "error",
    """The file is no YAML, or a key is unknown, of another type or out of its range.

All such problems are reported at once, each with its line and, where a key or value was nearly right, the one that was
probably meant. Nothing else is checked before they are mended.

To mend it, do what the line says; `footplate explain KEY` tells what a key takes.""",
)
UNREADABLE_EXAMPLE = """training:
  batchsize: 64
  learning_rate: -0.1
model:
  architecture: transfomer
"""

BASE_DATA: dict[str, Any] = {
    "source": "train.npz",
    "num_train": 1437,
    "num_val": 180,
    "num_test": 180,
    "input_shape": [64],
    "input_dtype": "float64",
    "target_shape": [],
    "target_dtype": "int64",
    "classes": 10,
}
BASE_DEVICE: dict[str, Any] = {"host": "node1", "num_cpus": 8, "memory_gb": 16.0, "gpus": [], "disk_free_gb": 100.0}
BASE_VERSIONS = {"python": "3.11.2", "pytorch": "2.6.0"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A profile that has a fault, and one that nearly has it."""

    code: str
    profile: str
    facts: Facts
    says: tuple[str, ...]
    """What the message must contain."""
    clean: str
    clean_facts: Facts

    @property
    def line(self) -> int:
        """Return the line marked as that of the finding."""
        return next((i for i, text in enumerate(self.profile.splitlines(), 1) if text.endswith("# ←")), 0)

    @property
    def lines(self) -> tuple[int, ...]:
        """Return every marked line."""
        return tuple(i for i, text in enumerate(self.profile.splitlines(), 1) if "# ←" in text)

    def lint(self) -> LintResult:
        """Lint the profile that has the fault."""
        return lint_text(self.profile, self.facts, self.code)

    def lint_clean(self) -> LintResult:
        """Lint the profile that nearly has it."""
        return lint_text(self.clean, self.clean_facts, self.code)


def read_cases() -> list[Case]:
    """Read every case, in the order of the files."""
    cases = []
    for file in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text(encoding="utf-8")):
            cases.append(
                Case(
                    code=case["code"],
                    profile=case["profile"],
                    facts=make_facts(case.get("facts", {})),
                    says=tuple(str(text) for text in case["says"]),
                    clean=case["clean"],
                    clean_facts=make_facts(case.get("clean_facts", {})),
                )
            )
    return cases


def make_facts(changes: Mapping[str, Any]) -> Facts:
    """Return the facts of a small classification on a small machine, with changes; null takes a part away."""
    data = None if "data" in changes and changes["data"] is None else {**BASE_DATA, **changes.get("data", {})}
    device = None if "device" in changes and changes["device"] is None else {**BASE_DEVICE, **changes.get("device", {})}
    if data is not None:
        if isinstance(data["classes"], int):
            data["classes"] = [str(number) for number in range(data["classes"])]
        data = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    if device is not None:
        device["gpus"] = tuple((name, memory) for name, memory in device["gpus"])
    return Facts(
        data=None if data is None else DataFacts(**data),
        device=None if device is None else DeviceFacts(**device),
        versions=changes.get("versions", BASE_VERSIONS),
        missing_paths=tuple((key, path) for key, path in changes.get("missing_paths", ())),
        problems=tuple(Fault(*texts) for texts in changes.get("problems", ())),
        step_s=changes.get("step_s"),
        has_layers=changes.get("has_layers"),
    )


def lint_text(text: str, facts: Facts, code: str) -> LintResult:
    """Lint a piece of a profile; data to train on are added where the piece is about something else."""
    needs_data = code != "nothing-to-train" and "train_data" not in text and "entrypoint" not in text
    overrides = ["data.train_data=sklearn:digits"] if needs_data else []
    return lint(load_profile_text(text, name="footplate.yaml", overrides=overrides), facts)


def render_pages() -> dict[str, str]:
    """Return every page by its file name."""
    cases = {case.code: case for case in read_cases()}
    texts = {rule.code: (rule.title, str(rule.severity), inspect.getdoc(rule.check) or "") for rule in RULES}
    texts["inactive"] = INACTIVE
    pages = {f"{code}.md": _render_page(code, *text, cases[code]) for code, text in texts.items()}
    pages["profile.md"] = _render_unreadable()
    texts["profile"] = UNREADABLE
    pages["README.md"] = _render_index(texts)
    return pages


def _render_page(code: str, title: str, severity: str, text: str, case: Case) -> str:
    found = "\n\n".join(_show(finding) for finding in case.lint().findings if finding.code == code)
    pass_it = (
        f"\nTo start in spite of it, and have that recorded: `footplate train --allow {code}`.\n"
        if "error" in severity
        else ""
    )
    return (
        f"# {title}\n\nCode `{code}` · {severity}\n\n{text}\n{pass_it}\n## Example\n\n```yaml\n{case.profile}```\n\n"
        f"{_describe(case.facts)}\n\n```text\n{found}\n```\n\n[All codes](README.md)\n"
    )


def _render_unreadable() -> str:
    title, severity, text = UNREADABLE
    try:
        load_profile_text(UNREADABLE_EXAMPLE, name="footplate.yaml")
    except ProfileError as error:
        problems = error.message
    return (
        f"# {title}\n\nCode `profile` · {severity}\n\n{text}\n\n## Example\n\n```yaml\n{UNREADABLE_EXAMPLE}```\n\n"
        f"```text\n{problems}\n```\n\n[All codes](README.md)\n"
    )


def _show(finding: Finding) -> str:
    place = f"line {finding.line}: " if finding.line else ""
    return f"{finding.severity}: {place}{finding.path}\n  {finding.message}\n  fix: {finding.fix}"


def _describe(facts: Facts) -> str:
    parts = []
    if facts.data is not None:
        kind = f"{len(facts.data.classes)} classes" if facts.data.classes else "regression"
        parts.append(f"{facts.data.num_train:,} training samples of shape {list(facts.data.input_shape)} ({kind})")
    if facts.device is not None:
        gpus = f"{len(facts.device.gpus)} × {facts.device.gpus[0][0]}" if facts.device.gpus else "no GPU"
        parts.append(f"{facts.device.num_cpus} cores, {facts.device.memory_gb:g} GB and {gpus}")
    if facts.step_s is not None:
        parts.append(f"{facts.step_s * 1000:g} ms a step")
    return f"With {'; '.join(parts)}, the finding is:" if parts else "The finding is:"


def _render_index(texts: Mapping[str, tuple[str, str, str]]) -> str:
    lines = [
        "# What the lint finds",
        "",
        "`footplate validate` checks a profile before it costs anything. An *error* cannot work, or would silently do",
        "something else than declared, and stops `train`; a *warning* is very likely not what was meant; *advice*",
        "could be better. `footplate train --allow CODE` lets an error pass and records it. A rule that lacks a fact",
        "says `not checked`, and why.",
        "",
        "| code | severity | what it finds |",
        "|---|---|---|",
    ]
    for code, (title, severity, _) in sorted(texts.items()):
        lines.append(f"| [{code}]({code}.md) | {severity} | {title} |")
    lines += ["", "These pages are written by `tools/write_lint_docs.py` from the rules and their tests.", ""]
    return "\n".join(lines)


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page is out of date")
    check = parser.parse_args().check
    pages = render_pages()
    there = {file.name: file.read_text(encoding="utf-8") for file in PAGES.glob("*.md")}
    if check:
        stale = sorted(name for name in pages.keys() | there.keys() if pages.get(name) != there.get(name))
        print("\n".join(stale) or f"{len(pages)} pages are up to date")
        return 1 if stale else 0
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - pages.keys():
        (PAGES / name).unlink()
    for name, text in pages.items():
        (PAGES / name).write_text(text, encoding="utf-8")
    print(f"{len(pages)} pages written to {PAGES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
