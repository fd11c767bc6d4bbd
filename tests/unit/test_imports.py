"""Checks what is loaded when, what the core needs, and that imports go one way."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from write_constraints import list_needed, render

import footplate

ROOT = Path(__file__).resolve().parents[2]
MAX_CORE_PACKAGES = 16

# What `footplate --help` may load besides the standard library: it must feel instant (150 ms at most; measured by
# benchmarks/startup.py). What is not loaded costs nothing.
HELP_MAY_LOAD = {"click", "footplate"}
HELP_MAY_LOAD_OF_FOOTPLATE = {
    "footplate",
    "footplate.__main__",
    "footplate.cli",
    "footplate.cli.output",
    "footplate.errors",
}
HEAVY = {"torch", "numpy", "pydantic", "click", "yaml", "psutil", "sklearn", "pyarrow", "tqdm", "sqlite3", "pynvml"}


def load_in_fresh_python(code: str, cwd: Path) -> set[str]:
    """Run code in a new interpreter and return the modules that it has loaded by then."""
    tell = "\nimport sys, json; sys.stderr.write('\\nLOADED ' + json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code + tell]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rpartition("LOADED ")[2]))


def get_packages(modules: set[str]) -> set[str]:
    """Return the top-level names that are neither the standard library's nor the interpreter's own machinery."""
    tops = {module.partition(".")[0] for module in modules}
    # _distutils_hack and *.pth finders are loaded by `site` in any virtual environment, before a program starts.
    return {top for top in tops if top not in sys.stdlib_module_names and not top.startswith("_")}


def test_importing_footplate_loads_nothing_else(tmp_path: Path) -> None:
    before = load_in_fresh_python("pass", tmp_path)
    loaded = load_in_fresh_python("import footplate", tmp_path) - before
    assert {module for module in loaded if module.startswith("footplate")} == {"footplate"}
    assert not get_packages(loaded) - {"footplate"}
    assert len(loaded) < 20  # small ones of the standard library: a few milliseconds


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_loads_nothing_but_click(argument: str, tmp_path: Path) -> None:
    loaded = load_in_fresh_python(f"from footplate.cli import main; assert main([{argument!r}]) == 0", tmp_path)
    assert get_packages(loaded) <= HELP_MAY_LOAD
    assert {module for module in loaded if module.startswith("footplate")} <= HELP_MAY_LOAD_OF_FOOTPLATE
    assert not loaded & HEAVY - {"click"}


def test_public_names_are_there_and_load_no_torch(tmp_path: Path) -> None:
    loaded = load_in_fresh_python("import footplate\nfor name in footplate.__all__: getattr(footplate, name)", tmp_path)
    assert "torch" not in loaded
    assert sorted(footplate.__all__) == list(footplate.__all__)


def test_the_control_side_never_loads_torch(tmp_path: Path) -> None:
    code = "from footplate.cli import main; assert main(['init', 'quickstart']) == 0; assert main(['validate']) == 0"
    loaded = load_in_fresh_python(code, tmp_path)
    assert "footplate.profile.lint" in loaded
    assert not {"torch", "sklearn", "pyarrow"} & loaded


def test_every_module_of_the_control_side_loads_without_torch(tmp_path: Path) -> None:
    rooms = ("errors", "profile", "record", "data", "tracking", "runs", "client", "cli")
    names = [
        found.name
        for found in pkgutil.walk_packages(footplate.__path__, "footplate.")
        if found.name.split(".")[1] in rooms and ".templates" not in found.name
    ]
    assert len(names) > 50
    loaded = load_in_fresh_python(
        f"from importlib import import_module\nfor name in {names}: import_module(name)", tmp_path
    )
    assert not {"torch", "sklearn", "pyarrow"} & loaded


def test_every_verb_of_the_table_is_a_command() -> None:
    cli = importlib.import_module("footplate.cli")
    for module, _, attribute in (place.partition(":") for place, _ in cli.VERBS.values()):
        assert hasattr(importlib.import_module(module), attribute)
    assert sorted(name for names in cli.PURPOSES.values() for name in names) == sorted(cli.VERBS)


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_core_is_small() -> None:
    needed = list_needed("footplate")
    assert len(needed) + 1 <= MAX_CORE_PACKAGES, sorted(needed)


def test_constraints_name_what_is_tested_here() -> None:
    wanted = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert wanted == render(), "the environment is another one; `make constraints` writes what is there"
