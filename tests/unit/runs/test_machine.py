"""The machine: what this process may use of it, not what the host has."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from footplate.runs.machine import get_device_facts, get_versions


def test_tells_no_more_than_there_is() -> None:
    machine = get_device_facts(Path("not/there/yet").absolute())
    assert 1 <= machine.num_cpus <= (os.cpu_count() or 1)
    assert 0 < machine.memory_gb <= psutil.virtual_memory().total / 1e9
    assert machine.host
    assert machine.disk_free_gb is not None
    assert machine.disk_free_gb > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system that binds processes to cores")
def test_counts_only_the_cores_it_is_bound_to() -> None:
    code = (
        "import os, pathlib; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from footplate.runs.machine import get_device_facts; print(get_device_facts(pathlib.Path.cwd()).num_cpus)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "1\n"


def test_hidden_gpus_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert get_device_facts(Path.cwd()).gpus == ()


def test_versions_are_of_this_interpreter_and_load_no_torch() -> None:
    versions = get_versions()
    assert versions["python"] == platform.python_version()
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    assert ("pytorch" in versions) == ("torch" in installed)
    code = "import sys; from footplate.runs.machine import get_versions; get_versions(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"
