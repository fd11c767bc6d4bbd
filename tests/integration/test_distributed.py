"""Several processes train together: as one process would, to its end or to a clear one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKS = Path(__file__).with_name("ranks.py")
LIMIT_S = 150.0
EQUAL = 1e-6
"""How far N processes may be from one of the same global batch, relative to the size of a tensor (float32)."""


def run_checks(num_processes: int, *checks: str) -> dict[str, dict[str, Any]]:
    """Run checks of ranks.py in one group of processes; return what the first process found, by check."""
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(num_processes), str(CHECKS), *checks]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [one["check"] for one in found] == list(checks)
    return {one["check"]: one for one in found}


def assert_equal(found: dict[str, dict[str, Any]]) -> None:
    for name, told in found.items():
        print(f"{name}: weights differ by {told['difference']:.2g}, norm by {told['norm']:.2g}; {told['steps']} steps")
        assert told["moved"] > 0.01, f"{name}: nothing was trained"
        assert told["difference"] <= EQUAL, name
        assert told["norm"] <= EQUAL, name


def test_two_processes_train_as_one_of_the_same_global_batch() -> None:
    """The last step of an epoch is smaller, a step is cut into batches, the gradients are clipped."""
    assert_equal(
        run_checks(
            2,
            *(f"equal:mlp:{strategy}" for strategy in ("ddp", "fsdp", "hsdp", "tensor")),
            *(f"equal:{network}:{name}" for network in ("transformer", "gpt") for name in ("ddp", "fsdp", "tensor")),
        )
    )


def assert_same_state(found: dict[str, dict[str, Any]], num_processes: int) -> None:
    for name, told in found.items():
        print(f"{name}: after a pause {told['difference']:.2g} from no pause; {', '.join(told['files'])}")
        assert told["same"], f"{name}: weights or optimiser state differ"
        assert told["difference"] <= EQUAL, name
        assert told["files"] == [f"state.rank{rank}.safetensors" for rank in range(num_processes)]
        assert told["bytes"] > 1000, f"{name}: there was no optimiser state"


def test_a_state_saved_in_parts_is_loaded_under_another_strategy_and_by_one_process() -> None:
    assert_same_state(run_checks(2, "state:fsdp:tensor", "state:tensor:fsdp", "state:ddp:fsdp"), 2)


@pytest.mark.soak
def test_a_state_in_parts_of_two_kinds_is_loaded_under_another_strategy() -> None:
    names = ("state:fsdp+tensor:hsdp", "state:hsdp:fsdp+tensor", "state:ddp+tensor:fsdp")
    assert_same_state(run_checks(4, *names), 4)


@pytest.mark.soak
def test_four_processes_train_as_one_of_the_same_global_batch() -> None:
    strategies = ("ddp", "fsdp", "hsdp", "tensor", "fsdp+tensor", "ddp+tensor")
    names = [f"equal:{network}:{strategy}" for network in ("mlp", "transformer", "gpt") for strategy in strategies]
    assert_equal(run_checks(4, *names))
