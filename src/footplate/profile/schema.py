"""Writes the profile's JSON Schema, with which editors complete and check a profile while it is typed."""

from __future__ import annotations

from typing import Any

from footplate.profile.explain import KeyInfo, all_keys
from footplate.profile.fields import Known
from footplate.profile.keys import Key, Kind, get_key_tree

__all__ = ["json_schema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_LIMITS = {"≥": "minimum", ">": "exclusiveMinimum", "≤": "maximum", "<": "exclusiveMaximum"}
_TYPES: dict[str, list[str]] = {
    "whole": ["integer"],
    "number": ["number"],
    "text": ["string", "number"],
    "bool": ["boolean"],
    "duration": ["string", "number"],
    "size": ["string", "number"],
    "list": ["array"],
    "mapping": ["object"],
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a profile.

    Put ``# yaml-language-server: $schema=footplate.schema.json`` into the first line of a profile to use it.
    """
    infos = {info.path: info for info in all_keys()}
    schema = _write_section(get_key_tree(), infos)
    return {"$schema": _DRAFT, "title": "Footplate profile", **schema, "type": "object"}


def _write_section(section: Key, infos: dict[str, KeyInfo]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": ["object", "null"]}
    if section.dotted in infos:
        schema["description"] = infos[section.dotted].description
    schema["properties"] = {name: _write_key(child, infos) for name, child in section.children.items()}
    if not section.open:
        schema["additionalProperties"] = False
    elif section.path == ("model",):
        schema |= {
            "if": {"properties": {"architecture": {"pattern": ":"}}, "required": ["architecture"]},
            "else": {"propertyNames": {"enum": list(section.children)}},
        }
    return schema


def _write_key(key: Key, infos: dict[str, KeyInfo]) -> dict[str, Any]:
    if key.kind.name == "section":
        return _write_section(key, infos)
    info = infos[key.dotted]
    schema = _write_kind(key.kind)
    if key.kind.optional or info.default in ("", [], {}):
        schema = _allow_null(schema)
    return {"description": _describe(info), **schema, "default": info.default}


def _describe(info: KeyInfo) -> str:
    parts = [info.description, f"Unit: {info.unit}." if info.unit else ""]
    if info.status == "recorded":
        parts.append("Recorded with the run, nothing else.")
    if info.reason:
        parts.append(f"Not active yet: {info.reason}.")
    return " ".join(part for part in parts if part)


def _write_kind(kind: Kind) -> dict[str, Any]:
    if kind.name == "choice":
        return {"enum": list(kind.choices)}
    if kind.name == "any":
        return {}
    if kind.known is not None:
        return _write_known(kind.known)
    schema: dict[str, Any] = {"type": list(_TYPES[kind.name])}
    schema |= {_LIMITS[sign]: limit for sign, limit in kind.limits}
    if kind.item is not None and kind.name == "list":
        schema["items"] = _write_kind(kind.item)
        if kind.length is not None:
            schema |= {"minItems": kind.length, "maxItems": kind.length}
    elif kind.item is not None and kind.item.name != "any":
        schema["additionalProperties"] = _write_kind(kind.item)
    return {"anyOf": [schema, {"enum": list(kind.choices)}]} if kind.choices else schema


def _write_known(known: Known) -> dict[str, Any]:
    words: dict[str, Any] = {"enum": list(known.words)}
    return {"anyOf": [words, {"type": "string", "pattern": f"^(?:{known.also})$"}]} if known.also else words


def _allow_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        return {**schema, "type": [*schema["type"], "null"]}
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema
