"""Templates of profiles, filled from this machine and from the data."""

from __future__ import annotations

from importlib import resources
from typing import Any

from footplate.errors import NotFoundError
from footplate.profile.facts import DeviceFacts

__all__ = ["TEMPLATES", "render_template"]

TEMPLATES = ("quickstart", "hpc", "workstation", "embedded", "script")
"""Names of the templates."""


def render_template(name: str, *, machine: DeviceFacts | None = None, table: Any = None, data_path: str = "") -> str:
    """Return a template as YAML with comments."""
    if name not in TEMPLATES:
        raise NotFoundError(f"there is no template {name!r}", hint=f"the templates are {', '.join(TEMPLATES)}")
    return (resources.files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")
