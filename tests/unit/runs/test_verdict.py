"""The verdict: mode, parallelism and device, each decided by its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from footplate.profile.facts import DataFacts, DeviceFacts, Facts
from footplate.profile.model import Profile
from footplate.runs.verdict import Verdict, get_verdict

DATA = DataFacts(
    source="sklearn:digits",
    num_train=1149,
    num_val=288,
    num_test=360,
    input_shape=(8, 8),
    input_dtype="float32",
    target_shape=(),
    target_dtype="int64",
    classes=tuple("0123456789"),
    class_counts=(180,) * 10,
)
LAPTOP = DeviceFacts(host="laptop", num_cpus=8, memory_gb=16.0)
WORKSTATION = replace(LAPTOP, host="box", gpus=(("RTX 4090", 24.0),))
HPC = replace(LAPTOP, host="node1", gpus=(("A100", 80.0),) * 4)


def decide(profile: dict[str, Any], machine: DeviceFacts | None = LAPTOP, **known: Any) -> Verdict:
    facts = Facts(data=DATA, device=machine, step_s=known.pop("step_s", None), versions=known.pop("versions", {}))
    return get_verdict(Profile.model_validate(profile), facts, **known)


@pytest.mark.parametrize(
    ("profile", "machine", "known", "expected"),
    [
        # nothing measured: a first try, here
        ({}, LAPTOP, {"total_steps": 540}, ("standard", "single", "cpu")),
        ({"entrypoint": {"script": "train.py"}}, LAPTOP, {}, ("standard", "single", "cpu")),
        # measured: short stays here, long becomes a job, very long is spread
        ({}, LAPTOP, {"total_steps": 540, "step_s": 0.01}, ("standard", "single", "cpu")),
        ({}, LAPTOP, {"total_steps": 36_000, "step_s": 0.1}, ("standard", "single", "cpu")),
        ({}, LAPTOP, {"total_steps": 36_001, "step_s": 0.1}, ("batch", "single", "cpu")),
        ({}, WORKSTATION, {"total_steps": 200_000, "step_s": 0.5}, ("batch", "distributed", "cuda")),
        # asked for
        ({"resources": {"wall_time": "48:00:00"}}, LAPTOP, {"total_steps": 9}, ("batch", "single", "cpu")),
        ({"resources": {"wall_time": "00:30:00"}}, LAPTOP, {"total_steps": 9}, ("standard", "single", "cpu")),
        ({"resources": {"queue": "gpu"}}, LAPTOP, {"total_steps": 9}, ("batch", "single", "cpu")),
        ({"resources": {"num_gpus": 4}}, HPC, {"total_steps": 9}, ("standard", "distributed", "cuda")),
        ({"distributed": {"enabled": True}}, HPC, {"total_steps": 9}, ("standard", "distributed", "cuda")),
        ({"federated": {"enabled": True}}, LAPTOP, {"total_steps": 9}, ("federated", "single", "cpu")),
        # memory: of the GPU, of the machine, of the profile
        ({}, WORKSTATION, {"total_steps": 9, "memory_gb": 23.9}, ("standard", "single", "cuda")),
        ({}, WORKSTATION, {"total_steps": 9, "memory_gb": 24.1}, ("standard", "distributed", "cuda")),
        ({"resources": {"memory_per_gpu_gb": "8GB"}}, HPC, {"memory_gb": 9.0}, ("standard", "distributed", "cuda")),
        ({"resources": {"memory_gb": 8}}, LAPTOP, {"memory_gb": 9.0}, ("standard", "distributed", "cpu")),
        # the device
        ({"device": "cuda"}, LAPTOP, {}, ("standard", "single", "cuda")),
        ({"device": "cpu"}, HPC, {}, ("standard", "single", "cpu")),
        ({"resources": {"num_gpus": 0}}, HPC, {}, ("standard", "single", "cpu")),
        ({"device": "xpu"}, LAPTOP, {}, ("standard", "single", "unknown")),
        ({}, None, {}, ("standard", "single", "unknown")),
        ({}, HPC, {"versions": {"pytorch": "2.6.0+cpu"}}, ("standard", "single", "cpu")),
        ({}, replace(LAPTOP, cpu_name="Apple silicon"), {}, ("standard", "single", "mps")),
    ],
)
def test_decides_by_the_numbers(
    profile: dict[str, Any], machine: DeviceFacts | None, known: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    verdict = decide(profile, machine, **known)
    assert (verdict.mode, verdict.parallelism, verdict.device) == expected
    assert len(verdict.reasons) == 3
    assert all(reason.endswith(".") for reason in verdict.reasons)


def test_reasons_carry_the_numbers_they_rest_on() -> None:
    verdict = decide({}, WORKSTATION, total_steps=200_000, step_s=0.5, memory_gb=3.2)
    assert verdict.reasons == (
        "Batch: 200,000 steps × 500 ms = 27 h 47 min, more than the 1 h one waits for.",
        "Distributed: 27 h 47 min on one device is more than 24 h.",
        "Device cuda: 1 × RTX 4090 with 24 GB.",
    )
    assert decide({}, total_steps=9, memory_gb=0.0014).reasons[1] == (
        "Single device: 1.4 MB needed of the 16 GB there (laptop)."
    )


def test_says_what_was_not_known_and_how_to_know_it() -> None:
    assert decide({}, total_steps=9, memory_gb=1.0).not_known == (
        "time: `footplate plan --measure` runs 50 real steps and tells",
    )
    assert decide({}, total_steps=9, memory_gb=1.0, step_s=0.1).not_known == ()
    own_code = decide({"entrypoint": {"script": "train.py"}})
    assert own_code.not_known[0] == "time: your own code is not measured before it runs"
    blind = get_verdict(Profile(), Facts())
    assert any(line.startswith("size of the data") for line in blind.not_known)
    assert any(line.startswith("the machine") for line in blind.not_known)


def test_is_plain_data_for_json() -> None:
    assert set(decide({}).to_json()) == {"mode", "parallelism", "device", "reasons", "not_known"}
