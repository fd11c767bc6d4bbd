"""The less common ways in which each rule holds, and facts at their edges."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footplate.profile.facts import Facts
from footplate.profile.findings import Finding, Severity
from footplate.profile.lint import lint
from footplate.profile.lint.guidelines import (
    LEARNING_RATES,
    PLATFORMS,
    check_batch_guideline,
    check_rate_guideline,
    find_platform,
    get_purpose,
)
from footplate.profile.model import Profile

_SPEC = importlib.util.spec_from_file_location(
    "write_lint_docs", Path(__file__).resolve().parents[3] / "tools" / "write_lint_docs.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
docs = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = docs
_SPEC.loader.exec_module(docs)

A100 = ["NVIDIA A100-SXM4-80GB", 85.0]
REGRESSION = {"data": {"classes": 0, "target_dtype": "float64"}}
TRANSFER = {"enabled": True, "strategy": "frozen"}


def _lint(profile: dict[str, Any], facts: dict[str, Any]) -> list[Finding]:
    values = {"data": {"train_data": "x.npz"}, **profile}
    found = lint(Profile.model_validate(values), docs.make_facts(facts)).findings
    return [finding for finding in found if finding.code != "inactive"]


@pytest.mark.parametrize(
    ("profile", "facts", "code", "path", "says"),
    [
        (
            {"training": {"batch_size": 64, "max_epochs": 1000, "max_steps": 500}},
            {},
            "limit-unreachable",
            "training.max_epochs",
            "1,000 epochs × 23 steps = 23,000 steps are never reached: max_steps ends it after 500",
        ),
        (
            {"training": {"max_steps": 100, "scheduler": {"type": "linear", "T_max": 50, "eta_min": 1e-5}}},
            {},
            "decay-early",
            "training.scheduler.T_max",
            "the last 50 steps (50 %) stay at 1e-05",
        ),
        (
            {"training": {"scheduler": {"type": "linear_warmup_cosine"}}},
            {},
            "schedule-shape",
            "training.scheduler.type",
            "0 warmup_steps",
        ),
        (
            {"training": {"max_steps": 2000, "scheduler": {"type": "linear", "T_max": 100, "warmup_steps": 200}}},
            {},
            "schedule-shape",
            "training.scheduler.warmup_steps",
            "leave nothing of T_max 100",
        ),
        (
            {"training": {"max_steps": 50, "log_frequency": 100}},
            {},
            "never-happens",
            "training.log_frequency",
            "no metric of the training is read",
        ),
        (
            {"training": {"max_steps": 50}, "debug": {"enabled": True, "profile": True, "profile_steps": (60, 70)}},
            {},
            "never-happens",
            "debug.profile_steps",
            "starts at step 60",
        ),
        (
            {"validation": {"strategy": "step_interval"}},
            {},
            "evaluation-times",
            "validation.strategy",
            "at the end of each epoch",
        ),
        (
            {"validation": {"strategy": "time_interval"}},
            {},
            "evaluation-times",
            "validation.strategy",
            "every 10 minutes",
        ),
        (
            {"validation": {"interval": "5m"}},
            {},
            "evaluation-times",
            "validation.interval",
            "not with auto",
        ),
        (
            {"training": {"checkpointing": {"enabled": False}}, "fault_tolerance": {"resume_from_checkpoint": True}},
            {},
            "resume-loses-progress",
            "training.checkpointing.enabled",
            "no checkpoints to resume from",
        ),
        (
            {"training": {"checkpointing": {"enabled": False}}, "fault_tolerance": {"auto_restart": True}},
            {},
            "resume-loses-progress",
            "training.checkpointing.enabled",
            "no checkpoints to resume from",
        ),
        (
            {"training": {"early_stopping": {"enabled": True, "monitor": "val/acc"}}},
            {},
            "monitor-not-computed",
            "training.early_stopping.monitor",
            "there is no metric 'acc'",
        ),
        (
            {"validation": {"save_best_metric": "test/accuracy"}},
            {},
            "monitor-not-computed",
            "validation.save_best_metric",
            "metrics of the validation data",
        ),
        (
            {"validation": {"save_best_metric": "f1", "metrics": ["accuracy"]}},
            {},
            "monitor-not-computed",
            "validation.save_best_metric",
            "validation.metrics lists accuracy only",
        ),
        (
            {"training": {"early_stopping": {"enabled": True, "mode": "max"}}},
            {},
            "monitor-mode",
            "training.early_stopping.mode",
            "a smaller loss is better",
        ),
        (
            {"validation": {"metrics": ["mae"]}},
            {},
            "metric-task",
            "validation.metrics",
            "mae: not computed, for this is a classification (by its targets)",
        ),
        (
            {"post_training": {"final_evaluation": {"test_metrics": ["accuracy"]}}},
            {"data": {"num_test": 0}},
            "never-measured",
            "post_training.final_evaluation.test_metrics",
            "0 test samples",
        ),
        (
            {"training": {"loss": {"type": "cross_entropy"}}},
            REGRESSION,
            "loss-task",
            "training.loss.type",
            "float64 numbers",
        ),
        (
            {"training": {"loss": {"type": "binary_cross_entropy"}, "label_smoothing": 0.1}},
            {"data": {"classes": 2}},
            "label-smoothing",
            "training.label_smoothing",
            "binary_cross_entropy",
        ),
        (
            {"training": {"label_smoothing": 0.1}},
            REGRESSION,
            "label-smoothing",
            "training.label_smoothing",
            "mse (auto)",
        ),
        (
            {"data": {"train_data": "x", "output_shape": (3,)}},
            {},
            "declared-shape",
            "data.output_shape",
            "[3] is declared, the data have 10 classes",
        ),
        (
            {"data": {"train_data": "x", "output_shape": (3,)}},
            {"data": {"classes": 0, "target_shape": [4]}},
            "declared-shape",
            "data.output_shape",
            "targets of shape [4]",
        ),
        (
            {"data": {"train_data": "x", "preprocessing": {"normalize": True, "mean": (0, 0), "std": (1, 1, 1)}}},
            {"data": None},
            "mean-std-length",
            "data.preprocessing.mean",
            "2 means and 3 standard deviations",
        ),
        (
            {"data": {"train_data": "x", "preprocessing": {"normalize_targets": True}}},
            {},
            "preprocessing",
            "data.preprocessing.normalize_targets",
            "the targets are classes",
        ),
        (
            {"resources": {"num_gpus": 1}},
            {"device": {"gpus": [A100]}, "versions": {"python": "3.11.2", "pytorch": "2.6.0+cpu"}},
            "gpu-missing",
            "resources.num_gpus",
            "torch 2.6.0+cpu is built without CUDA",
        ),
        ({"device": "cuda"}, {}, "gpu-missing", "device", "node1 has no NVIDIA GPU"),
        (
            {"device": "cpu", "resources": {"num_gpus": 1}},
            {"device": {"gpus": [A100]}},
            "device-conflict",
            "device",
            "cpu contradicts resources.num_gpus: 1",
        ),
        (
            {"resources": {"memory_per_gpu_gb": 120}},
            {"device": {"gpus": [A100]}},
            "machine-too-small",
            "resources.memory_per_gpu_gb",
            "120 GB a GPU declared, node1 has 85",
        ),
        (
            {"training": {"checkpointing": {"frequency": 1000}}, "resources": {"wall_time": 300}},
            {"step_s": 1.0},
            "checkpoint-interval",
            "training.checkpointing.frequency",
            "1,000 steps × 1 s = 16 min 40 s between two checkpoints, resources.wall_time gives 5 min",
        ),
        (
            {},
            {"versions": {"python": "3.11.2"}},
            "torch-version",
            "environment.pytorch_version",
            "torch is not installed here",
        ),
        (
            {"transfer_learning": TRANSFER, "training": {"learning_rate": 0.01}},
            {},
            "learning-rate-guideline",
            "training.learning_rate",
            "100 times above the guideline for transfer learning: 1e-05 to 0.0001",
        ),
        (
            {"notes": "password is postgres://ml:hunter2@db/x"},
            {},
            "credential",
            "notes",
            "a password in an address",
        ),
        (
            {"entrypoint": {"command": ["ls"], "env": {"DB_PASSWORD": "hunter2"}}},
            {},
            "credential",
            "entrypoint.env.DB_PASSWORD",
            "a password",
        ),
        (
            {"resources": {"memory_gb": 64}, "training": {"batch_size": 4_000_000}, "model": {"hidden_size": 4096}},
            {"data": {"num_train": 10**9}},
            "memory",
            "training.batch_size",
            "node1 has 16 GB",
        ),
        ({"device": "mps"}, {}, "gpu-missing", "device", "node1 has no Apple silicon"),
        (
            {"model": {"architecture": "gpt", "hidden_size": 512, "num_attention_heads": 12}},
            {},
            "attention-heads",
            "model.num_attention_heads",
            "512 / 12 heads = 42.67",
        ),
        (
            {"training": {"max_epochs": 1, "max_steps": 500}},
            {},
            "limit-unreachable",
            "training.max_steps",
            "1 epoch × 45 steps = 45 steps",
        ),
        (
            {"training": {"max_epochs": 1000, "checkpointing": {"frequency": 20}}},
            {},
            "checkpoint-guideline",
            "training.checkpointing.frequency",
            "20 steps; the guideline is 1,000 to 5,000",
        ),
        (
            {"training": {"save_frequency": 50_000, "checkpointing": {"frequency": 1}}},
            {},
            "never-happens",
            "training.save_frequency",
            "it would save no checkpoint",
        ),
        (
            {"data": {"train_data": "x", "preprocessing": {"normalize": True, "mean": (1, 2), "std": (1, 2, 3)}}},
            {"data": None},
            "mean-std-length",
            "data.preprocessing.mean",
            "2 means and 3 standard deviations",
        ),
        (
            {"data": {"train_data": "x", "preprocessing": {"normalize": True, "mean": (1, 2), "std": (1, 2, 3)}}},
            {"data": {"input_shape": [3]}},
            "mean-std-length",
            "data.preprocessing.mean",
            "2 values for 3 features",
        ),
        (
            {"entrypoint": {"script": "t.py"}, "training": {"batch_size": 8}, "logging": {"log_file": "a.log"}},
            {},
            "own-code",
            "entrypoint",
            "training, data, logging.log_file",
        ),
    ],
)
def test_a_rule_holds_in_each_of_its_ways(
    profile: dict[str, Any], facts: dict[str, Any], code: str, path: str, says: str
) -> None:
    found = [finding for finding in _lint(profile, facts) if (finding.code, finding.path) == (code, path)]
    assert len(found) == 1
    assert says in found[0].message


@pytest.mark.parametrize(
    ("profile", "facts"),
    [
        ({"validation": {"save_best_metric": "train/loss"}}, {"data": {"num_val": 0}}),
        ({"validation": {"save_best_metric": "accuracy", "metrics": ["mae"]}}, {}),
        ({"training": {"max_epochs": 1, "scheduler": {"type": "one_cycle"}}}, {}),
        ({"training": {"checkpointing": {"enabled": False, "frequency": 999_999}}}, {}),
        ({"training": {"max_epochs": 3, "checkpointing": {"frequency": 20}}}, {}),
        ({"training": {"mixed_precision": {"enabled": True, "precision": "fp16"}}}, {"device": {"gpus": [A100]}}),
        ({"training": {"mixed_precision": {"enabled": True, "precision": "fp16"}}}, {"device": None}),
        ({"data": {"train_data": "x", "output_shape": (1,)}}, {"data": {"classes": 0}}),
        ({"environment": {"pytorch_version": ">=2"}}, {}),
        ({"resources": {"num_gpus": 1}}, {"device": {"cpu_name": "Apple silicon"}}),
        (
            {"training": {"mixed_precision": {"enabled": True, "precision": "fp16"}}},
            {"device": {"cpu_name": "Apple silicon"}},
        ),
        ({"metadata": {"gpu_type": "A100-80GB"}}, {"device": {"gpus": [A100]}}),
    ],
)
def test_what_is_right_is_left_alone(profile: dict[str, Any], facts: dict[str, Any]) -> None:
    found = {finding.code for finding in _lint(profile, facts)}
    assert found <= {"metric-task"}


def test_torch_that_is_too_new_is_advice_and_too_old_is_an_error() -> None:
    (new,) = _lint({}, {"versions": {"python": "3.11.2", "pytorch": "2.14.1"}})
    (old,) = _lint({}, {"versions": {"python": "3.11.2", "pytorch": "2.5.1+cu121"}})
    assert (new.severity, old.severity) == (Severity.advice, Severity.error)
    assert "pip install 'footplate[train]' 'torch>=2.6,<2.14'" in old.fix


def test_the_constraint_on_torch_is_that_of_the_package() -> None:
    from footplate.profile.lint.environment import TORCH_CEILING, TORCH_FLOOR

    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"torch>={TORCH_FLOOR[0]}.{TORCH_FLOOR[1]},<{TORCH_CEILING[0]}.{TORCH_CEILING[1]}"' in text


def test_only_a_missing_file_that_is_needed_is_an_error() -> None:
    facts = {"missing_paths": [["data.val_data", "v.npz"], ["environment.requirements_file", "r.txt"]]}
    found = {finding.path: finding.severity for finding in _lint({}, facts)}
    assert found == {"data.val_data": Severity.error, "environment.requirements_file": Severity.warning}


def test_the_words_of_the_guidelines_are_their_numbers() -> None:
    """The pages say in words what the tables say in numbers."""
    text = " ".join((check_batch_guideline.__doc__ or "").split())
    for platform in PLATFORMS:
        for low, high in (platform.batch, platform.accumulation):
            assert f"{low} to {high}" in text
    text = " ".join((check_rate_guideline.__doc__ or "").split())
    assert "1e-4 to 5e-4" in text
    assert (LEARNING_RATES["fine-tuning"].low, LEARNING_RATES["fine-tuning"].high) == (1e-4, 5e-4)


def test_nearly_full_memory_is_a_warning() -> None:
    model = {"model": {"architecture": "mlp", "hidden_size": 1000}, "training": {"batch_size": 8}}
    codes = {
        gb: [f.severity for f in _lint({**model, "resources": {"memory_gb": gb}}, {}) if f.code == "memory"]
        for gb in (0.1, 0.43, 1.0)
    }
    assert codes == {0.1: [Severity.error], 0.43: [Severity.warning], 1.0: []}


@pytest.mark.parametrize(
    ("metadata", "gpus", "name"),
    [
        ({"gpu_type": "A100-80GB"}, [], "A100 80 GB"),
        ({"gpu_type": "NVIDIA A100 40GB"}, [], "A100 40 GB"),
        ({}, [A100], "A100 80 GB"),
        ({}, [["NVIDIA A100-SXM4-40GB", 42.0]], "A100 40 GB"),
        ({"target_platform": "workstation"}, [], "RTX 4090"),
        ({"target_platform": "Embedded"}, [], "Jetson AGX"),
        ({"gpu_type": "Jetson AGX Orin"}, [], "Jetson AGX"),
        ({"target_platform": "hpc"}, [], None),
        ({}, [], None),
    ],
)
def test_the_guideline_is_that_of_the_gpu(metadata: dict[str, str], gpus: list[Any], name: str | None) -> None:
    platform = find_platform(
        Profile.model_validate({"metadata": metadata}), docs.make_facts({"device": {"gpus": gpus}})
    )
    assert (platform.name if platform else None) == name


def test_the_purpose_is_read_from_transfer_learning() -> None:
    assert get_purpose(Profile()) == "scratch"
    assert get_purpose(Profile.model_validate({"transfer_learning": {"enabled": True}})) == "fine-tuning"
    assert get_purpose(Profile.model_validate({"transfer_learning": TRANSFER})) == "transfer"
    assert [platform.batch for platform in PLATFORMS] == [(128, 256), (64, 128), (32, 64), (8, 16)]


_TRAINING = st.fixed_dictionaries(
    {},
    optional={
        "batch_size": st.sampled_from([1, 64, 100_000]),
        "max_epochs": st.sampled_from([None, 1, 10_000]),
        "max_steps": st.sampled_from([None, 1, 10_000_000]),
        "eval_frequency": st.sampled_from([None, 1, 10_000]),
        "optimizer": st.sampled_from(["adam", "sgd", "my.optim:Lion"]),
        "scheduler": st.fixed_dictionaries(
            {
                "type": st.sampled_from(
                    ["constant", "linear", "cosine_annealing", "linear_warmup_cosine", "one_cycle"]
                ),
                "warmup_steps": st.sampled_from([0, 1, 10_000]),
                "T_max": st.sampled_from([None, 1, 10_000]),
                "eta_min": st.sampled_from([0.0, 1.0]),
            }
        ),
        "early_stopping": st.just({"enabled": True}),
        "mixed_precision": st.just({"enabled": True, "precision": "fp16"}),
        "checkpointing": st.just({"frequency": 10_000}),
    },
)
_SHAPES = st.sampled_from([[], [1], [13], [8, 8], [3, 32, 32], [32, 32, 3], [2, 3, 4, 5]])


@given(
    training=_TRAINING,
    architecture=st.sampled_from(["mlp", "cnn", "transformer", "my.nets:Net"]),
    strategy=st.sampled_from(["auto", "epoch_end", "step_interval", "time_interval"]),
    shape=_SHAPES,
    num_train=st.sampled_from([0, 1, 1437]),
    classes=st.sampled_from([0, 1, 10]),
    seen=st.sampled_from([{}, {"data": None}, {"device": None}, {"step_s": 0.01}, {"versions": {}}]),
)
def test_no_profile_and_no_facts_make_the_lint_stumble(
    training: dict[str, Any],
    architecture: str,
    strategy: str,
    shape: list[int],
    num_train: int,
    classes: int,
    seen: dict[str, Any],
) -> None:
    data = {"input_shape": shape, "num_train": num_train, "classes": classes, "num_val": num_train // 10}
    facts: Facts = docs.make_facts({"data": data, **seen})
    values = {
        "data": {"train_data": "x.npz"},
        "model": {"architecture": architecture},
        "training": training,
        "validation": {"strategy": strategy},
        "resources": {"wall_time": 10.0},
    }
    for finding in lint(Profile.model_validate(values), facts).findings:
        assert finding.message
        assert finding.fix
