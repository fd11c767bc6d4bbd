"""Two teams' real profiles, each full of contradictions: every one is found, at its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from footplate.profile.facts import DataFacts, DeviceFacts, Facts
from footplate.profile.findings import Finding, Severity
from footplate.profile.lint import lint
from footplate.profile.load import load_profile, load_profile_text
from footplate.profile.templates import TEMPLATES, render_template

PROFILES = Path(__file__).parent / "profiles"
HPC = PROFILES / "team_hpc.yaml"
EMBEDDED = PROFILES / "team_embedded.yaml"
A100 = ("NVIDIA A100-SXM4-40GB", 42.4)
VERSIONS = {
    "python": "3.11.2",
    "pytorch": "2.6.0",
    "cuda": "12.6",
    "mlflow": "3.17.2",
    "tensorboard": "2.21.0",
    "wandb": "0.31.0",
}


def _facts(*, gpus: int = 4, num_train: int = 60_000, **changes: Any) -> Facts:
    data = DataFacts(
        source="/data/training/train.npz",
        num_train=num_train,
        num_val=5_000,
        num_test=5_000,
        input_shape=(100, 32),
        input_dtype="float32",
        target_shape=(10,),
        target_dtype="float32",
    )
    device = DeviceFacts(host="node1", num_cpus=64, memory_gb=512, gpus=(A100,) * gpus, disk_free_gb=500)
    return Facts(**{"data": data, "device": device, "versions": VERSIONS, "step_s": 0.4, **changes})


def _find_line(file: Path, key: str) -> int:
    """Return the line of a key, found by following its sections in the text."""
    number = 0
    lines = file.read_text(encoding="utf-8").splitlines()
    for depth, part in enumerate(key.split(".")):
        pattern = re.compile(rf"{'  ' * depth}{part}:")
        number = next(i for i in range(number, len(lines)) if pattern.match(lines[i])) + 1
    return number


def _lint(file: Path, facts: Facts) -> list[Finding]:
    return [finding for finding in lint(load_profile(file), facts).findings if finding.code != "inactive"]


HPC_CONTRADICTIONS = [
    # rule of the specification, code, key, numbers of the message
    (1, "two-spellings", "training.save_frequency", "500,000 disagrees with training.checkpointing.frequency: 1,000"),
    (1, "two-spellings", "training.dropout", "0.1 disagrees with model.dropout: 0.15"),
    (1, "two-spellings", "embedded_optimizations.use_cudnn_benchmark", "false disagrees"),
    (2, "limit-unreachable", "training.max_steps", "100 epochs × 30 steps = 3,000 steps"),
    (2, "decay-unreachable", "training.scheduler.T_max", "step 100,000, the training at step 3,000"),
    (2, "warm-up-long", "training.scheduler.warmup_steps", "1,000 of 3,000 steps (33 %)"),
    (3, "never-happens", "training.save_frequency", "every 500,000 steps, but the training ends after 3,000"),
    (3, "never-stops-early", "training.early_stopping.patience", "5,000 evaluations"),
    (4, "adam-weight-decay", "training.optimizer", "0.01"),
    (5, "metric-task", "validation.metrics", "accuracy: not computed"),
    (5, "label-smoothing", "training.label_smoothing", "0.1 does nothing"),
    (5, "confusion-matrix", "post_training.report.include_confusion_matrix", "loss mse"),
    (6, "mean-std-length", "data.preprocessing.mean", "3 values for 32 features"),
    (6, "mean-std-length", "data.preprocessing.std", "3 values for 32 features"),
    (7, "attention-heads", "model.num_attention_heads", "512 / 12 heads = 42.67"),
    (7, "positions-too-few", "model.max_position_embeddings", "64 positions"),
    (8, "resume-loses-progress", "training.checkpointing.save_optimizer_state", "starts the optimiser from nothing"),
    (8, "resume-loses-progress", "training.checkpointing.save_best_only", "goes back to the best step"),
    (9, "deterministic-benchmark", "reproducibility.deterministic", "benchmark"),
    (10, "world-size", "distributed.world_size", "8 processes, but 4 GPUs"),
    (11, "wall-time", "resources.wall_time", "3,000 steps × 400 ms = 20 min, more than the 15 min allowed"),
    (12, "credential", "monitoring.alerts.slack_webhook", "a Slack webhook"),
    (14, "memory", "training.batch_size", "37.9 M parameters × 18 B"),
    (15, "batch-guideline", "training.batch_size", "512 is outside the guideline for A100 40 GB: 64 to 128"),
    (15, "learning-rate-guideline", "training.learning_rate", "0.05 is 50 times"),
    (16, "never-measured", "post_training.final_evaluation.target_latency_ms", "10 ms"),
    (16, "never-measured", "post_training.final_evaluation.target_memory_mb", "200 MB"),
    (0, "version-differs", "environment.python_version", "3.10, here is 3.11.2"),
    (0, "version-differs", "environment.pytorch_version", "2.10, here is 2.6.0"),
    (0, "version-differs", "environment.cuda_version", "11.8, here is 12.6"),
]


@pytest.mark.parametrize(("rule", "code", "key", "numbers"), HPC_CONTRADICTIONS)
def test_every_contradiction_of_the_cluster_profile_is_found(rule: int, code: str, key: str, numbers: str) -> None:
    facts = _facts(num_train=240_000)  # 30 steps an epoch: 512 × 4 × 4 processes
    found = [f for f in _lint(HPC, facts) if (f.code, f.path) == (code, key)]
    assert len(found) == 1
    assert numbers in found[0].message
    assert found[0].line == _find_line(HPC, key)


def test_the_cluster_profile_on_a_machine_without_gpus() -> None:
    """Rules 10, 13 and 17: what depends on the machine, with the paths that are not there."""
    facts = _facts(gpus=0, data=None, step_s=None, missing_paths=(("data.train_data", "/data/training/train.npz"),))
    found = {(f.code, f.path): f for f in _lint(HPC, facts)}
    for code, key, numbers in (
        ("gpu-missing", "resources.num_gpus", "4 GPUs asked for, node1 has none"),
        ("nccl-without-gpu", "distributed.backend", "nccl needs NVIDIA GPUs"),
        ("precision-device", "training.mixed_precision.precision", "fp16 runs on GPUs only"),
        ("missing-path", "data.train_data", "/data/training/train.npz does not exist"),
    ):
        finding = found[code, key]
        assert finding.severity is Severity.error
        assert finding.line == _find_line(HPC, key)
        assert numbers in finding.message


def test_the_embedded_profile_has_its_own_faults_and_no_others() -> None:
    found = {(f.code, f.path) for f in _lint(EMBEDDED, _facts(gpus=1)) if f.severity is not Severity.advice}
    assert found == {
        ("decay-unreachable", "training.scheduler.T_max"),
        ("limit-unreachable", "training.max_steps"),
        ("evaluation-times", "training.eval_frequency"),
    }


def test_no_finding_stands_twice() -> None:
    for file in (HPC, EMBEDDED):
        for gpus in (0, 4):
            seen = [(f.code, f.path) for f in lint(load_profile(file), _facts(gpus=gpus)).findings]
            assert len(seen) == len(set(seen))


def test_our_own_templates_have_no_findings() -> None:
    digits = DataFacts(
        source="sklearn:digits",
        num_train=1437,
        num_val=180,
        num_test=180,
        input_shape=(8, 8),
        input_dtype="float64",
        target_shape=(),
        target_dtype="int64",
        classes=tuple("0123456789"),
    )
    for name in TEMPLATES:
        result = lint(load_profile_text(render_template(name)), _facts(gpus=0, data=digits))
        assert not result.findings, (name, result.findings)
