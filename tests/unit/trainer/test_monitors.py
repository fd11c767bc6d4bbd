"""What is written about layers and throughput: the numbers are those one would compute by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from footplate.record.journal import Journal, read_journal
from footplate.record.rundir import RunDir
from footplate.trainer.meter import Reading
from footplate.trainer.monitors.layers import LayerWatch
from footplate.trainer.monitors.throughput import ThroughputWriter, find_peak, trace_flops
from footplate.trainer.progress import Progress

Train = Callable[..., Any]


def read_tables(run: RunDir) -> dict[str, list[tuple[int, Any]]]:
    tables: dict[str, list[tuple[int, Any]]] = {}
    for entry in read_journal(run.get_attempt(1).journal_path()):
        if entry.kind == "table":
            tables.setdefault(entry.data["name"], []).append((entry.data["step"], entry.data["value"]))
    return tables


def test_layers_are_looked_into_every_so_many_steps_and_nothing_changes(train: Train) -> None:
    watched = train("monitoring.histogram_frequency=10")
    alone = train("monitoring.histogram_frequency=null")
    assert watched.get_values("train/loss") == alone.get_values("train/loss")
    ours, theirs = (load_file(run.run.artifacts / "last.safetensors") for run in (watched, alone))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    layers = {name.partition("/")[2] for name in watched.metrics if name.startswith("update_ratio/")}
    assert layers == {name.rpartition(".")[0] for name in ours if name.endswith(("weight", "bias"))}
    assert [point.step for point in watched.metrics[f"grad_norm/{min(layers)}"]] == [10, 20]
    assert not [name for name in alone.metrics if name.startswith("grad_norm/")]
    tables = read_tables(watched.run)
    assert [step for step, _ in tables["weights"]] == [step for step, _ in tables["updates"]] == [10, 20]
    assert sorted(tables["weights"][0][1]) == sorted(layers)


def test_the_norm_of_all_gradients_is_that_of_the_layers_together(train: Train) -> None:
    clipped = train("monitoring.histogram_frequency=8", "training.max_grad_norm=1e9")
    layers = [name for name in clipped.metrics if name.startswith("grad_norm/")]
    total = np.sqrt(sum(clipped.metrics[name][0].value ** 2 for name in layers))
    by_step = {point.step: point.value for point in clipped.metrics["train/grad_norm"]}
    assert total == pytest.approx(by_step[8], rel=1e-5)
    free = train("monitoring.histogram_frequency=8", "training.max_grad_norm=null")
    assert free.get_values("train/grad_norm")[0] == pytest.approx(by_step[8], rel=1e-5)


def test_sizes_and_histograms_are_those_of_the_update(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 2.0)
    with Journal(tmp_path / "journal.rank0.jsonl") as journal:
        watch = LayerWatch(model, 1, journal, with_total=True)
        watch.on_start(Progress(num_train=1))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 3.0)
        watch.on_gradients()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.5)
                parameter.grad = None
        watch.on_step(Progress(num_train=1, step=1))
        values, weights, updates = (entry.data for entry in read_journal(journal.path))
    assert values["values"] == pytest.approx(
        {
            "grad_norm/network": 3 * 8**0.5,
            "weight_rms/network": 1.5,
            "update_ratio/network": 0.5 / 1.5,
            "train/grad_norm": 3 * 8**0.5,
        }
    )
    assert sum(weights["value"]["network"]["counts"]) == sum(updates["value"]["network"]["counts"]) == 8
    assert updates["value"]["network"]["low"] <= -0.5 <= updates["value"]["network"]["high"]


def test_values_that_are_not_finite_are_counted_apart(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias[0] = float("nan")
    with Journal(tmp_path / "journal.rank0.jsonl") as journal:
        watch = LayerWatch(model, 1, journal, with_total=False)
        watch.on_start(Progress(num_train=1))
        watch.on_gradients()
        watch.on_step(Progress(num_train=1, step=1))
        table = next(entry.data["value"] for entry in read_journal(journal.path) if entry.kind == "table")
    assert table["network"]["num_not_finite"] == 1
    assert sum(table["network"]["counts"]) == 7


def test_the_share_of_time_spent_waiting_and_of_the_peak(tmp_path: Path) -> None:
    feed: Any = type("F", (), {"waited_s": 5.0})()
    reading = Reading(step=20, loss=1, learning_rate=1, grad_norm=None, samples_per_s=100, steps_per_s=10)
    with Journal(tmp_path / "journal.rank0.jsonl") as journal:
        writer = ThroughputWriter(feed, journal, tokens_per_sample=8, share_per_sample=0.004)
        writer.on_start(Progress(num_train=1, step=10))
        feed.waited_s = 5.25  # of one second
        writer.on_log(Progress(num_train=1, step=20), reading)
        entry = next(iter(read_journal(journal.path)))
    assert entry.data["values"] == pytest.approx(
        {"train/data_wait_share": 0.25, "train/tokens_per_s": 800, "train/mfu": 0.4}
    )


def test_a_training_writes_the_share_of_waiting_unless_throughput_is_off(train: Train) -> None:
    shares = train().get_values("train/data_wait_share")
    assert len(shares) == 24
    assert all(0 <= share <= 1 for share in shares)
    assert "train/data_wait_share" not in train("monitoring.track_throughput=false").metrics


def test_the_result_tells_the_most_memory_that_was_taken(train: Train) -> None:
    peak = train().result["memory"]["peak_gb"]
    assert 0.05 < peak < 64  # a process that has loaded torch, on a machine of our days


def test_operations_are_counted_by_hand_and_nothing_is_drawn() -> None:
    model = nn.Sequential(nn.Linear(10, 20), nn.Dropout(0.5), nn.Linear(20, 5))
    before = torch.get_rng_state()
    assert trace_flops(model, torch.zeros(4, 10)) == 3 * 2 * (10 * 20 + 20 * 5)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5e12),
        ("NVIDIA A10", "bf16", 125e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA H100 80GB HBM3", "tf32", 494e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("Tesla T4", "bf16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "bf16", None),
        ("Something new", "bf16", None),
    ],
)
def test_a_peak_is_known_or_not(name: str, precision: str, peak: float | None) -> None:
    assert find_peak(name, precision) == peak


class _Tied(nn.Module):
    """Two layers that share a weight, and one without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(2, 2)
        self.second.weight = self.first.weight


def test_a_weight_that_layers_share_counts_once_and_a_frozen_one_from_its_thaw_on(tmp_path: Path) -> None:
    model = _Tied()
    model.first.weight.requires_grad = False
    with Journal(tmp_path / "journal.jsonl") as journal:
        watch = LayerWatch(model, 1, journal, with_total=True)
        progress = Progress(num_train=1)
        watch.on_start(progress)
        for thawed, expected in ((False, 0.0), (True, 6.0)):
            model.first.weight.requires_grad = thawed
            model.first.weight.grad = torch.full((3, 3), 2.0)
            watch.on_gradients()
            progress.step += 1
            watch.on_step(progress)
            entry = [one for one in read_journal(tmp_path / "journal.jsonl") if one.kind == "metrics"][-1]
            values = entry.data["values"]
            assert values["grad_norm/first"] == values["train/grad_norm"] == pytest.approx(expected)
            assert values["grad_norm/idle"] == 0.0
            assert "grad_norm/second" not in values
