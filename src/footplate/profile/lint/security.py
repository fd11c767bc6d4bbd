"""Rules about what must not stand in a file."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Hit, Rule
from footplate.profile.model import Profile
from footplate.profile.secrets import looks_like_credential

__all__ = ["RULES"]


def check_credential(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A secret is written into the profile.

    A profile is recorded with each run, sent to trackers and kept in version control: whoever can read one of them can
    use the secret. It is never shown here.

    To mend it, write a reference, `${env:NAME}` or `${file:PATH}`, which is resolved when the job starts. What has
    stood in a file must be replaced by a new secret.
    """
    for path, text in _walk(profile.model_dump(exclude_unset=True), ""):
        name = re.sub(r"\.\d+$", "", path)
        if kind := looks_like_credential(text, name=name):
            variable = re.sub(r"\W+", "_", name.rpartition(".")[2]).upper()
            yield Hit(
                path=name,
                at=path,
                message=f"looks like {kind}; secrets are references, never values",
                fix=f"write ${{env:{variable}}}, export {variable}, and have a new secret made",
            )


def _walk(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of every text in the profile."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _walk(below, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            yield from _walk(below, f"{path}.{number}")


RULES = (
    Rule(
        code="credential",
        title="A secret stands in the profile",
        severity=Severity.error,
        check=check_credential,
    ),
)
