"""Builds the wheel, installs it into an empty environment with the core alone, and uses it as a newcomer would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_CORE_PACKAGES = 16
TEMPLATES = ("quickstart", "hpc", "workstation", "embedded", "script")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of a new environment that holds the wheel and what its core needs."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", str(folder))
    install = ["-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel)]
    run(str(folder / "bin" / "python"), *install)
    return folder / "bin"


def run(*command: str, cwd: Path | None = None, expected: int = 0) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == expected, (
        f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done


def test_the_wheel_holds_what_is_not_python_too(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "footplate/py.typed" in names
    assert not [name for name in TEMPLATES if f"footplate/profile/templates/{name}.yaml" not in names]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith(("footplate/", "footplate-"))]
    in_source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert in_source <= set(names)


def test_the_core_is_small(environment: Path) -> None:
    done = run(str(environment / "python"), "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    packages = {package["name"] for package in json.loads(done.stdout)} - {"pip", "setuptools"}
    assert len(packages) <= MAX_CORE_PACKAGES, sorted(packages)
    run(str(environment / "python"), "-m", "pip", "check")


def test_the_core_alone_checks_plans_and_records(environment: Path, tmp_path: Path) -> None:
    footplate = str(environment / "footplate")
    assert run(footplate, "--version", cwd=tmp_path).stdout.startswith("footplate 0.")
    assert "train" in run(footplate, "--help", cwd=tmp_path).stdout
    run(footplate, "init", "hpc", "-o", "hpc.yaml", cwd=tmp_path)
    done = subprocess.run(
        [footplate, "validate", "hpc.yaml", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr  # the data of the template are not here
    assert "findings" in json.loads(done.stdout)
    run(footplate, "run", "--", str(environment / "python"), "-c", "print('recorded')", cwd=tmp_path)
    assert run(footplate, "logs", cwd=tmp_path).stdout == "recorded\n"


def test_training_without_pytorch_names_the_command_that_installs_it(environment: Path, tmp_path: Path) -> None:
    profile = "data: {train_data: x.npz}\ntraining: {max_epochs: 1}\n"
    (tmp_path / "footplate.yaml").write_text(profile, encoding="utf-8")
    make = "import numpy as np; np.savez('x.npz', x=np.zeros((60, 4), 'float32'), y=np.arange(60) % 3)"
    run(str(environment / "python"), "-c", make, cwd=tmp_path)
    done = run(str(environment / "footplate"), "train", cwd=tmp_path, expected=2)
    assert "pip install 'footplate[train]'" in done.stderr
