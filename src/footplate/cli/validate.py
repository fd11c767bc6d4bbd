"""``footplate validate``: every problem of a profile at once, each with its line, its reason and what mends it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from footplate.cli.output import EXIT_BAD_INPUT, EXIT_OK, json_option, print_json, print_text, say
from footplate.cli.profile_options import profile_argument, set_option, with_examples
from footplate.errors import ProfileError

__all__ = ["command"]

_PROBLEM = re.compile(r"(?P<file>.*?):(?:(?P<line>\d+):)? (?:(?P<path>[A-Za-z_][\w.]*): )?(?P<message>.*)", re.DOTALL)


@click.command("validate")
@profile_argument
@set_option
@click.option(
    "--on",
    default="here",
    metavar="WHERE",
    show_default=True,
    help="The machine that paths and devices belong to; of another one they are not checked yet.",
)
@json_option
@with_examples("footplate validate", "footplate validate my.yaml --set training.max_epochs=5")
def command(profile: Path, overrides: tuple[str, ...], on: str, as_json: bool) -> int:
    """Check PROFILE against its keys, its data and this machine; exit 2 when there is an error."""
    from footplate.profile.facts import Facts
    from footplate.profile.lint import lint
    from footplate.profile.load import load_profile
    from footplate.runs.inspect import inspect

    try:
        loaded = load_profile(profile, overrides=overrides)
    except ProfileError as error:
        if not as_json:
            raise
        print_json({"findings": [_to_finding(text) for text in error.problems or (error.message,)], "not_checked": []})
        return EXIT_BAD_INPUT
    facts = inspect(loaded) if on == "here" else Facts(not_checked=(_say_far_away(on),))
    checked = lint(loaded, facts)
    findings = [finding.to_json() for finding in checked.findings]
    not_checked = list(dict.fromkeys([*checked.not_checked, *facts.not_checked]))
    if as_json:
        print_json({"findings": findings, "not_checked": not_checked})
    else:
        _show(str(profile), findings, not_checked)
    return EXIT_BAD_INPUT if any(finding["severity"] == "error" for finding in findings) else EXIT_OK


def _say_far_away(place: str) -> str:
    return f"paths, data, devices and versions: they are those of {place}, which cannot be looked at from here yet"


def _to_finding(problem: str) -> dict[str, object]:
    """Return a problem of loading in the form of a finding."""
    from footplate.profile.findings import Finding, Severity

    match = _PROBLEM.fullmatch(problem)
    path, line, message = ("", 0, problem)
    if match is not None:
        path, line, message = match["path"] or "", int(match["line"] or 0), match["message"]
    return Finding(code="profile", severity=Severity.error, path=path, line=line, message=message, fix="").to_json()


def _show(name: str, findings: Sequence[Mapping[str, Any]], not_checked: Sequence[str]) -> None:
    from footplate.runs.plan_text import count_findings, render_findings, render_not_checked

    for line in [*render_findings(findings), *render_not_checked(not_checked)]:
        print_text(line)
    if findings:
        print_text(f"\n{name}: {count_findings(findings)}")
        say("more about the first: " + findings[0]["page"])
        say(f"  `footplate explain {findings[0]['code']}` shows it; so for each code and key")
    else:
        print_text(f"{name}: nothing found" + (", as far as it could be checked" if not_checked else ""))
