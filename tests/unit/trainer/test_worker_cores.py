"""The worker's threads leave the cores to others while they wait, unless the environment says how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "1000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE"),
    ],
)
def test_waiting_threads_sleep_soon_before_torch_is_loaded(given: dict[str, str], told: str) -> None:
    code = (
        "import os, sys; from footplate.worker import main; main(['measure', 'no-such-run']); "
        "assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    mine = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=mine | given, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == told
