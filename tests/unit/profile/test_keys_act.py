"""Every key does something: code reads it, or it is marked as inactive or as recorded."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from footplate.profile.explain import KeyInfo, all_keys

SOURCE = Path(__file__).resolve().parents[3] / "src" / "footplate"
ARITHMETIC = ("load.py", "horizon.py", "mesh.py", "schedule.py", "size.py")
"""Files of the profile that act; the others only declare, check or explain keys."""
COMPARED = {
    "metadata.target_platform",
    "metadata.gpu_type",
    "environment.python_version",
    "environment.cuda_version",
    "environment.cudnn_version",
    "environment.pytorch_version",
    "environment.tensorrt_version",
}
"""Keys that are there to be compared by the lint with what is seen."""
ONLY_ONE = "post_training.report.format"
"""A key of which one value only is built, so that there is nothing to choose yet."""
LEAVES = [info for info in all_keys() if not info.is_section]


@cache
def read_names(file: Path) -> frozenset[str]:
    """Return the names a file uses: attributes, variables, arguments and whole strings."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.arg(arg=name) | ast.Constant(value=str(name)):
                names.add(name)
    return frozenset(names)


def find_readers(info: KeyInfo, *, among_lint: bool = False) -> list[str]:
    """Return the files that name both the key and the section around it, or the section's class."""
    *sections, name = info.path.split(".")
    around = {sections[-1], sections[-1].replace("_", " ").title().replace(" ", "")} if sections else {name}
    files = []
    for file in SOURCE.rglob("*.py"):
        parts = file.relative_to(SOURCE).parts
        if parts[:2] == ("profile", "lint"):
            counts = among_lint
        else:
            counts = not among_lint and (parts[0] != "profile" or parts[1] in ARITHMETIC)
        if counts and name in (names := read_names(file)) and around & names:
            files.append("/".join(parts))
    return files


@pytest.mark.parametrize(
    "info", [leaf for leaf in LEAVES if leaf.status == "active" and leaf.path != ONLY_ONE], ids=lambda leaf: leaf.path
)
def test_an_active_key_is_read(info: KeyInfo) -> None:
    assert find_readers(info, among_lint=info.path in COMPARED), f"nobody reads {info.path}"


@pytest.mark.parametrize("info", [leaf for leaf in LEAVES if leaf.status == "inactive"], ids=lambda leaf: leaf.path)
def test_an_inactive_key_is_not_read_by_the_training(info: KeyInfo) -> None:
    """A key that the training acts on must not be called inactive; plan and lint may look ahead."""
    if info.path.rpartition(".")[2] in {"enabled", "strategy", "profile", "backends"}:
        return  # words that mean other things as well
    assert not [file for file in find_readers(info) if file.startswith(("trainer/", "data/", "worker.py"))]


def test_the_list_of_compared_keys_is_no_longer_than_it_must_be() -> None:
    assert {leaf.path for leaf in LEAVES} >= COMPARED
    assert not [leaf.path for leaf in LEAVES if leaf.path in COMPARED and find_readers(leaf)]
