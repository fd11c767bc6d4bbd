"""The parameters of a run: what its resolved profile says, under dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from footplate.record.journal_reader import read_logged_params
from footplate.record.redact import read_redactor
from footplate.record.rundir import RunDir

__all__ = ["flatten", "read_params", "read_profile_values"]


def read_params(run: RunDir) -> dict[str, Any]:
    """Return the keys of the resolved profile, such as ``training.learning_rate``; without one, what was logged."""
    values = read_profile_values(run)
    return flatten(values) if values else read_logged_params(run)


def read_profile_values(run: RunDir) -> Mapping[str, Any]:
    """Return the resolved profile as nested mappings; empty where there is none that can be read.

    Personal data are left out of it where the profile asks for that.
    """
    try:
        text = (run.path / "profile.yaml").read_text(encoding="utf-8", errors="replace")
        loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
        value = yaml.load(text, Loader=loader)  # noqa: S506  # a safe loader, either way
    except (OSError, yaml.YAMLError):
        return {}
    if not isinstance(value, Mapping):
        return {}
    redactor = read_redactor(run)
    return value if redactor is None else redactor.clean(value)


def flatten(values: Mapping[str, Any], front: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted names; lists stay what they are."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{front}{name}.")
        else:
            flat[f"{front}{name}"] = value
    return flat
