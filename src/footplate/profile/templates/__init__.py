"""Templates of profiles, filled from this machine and from the data, and the scripts that go with them."""

from __future__ import annotations

import string
from importlib import resources
from pathlib import Path

from footplate.errors import InputError, NotFoundError
from footplate.profile.facts import DeviceFacts
from footplate.profile.templates.blocks import TableLike, choose_architecture, render_blocks

__all__ = ["TEMPLATES", "TableLike", "choose_architecture", "render_scripts", "render_template"]

TEMPLATES = ("quickstart", "hpc", "workstation", "embedded", "script")
"""Names of the templates."""

_SCRIPTS = {
    "tools/validate_config.py": "validate_config.py",
    "scripts/train_hpc.sh": "train_hpc.sh",
    "train.py": "train.py",
}


class _Template(string.Template):
    """A text with ``%%{name}`` to fill in; ``${env:NAME}`` stays as it is."""

    delimiter = "%%"


def render_template(
    name: str, *, machine: DeviceFacts | None = None, table: TableLike | None = None, data_path: str = ""
) -> str:
    """Return a template as YAML with comments.

    Args:
        name: one of ``TEMPLATES``.
        machine: fills in cores and GPUs; None leaves them as comments.
        table: fills in task, columns, shapes and architecture; None takes the handwritten digits.
        data_path: where that data lies, as it shall stand in the profile.

    """
    if name not in TEMPLATES:
        raise NotFoundError(f"there is no template {name}", hint=f"the templates are {', '.join(TEMPLATES)}")
    if table is not None and name == "script":
        raise InputError("the template script takes no data; your script reads its own", hint="leave --data out")
    return _Template(_read(f"{name}.yaml")).substitute(render_blocks(name, machine, table, data_path))


def render_scripts(profile: Path | str = "footplate.yaml") -> dict[str, str]:
    """Return the scripts of `init --scripts` by the path they belong to; ``profile`` is what they take by default."""
    return {path: _read(f"scripts/{name}").replace("footplate.yaml", str(profile)) for path, name in _SCRIPTS.items()}


def _read(name: str) -> str:
    return (resources.files(__name__) / name).read_text(encoding="utf-8")
