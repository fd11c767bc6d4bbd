"""Runs under torchrun: several checks in one group of processes, for starting them takes longest.

``python -m torch.distributed.run --standalone --nproc-per-node N ranks.py CHECK…``; the first process prints a line of
JSON for each check.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from footplate.data.load import load_data
from footplate.profile.load import load_profile_text
from footplate.profile.mesh import get_declared_mesh
from footplate.profile.model import Profile
from footplate.trainer.assemble import Parts, assemble
from footplate.trainer.checkpoints.sharded_state import copy_state, load_state
from footplate.trainer.checkpoints.state_files import write_tensors
from footplate.trainer.distributed.sharding import find_order, gather_weights, gather_whole, restore_order
from footplate.trainer.distributed.world import World, open_world
from footplate.trainer.loading.feed import Feed
from footplate.trainer.optim import set_learning_rate
from footplate.trainer.progress import Progress
from footplate.trainer.weights import get_weights

MLP = """
model: {architecture: mlp, hidden_size: 16, num_layers: 3}
data: {train_data: "sklearn:iris", preprocessing: {normalize: true}}
training: {optimizer: adamw, learning_rate: 0.01, weight_decay: 0.1, max_grad_norm: 0.5, max_epochs: 2}
"""
TRANSFORMER = """
model: {architecture: transformer, hidden_size: 16, num_layers: 2, num_attention_heads: 4, dropout: 0.0}
data: {train_data: "sklearn:iris", preprocessing: {normalize: true}}
training: {optimizer: sgd, momentum: 0.9, learning_rate: 0.03, max_grad_norm: 0.5, max_epochs: 2}
"""
CNN = """
model: {architecture: cnn, hidden_size: 4, num_layers: 2, dropout: 0.0}
data: {train_data: "sklearn:digits"}
training: {learning_rate: 0.01, max_epochs: 1}
"""
GPT = """
model: {architecture: gpt, hidden_size: 16, num_layers: 2, num_attention_heads: 4, dropout: 0.0}
data: {train_data: "sklearn:iris", preprocessing: {normalize: true}}
training: {optimizer: sgd, momentum: 0.9, learning_rate: 0.01, max_grad_norm: 0.5, max_epochs: 2}
"""
# Adam would make steps of the same size of gradients that are 0 but for their rounding: those of the keys' bias.


def load(text: str, *overrides: str) -> Profile:
    return load_profile_text(text, overrides=["device=cpu", *overrides])


def train(parts: Parts, batch_size: int, steps: int, progress: Progress | None = None) -> Tensor:
    """Train some steps as the loop does; return the norm of the gradients of the last one."""
    progress = progress or Progress(num_train=len(parts.train))
    parts.model.train()
    norm = torch.zeros(())
    for _ in range(steps):
        set_learning_rate(parts.stepper.optimizer, parts.get_learning_rate(progress.step))
        step = parts.train.take(
            parts.profile.reproducibility.seed, progress.epoch, progress.position, parts.horizon.effective_batch
        )
        result = parts.stepper.take_step(step, batch_size)
        progress.count(step.num_samples)
        norm = result.grad_norm if result.grad_norm is not None else norm
    return norm


def compare(here: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Return the largest relative difference of a tensor, by norms in float64."""
    assert here.keys() == wanted.keys(), (sorted(here), sorted(wanted))
    worst = 0.0
    for name, tensor in wanted.items():
        difference = torch.linalg.vector_norm(here[name].double() - tensor.double())
        worst = max(worst, float(difference / torch.linalg.vector_norm(tensor.double()).clamp(min=1e-12)))
    return worst


def _declare(world: World, strategy: str) -> tuple[str, ...]:
    return "distributed.enabled=true", f"distributed.world_size={world.size}", f"distributed.strategy={strategy}"


def _make_profile(world: World, strategy: str, batch: int, text: str = MLP, *overrides: str) -> Profile:
    """Return a profile for all processes with this global batch."""
    declared = (*_declare(world, strategy), *overrides)
    return load(text, *declared, f"training.batch_size={batch // get_declared_mesh(load(text, *declared)).data}")


def check_equal(world: World, text: str, strategy: str, *overrides: str) -> dict[str, Any]:
    """Train with all processes and with one of the same global batch; return how far they are apart."""
    many = _make_profile(world, strategy, 28, text, *overrides)
    data = load_data(many)
    parts = assemble(many, data, world)
    each = parts.horizon.effective_batch
    steps = parts.horizon.steps_per_epoch + 2  # over the smaller last one of an epoch
    norm = train(parts, 4, steps)  # cut into smaller batches: they add up
    weights = get_weights(parts.model)

    one = load(text, f"training.batch_size={each}", *overrides)
    alone = assemble(one, data)
    wanted_norm = train(alone, each, steps)
    told = {
        "difference": compare(weights, get_weights(alone.model)),
        "norm": abs(float(norm) - float(wanted_norm)) / float(wanted_norm),
        "steps": steps,
        "batch": each,
        "moved": compare(get_weights(assemble(one, data).model), get_weights(alone.model)),
    }
    return max(world.gather(told), key=lambda one: one["difference"])


def check_state(world: World, first: str, second: str) -> dict[str, Any]:
    """Save in parts under one strategy, go on under another and alone; return how far both are from no pause."""
    data = load_data(load(MLP))
    arranged = {name: assemble(_make_profile(world, name, batch=56), data, world) for name in (first, second)}
    alone, unbroken = (assemble(load(MLP, "training.batch_size=56"), data) for _ in range(2))
    folder = Path(world.broadcast(tempfile.mkdtemp()))
    progress = Progress(num_train=len(alone.train))
    train(arranged[first], 56, 2, progress)
    saved = arranged[first]
    mine = copy_state(saved.model, saved.stepper.optimizer, saved.stepper.parallel)
    write_tensors(folder / mine.file_name, mine.tensors, mine.metadata)
    full = gather_state(saved)
    world.broadcast(None)
    for parts in (arranged[second], alone):
        load_state(folder, parts.model, parts.stepper.optimizer)
    again, whole = gather_state(arranged[second]), gather_state(alone)
    same = all(
        torch.equal(state["optimizer"][name][key], full["optimizer"][name][key])
        for state in (again, whole)
        for name, values in full["optimizer"].items()
        for key in values
    )
    files = sorted(path.name for path in folder.iterdir())
    train(arranged[second], 56, 2, replace(progress))
    train(alone, 56, 2, replace(progress))
    train(unbroken, 56, 4)
    world.broadcast(None)
    shutil.rmtree(folder, ignore_errors=True)
    wanted = get_weights(unbroken.model)
    return {
        "same": same and compare(again["model"], full["model"]) == 0 and compare(whole["model"], full["model"]) == 0,
        "difference": max(compare(get_weights(parts.model), wanted) for parts in (arranged[second], alone)),
        "files": files,
        "bytes": sum(value.nbytes for state in whole["optimizer"].values() for value in state.values()),
    }


def gather_state(parts: Parts) -> dict[str, Any]:
    """Return the whole state in main memory, ``{"model": …, "optimizer": {name: {key: …}}}``; all must call it."""
    states: dict[str, dict[str, Tensor]] = {}
    for name, parameter in parts.model.named_parameters():
        order = find_order(parameter)
        states[name] = {
            key: restore_order(gather_whole(value).to("cpu", copy=True), order if value.ndim else None)
            for key, value in parts.stepper.optimizer.state.get(parameter, {}).items()
        }
    return {"model": gather_weights(parts.model), "optimizer": states}


def check_statistics(world: World) -> dict[str, Any]:
    """Judge a network with batch norm with all processes, and its saved weights with one: it is the same network."""
    data = load_data(load(CNN))
    differences = []
    for strategy in ("ddp", "fsdp"):
        profile = _make_profile(world, strategy, 64, CNN)
        parts = assemble(profile, data, world)
        train(parts, 32, 5)
        evaluation = parts.make_judge(["loss"]).evaluate(Feed(data.val, parts.device, parts.data_world))
        weights = get_weights(parts.model)
        if world.is_first:
            alone = assemble(load(CNN), data)
            alone.model.load_state_dict(weights)
            wanted = alone.make_judge(["loss"]).evaluate(Feed(data.val, alone.device))
            assert evaluation is not None
            assert wanted is not None
            differences.append(abs(evaluation.metrics["loss"] / wanted.metrics["loss"] - 1))
    return {"differences": differences}


def check_noise(world: World) -> dict[str, Any]:
    """Draw numbers for dropout after a training was assembled: other ones in each data process, the same weights."""
    told = {}
    for strategy in ("ddp", "tensor"):
        parts = assemble(_make_profile(world, strategy, 28, MLP), load_data(load(MLP)), world)
        weights = get_weights(parts.model)
        sums = world.gather((float(torch.rand(8).sum()), float(sum(one.double().sum() for one in weights.values()))))
        told[strategy] = {"draws": len({draw for draw, _ in sums}), "networks": len({total for _, total in sums})}
    return told


def main() -> None:
    world_size = int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    profile = load(MLP, "distributed.enabled=true", f"distributed.world_size={world_size}", "distributed.timeout=120")
    with open_world(profile) as world:
        for name in sys.argv[1:]:
            if name.startswith("equal:"):
                _, network, strategy = name.split(":")
                told = check_equal(world, {"mlp": MLP, "transformer": TRANSFORMER, "gpt": GPT}[network], strategy)
            elif name.startswith("state:"):
                _, first, second = name.split(":")
                told = check_state(world, first, second)
            else:
                told = CHECKS[name](world)
            if world.is_first:
                sys.stdout.write(json.dumps({"check": name, **told}) + "\n")
                sys.stdout.flush()


CHECKS: dict[str, Callable[[World], dict[str, Any]]] = {"statistics": check_statistics, "noise": check_noise}

if __name__ == "__main__":
    main()
