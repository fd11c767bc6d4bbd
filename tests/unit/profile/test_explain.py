"""Every key can be explained; the schema says the same to editors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from footplate.errors import NotFoundError
from footplate.profile.explain import all_keys, find_key
from footplate.profile.load import load_profile_text
from footplate.profile.schema import json_schema
from footplate.profile.templates import TEMPLATES, render_template

PROFILES = Path(__file__).parent / "profiles"


def test_every_key_has_a_description_and_a_type() -> None:
    for info in all_keys():
        assert info.description.endswith("."), info.path
        assert info.type, info.path
        assert info.status == "active" or info.reason or info.status == "recorded", info.path
        json.dumps(info.to_json())


def test_a_key_is_explained_with_unit_range_default_and_choices() -> None:
    info = find_key("training.batch_size")
    assert (info.type, info.unit, info.range, info.default) == ("a whole number", "samples per device", "≥ 1", 32)
    assert find_key("batch_size") == info
    assert find_key("device").choices == ("auto", "cpu", "cuda", "mps", "xpu", "xla")
    assert find_key("metadata.author").status == "recorded"
    assert find_key("power_management.power_mode").status == "inactive"
    assert "training.batch_size" in find_key("training").keys


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("training.batchsize", "did you mean training.batch_size?"),
        ("lr", "did you mean training.learning_rate?"),
        ("training.foo", "there are training.batch_size"),
        ("zzz", "there are extends, device"),
        ("enabled", "one of training.mixed_precision.enabled"),
    ],
)
def test_a_key_that_is_not_there_is_answered_with_the_one_that_was_meant(path: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_key(path)
    assert caught.value.hint.startswith(hint)


def test_defaults_are_what_an_empty_profile_holds() -> None:
    profile = load_profile_text("notes: ''").model_dump(mode="json")
    for info in all_keys():
        if not info.is_section:
            value: Any = profile
            for part in info.path.split("."):
                value = value[part]
            assert value == info.default, info.path


def find_faults(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Check a value by the words of JSON Schema that ours uses; an unknown word fails."""
    faults: list[str] = []
    known = {
        "$schema", "title", "description", "default", "type", "properties", "additionalProperties", "enum", "anyOf",
        "items", "minItems", "maxItems", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "pattern", "if",
        "else", "propertyNames", "required",
    }  # fmt: skip
    assert set(schema) <= known, path
    types = schema.get("type", [])
    names = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    wanted = [types] if isinstance(types, str) else types
    fits = [isinstance(value, names[name]) and (not isinstance(value, bool) or name == "boolean") for name in wanted]
    if wanted and not any(fits):
        return [f"{path}: {value!r} is not {wanted}"]
    if "enum" in schema and value not in schema["enum"]:
        faults.append(f"{path}: {value!r} not in {schema['enum']}")
    if "anyOf" in schema and all(find_faults(one, value, path) for one in schema["anyOf"]):
        faults.append(f"{path}: {value!r} fits nothing")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        faults.append(f"{path}: {value!r}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value <= schema.get("exclusiveMinimum", value - 1):
            faults.append(f"{path}: {value} too small")
        if value > schema.get("maximum", value) or value >= schema.get("exclusiveMaximum", value + 1):
            faults.append(f"{path}: {value} too large")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            faults.append(f"{path}: {len(value)} items")
        faults += [fault for item in value for fault in find_faults(schema.get("items", {}), item, path)]
    if isinstance(value, dict):
        faults += find_key_faults(schema, value, path)
    return faults


def find_key_faults(schema: dict[str, Any], value: dict[str, Any], path: str) -> list[str]:
    faults = []
    for name, item in value.items():
        child = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
        faults += [f"{path}.{name}: unknown"] if child is False else find_faults(child, item, f"{path}.{name}")
    if "if" in schema and find_faults({**schema["if"], "required": []}, value, path) + [
        name for name in schema["if"]["required"] if name not in value
    ]:
        names = schema["else"]["propertyNames"]
        faults += [fault for name in value for fault in find_faults(names, name, path)]
    return faults


class _EditorLoader(yaml.SafeLoader):
    """Reads what an editor reads: YAML 1.2 numbers, dates as text."""


_EditorLoader.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in forms if not tag.endswith((":timestamp", ":float", ":int"))]
    for letter, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EditorLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?\d+$"), list("+-0123456789"))
_EditorLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?$"), None)


def read_as_editor(text: str) -> Any:
    return next(iter(yaml.load_all(text, Loader=_EditorLoader)))


@pytest.mark.parametrize("text", [*map(render_template, TEMPLATES), *(p.read_text() for p in PROFILES.glob("*.yaml"))])
def test_the_schema_accepts_every_good_profile(text: str) -> None:
    assert find_faults(json_schema(), read_as_editor(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "batch_size: 3", "training: {batch_size: 0}", "training: {batch_size: many}", "device: gpu",
        "model: {hidden: 3}", "model: {architecture: foo}", "data: {preprocessing: {clip_range: [1]}}",
        "training: {dropout: 1}", "logging: {wandb: {tags: x}}",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_loading_refuses(text: str) -> None:
    assert find_faults(json_schema(), read_as_editor(text))


def test_the_schema_lets_a_class_take_its_own_arguments() -> None:
    assert find_faults(json_schema(), read_as_editor("model: {architecture: 'net:Net', depth: 3}")) == []
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    json.dumps(json_schema())
