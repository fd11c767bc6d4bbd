"""Reading YAML: scalars, lines, aliases, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footplate.profile.yaml_reader import read_yaml, resolve_scalar
from footplate.profile.yaml_writer import write_yaml


def get_messages(text: str) -> list[str]:
    return [str(problem) for problem in read_yaml(text, "a.yaml").problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1_000", 1000), ("0x10", 16), ("0o17", 15), ("0b11", 3), (".5", 0.5), ("+1", 1), ("-2.", -2.0),
        ("007", 7), ("1E5", 1e5), ("true", True), ("No", False), ("on", True), ("~", None), ("", None), ("null", None),
        ("48:00:00", "48:00:00"), ("2025-11-17", "2025-11-17"), ("1.2.3", "1.2.3"), ("e5", "e5"), ("0x", "0x"),
        ("_1", "_1"), ("-", "-"), (".", "."), ("9" * 200, "9" * 200), ("0b_", "0b_"),
    ],
)  # fmt: skip
def test_a_scalar_means_what_people_write(text: str, value: object) -> None:
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value) or resolve_scalar(text).raw == text  # type: ignore[attr-defined]


def test_infinity_and_nan_are_numbers() -> None:
    assert resolve_scalar("-.inf") == -math.inf
    assert math.isnan(resolve_scalar(".nan"))  # type: ignore[arg-type]


def test_every_key_and_item_has_its_line() -> None:
    document = read_yaml("a:\n  b: 1\n  c:\n  - x\n  - y: 2\n", "a.yaml")
    lines = {".".join(path): place.line for path, place in document.places.items()}
    assert lines == {"a": 1, "a.b": 2, "a.c": 3, "a.c.0": 4, "a.c.1": 5, "a.c.1.y": 5}
    assert document.value == {"a": {"b": 1, "c": ("x", {"y": 2})}}


def test_anchors_aliases_and_merges_work_and_own_keys_win() -> None:
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [{a: 9}, *x]}\nw: *x\n"
    document = read_yaml(text, "a.yaml")
    assert not document.problems
    assert document.value["y"] == {"a": 1, "b": 3}
    assert document.value["z"] == {"a": 9, "b": 2}
    assert document.value["w"] == document.value["x"]


def test_alias_bombs_are_bounded() -> None:
    lists = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lists += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    maps = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10))]
    for text in ("\n".join(lists), "\n".join(maps)):
        (problem,) = get_messages(text)
        assert "more than 20,000 values" in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "a.yaml:1: a.0: an alias (*name) that contains itself"),
        ("a: &a {<<: *a}", "a.yaml:1: a: << takes a mapping"),
        ("a: {<<: 3}", "<< takes a mapping, or a list of mappings"),
        ("a: *b", "*b refers to no &b above it"),
        ("a: 1\nb: 2\na: 3", "a.yaml:3: a: given twice, in lines 1 and 3; keep one"),
        ("? [a, b]\n: 1", "a key must be a single word"),
        ("a: 1\n---\nb: 2", "a.yaml:3: a second document starts here"),
        ("a: !!python/object:os.system x", "Python objects are not allowed"),
        ("a: !mine 3", "the tag !mine is not allowed"),
        ("a:\n\tb: 1", "a.yaml:2: column 1: cannot be read as YAML: a tab; YAML indents with spaces"),
        ("a: b: c", "a.yaml:1: column 5: cannot be read as YAML: a second ':' in one line"),
        ("a: [1, 2", "cannot be read as YAML"),
        ("a: 'x", "cannot be read as YAML"),
        ("a:\n  - b\n c: 1", "a.yaml:3: column 2: cannot be read as YAML"),
        ("[" * 100_000, "a.yaml:1: nested more than 40 levels deep"),
        ("%", "cannot be read as YAML"),
        ("a: b\x00", "cannot be read as YAML"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, message: str) -> None:
    (problem,) = get_messages(text)
    assert message in problem


@pytest.mark.parametrize("end", ["---\n", "---\n# the end\n", "...\n---\n---\n", "--- ~\n"])
def test_empty_documents_at_the_end_are_nothing(end: str) -> None:
    document = read_yaml("a: 1\n" + end, "a.yaml")
    assert (document.value, document.problems) == ({"a": 1}, [])


_SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=20)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "<<"), _VALUES, min_size=1, max_size=4))
def test_what_is_written_reads_back_the_same(values: dict[str, object]) -> None:
    document = read_yaml(write_yaml(values), "a.yaml")
    assert not document.problems
    assert document.value == values


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    document = read_yaml(text, "a.yaml")
    assert all(problem.where.line >= 1 for problem in document.problems)
