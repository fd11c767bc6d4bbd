"""The environment is captured quickly, and without a secret in it."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from footplate.record.environment import capture_environment


def test_software_and_hardware_are_told() -> None:
    found = capture_environment()
    assert json.loads(json.dumps(found)) == found
    assert found["python"]["version"] == platform.python_version()
    assert found["packages"]["pytest"] == version("pytest")
    assert found["packages"]["pytest-timeout"] == version("pytest-timeout")
    assert 0 < found["cpu"]["usable"] <= found["cpu"]["count"]
    assert found["memory_gb"] > 0
    assert found["platform"]["system"] in {"Linux", "Darwin"}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("CUDA_VISIBLE_DEVICES", "0,1", "0,1"),
        ("OMP_NUM_THREADS", "4", "4"),
        ("MLFLOW_TRACKING_URI", "https://me:hunter2@example.org/x", "https://me:***@example.org/x"),
        ("MLFLOW_TRACKING_TOKEN", "abc", "***"),
        ("MLFLOW_TRACKING_PASSWORD", "abc", "***"),
        ("FOOTPLATE_NOTE", "ghp_" + "a1B2" * 9, "***"),
        ("FOOTPLATE_API_KEY", "abc", "***"),
        ("AWS_SECRET_ACCESS_KEY", "abc", None),
        ("MY_OWN", "1", None),
    ],
)
def test_variables_that_matter_are_kept_and_secrets_are_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, kept: str | None
) -> None:
    monkeypatch.setenv(name, value)
    assert capture_environment()["variables"].get(name) == kept


def test_gpus_are_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 570.1, 143771 MiB'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert capture_environment()["gpus"] == [{"name": "NVIDIA H200", "driver": "570.1", "memory": "143771 MiB"}]


@pytest.mark.parametrize("body", ["exec sleep 60", "echo broken; exit 9", "echo one cell"])
def test_a_tool_that_hangs_or_fails_means_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    begin = time.monotonic()
    assert capture_environment()["gpus"] == []
    assert time.monotonic() - begin < 10
