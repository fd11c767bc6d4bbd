"""Writes the keys of a profile as YAML that reads back the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import yaml

from footplate.profile.yaml_reader import resolve_scalar

__all__ = ["write_yaml"]


def write_yaml(values: Mapping[str, Any]) -> str:
    """Return values as YAML, in their order; numbers stay as they were written."""
    return str(yaml.dump(dict(values), Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100))


class _Writer(yaml.SafeDumper):
    """Quotes what would read back as something else, by our own rules instead of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it
    yaml_representers: ClassVar[dict[Any, Any]] = {}
    yaml_multi_representers: ClassVar[dict[Any, Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's own signature
        """Return True: every value is written out."""
        return True

    def represent_value(self, data: Any) -> yaml.Node:
        """Return the node of any value of a profile."""
        if isinstance(data, Mapping):
            return self.represent_mapping(_MAP, dict(data))
        if isinstance(data, list | tuple):
            flow = not any(isinstance(item, Mapping | list | tuple) for item in data)
            return self.represent_sequence(_LIST, data, flow_style=flow)
        if isinstance(data, str):
            return self.represent_scalar(_TEXT, data, style=_choose_style(data))
        return self.represent_scalar(_TEXT, _write_scalar(data))


_TEXT, _LIST, _MAP = (f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))


def _choose_style(text: str) -> str | None:
    """Return `"` for what would read back as something else, `|` for lines of text, None for plain text."""
    if not text.replace("\n", "").isprintable() or resolve_scalar(text) is not text:
        return '"'
    return "|" if "\n" in text.strip() else None


def _write_scalar(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(getattr(value, "raw", None) or _write_number(value))


def _write_number(value: object) -> str:
    text = repr(value)
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)


_Writer.add_multi_representer(object, _Writer.represent_value)
