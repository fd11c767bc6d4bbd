"""``footplate explain``: what a key of the profile means and takes, and what a finding of the lint means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from footplate.cli.output import json_option, print_json, print_text, say
from footplate.cli.profile_options import DEFAULT_PROFILE, complete_key, with_examples

if TYPE_CHECKING:
    from footplate.errors import NotFoundError
    from footplate.profile.explain import KeyInfo

__all__ = ["command"]

_OTHER_CODES = {
    "profile": (
        "error",
        "The profile cannot be read",
        "The file is no YAML, or a key is unknown, of another type or out of its range. Nothing else is checked before "
        "that is mended.",
    ),
    "inactive": (
        "warning",
        "The feature of a key is not built yet",
        "The key is known and its value is kept, but nothing acts on it yet; the finding says what happens instead. "
        "For a protection (`compliance`, `federated.privacy`) it is an error: what is declared must be on.\n\n"
        "To mend it, take the key out, or wait for the version that has the feature.",
    ),
}
"""Codes of findings that no single rule makes: severity, title, text."""


@click.command("explain")
@click.argument("key", default="", shell_complete=complete_key)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a profile, for editors.")
@json_option
@with_examples(
    "footplate explain training.batch_size",
    "footplate explain decay-unreachable",
    "footplate explain --schema > footplate.schema.json",
)
def command(key: str, schema: bool, as_json: bool) -> None:
    """Explain KEY of a profile, or the CODE of a finding; without one, list the sections."""
    from footplate.profile.explain import all_keys

    if schema:
        from footplate.profile.schema import json_schema

        print_json(json_schema())
    elif not key:
        infos = all_keys()
        if as_json:
            print_json({"keys": [info.to_json() for info in infos]})
        else:
            _show_sections([info for info in infos if "." not in info.path])
    elif (about := _find_code(key)) is None or any(info.path == key for info in all_keys()):
        _explain_key(key, about, as_json=as_json)
    elif as_json:
        print_json(about)
    else:
        _show_code(about)


def _find_code(code: str) -> dict[str, Any] | None:
    """Return what is to be known about a finding's code, or None when there is no such code."""
    from inspect import cleandoc

    from footplate.profile.lint import RULES

    if code in _OTHER_CODES:
        severity, title, text = _OTHER_CODES[code]
        return {"code": code, "title": title, "severity": severity, "text": text, "keys": []}
    for rule in RULES:
        if rule.code == code:
            text = cleandoc(rule.check.__doc__ or "")
            about = {"code": code, "title": rule.title, "severity": str(rule.severity), "text": text}
            return {**about, "keys": list(rule.keys)}
    return None


def _show_code(about: dict[str, Any]) -> None:
    from footplate.runs.plan_text import wrap

    for line in wrap(f"{about['code']} ({about['severity']}): {about['title']}", hang=2):
        print_text(line)
    for paragraph in about["text"].split("\n\n"):
        print_text("")
        for line in wrap(paragraph, indent=2):
            print_text(line)
    if about["keys"]:
        print_text("")
        for line in wrap("Keys: " + ", ".join(about["keys"]), indent=2, hang=6):
            print_text(line)


def _explain_key(key: str, about: dict[str, Any] | None, *, as_json: bool) -> None:
    """Explain a key; a few findings have a section's name as their code, and are explained with it."""
    from footplate.errors import NotFoundError
    from footplate.profile.explain import all_keys, find_key

    try:
        info = find_key(key)
    except NotFoundError as error:
        raise _make_not_found(key, error) from error
    value, place = _find_value(info)
    if as_json:
        print_json({**info.to_json(), "value": value, "place": place} | ({"finding": about} if about else {}))
        return
    if info.is_section:
        inside = {name.rpartition(".")[2]: name for name in info.keys}
        _show_section(info, [child for child in all_keys() if child.path in inside.values()])
    else:
        _show_key(info, value, place)
    if about is not None:
        print_text("As the code of a finding:\n")
        _show_code(about)


def _make_not_found(key: str, error: NotFoundError) -> NotFoundError:
    """Return the error with the finding's code that was probably meant, where no key is nearer."""
    from difflib import get_close_matches

    from footplate.errors import NotFoundError
    from footplate.profile.lint import RULES

    if not error.message.startswith("there is no key"):
        return error
    codes = get_close_matches(key, [*(rule.code for rule in RULES), *_OTHER_CODES], 1, 0.8)
    keys = error.hint.startswith("did you mean")
    hint = error.hint if keys else f"did you mean {codes[0]}?" if codes else "`footplate explain` lists the sections"
    return NotFoundError(f"{error.message}, and no finding of that code", hint=hint)


def _find_value(info: KeyInfo) -> tuple[Any, str]:
    """Return the value in ``footplate.yaml`` here and where it stands; nothing when there is no such file."""
    from footplate.errors import ProfileError
    from footplate.profile.load import load_profile

    if info.is_section or not Path(DEFAULT_PROFILE).is_file():
        return None, ""
    try:
        profile = load_profile(DEFAULT_PROFILE)
    except ProfileError:
        say(f"{DEFAULT_PROFILE} cannot be read as it is; `footplate validate` says why")
        return None, ""
    value: Any = profile
    for name in info.path.split("."):
        value = getattr(value, name)
    where = profile.where(info.path)
    return value, str(where) if where else ""


def _show_key(info: KeyInfo, value: Any, place: str) -> None:
    from footplate.runs.plan_text import wrap

    print_text(info.path)
    for line in wrap(info.description, indent=2):
        print_text(line)
    print_text("")
    rows = [("type", info.type), ("unit", info.unit), ("range", info.range), ("default", _write(info.default))]
    if place:
        rows.append(("yours", f"{_write(value)}  ({place})"))
    if info.status != "active" or info.reason:
        rows.append(("status", _describe_status(info)))
    for title, text in rows:
        if text:
            first, *rest = wrap(text, indent=11)
            print_text("\n".join([f"  {title:<9}{first.strip()}", *rest]))


def _describe_status(info: KeyInfo) -> str:
    if info.status == "recorded":
        return "recorded with the run; does nothing else"
    return f"inactive: {info.reason}" if info.status == "inactive" else f"active, but {info.reason}"


def _write(value: Any) -> str:
    if isinstance(value, str):
        return value if value else '""'
    return json.dumps(value, ensure_ascii=False, default=str)


def _show_section(info: KeyInfo, children: list[KeyInfo]) -> None:
    from footplate.runs.plan_text import wrap

    for line in [info.path, *wrap(info.description, indent=2), ""]:
        print_text(line)
    width = max(len(child.path) - len(info.path) for child in children)
    for child in children:
        name = child.path[len(info.path) + 1 :]
        about = "section" if child.is_section else f"{_write(child.default)}"
        mark = "" if child.status == "active" else f"  ({child.status})"
        print_text(f"  {name:<{width}} {about}{mark}")
    print_text("")
    say("name: default. `footplate explain SECTION.KEY` tells more")


def _show_sections(sections: list[KeyInfo]) -> None:
    width = max(len(info.path) for info in sections) + 2
    for info in sections:
        text = info.description.split(". ")[0].rstrip(".")
        line = f"{info.path:<{width}}{text}"
        print_text(line if len(line) <= 80 else line[:79] + "…")
    say("\n`footplate explain SECTION` lists its keys, SECTION.KEY explains one")
