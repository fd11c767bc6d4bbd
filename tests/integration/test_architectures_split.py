"""Two processes that share or split a network give the numbers of one, its layers computed again or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from footplate.profile.architectures import ARCHITECTURES
from footplate.profile.facts import Signature, TaskKind
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_network, compute_layers_again, get_layer_stack, get_tensor_plan

CASES: list[tuple[str, TaskKind, tuple[int, ...], int]] = [
    ("mlp", "classification", (20,), 0),
    ("cnn", "classification", (3, 12, 12), 0),
    ("resnet", "classification", (3, 12, 12), 0),
    ("unet", "segmentation", (3, 12, 12), 0),
    ("rnn", "sequence", (12, 3), 0),
    ("lstm", "language_model", (12,), 11),
    ("gru", "classification", (12, 3), 0),
    ("transformer", "sequence", (12, 3), 0),
    ("lightweight_transformer", "language_model", (12,), 11),
    ("gpt", "language_model", (12,), 11),
]
SPLIT = {"mlp", "transformer", "lightweight_transformer", "gpt"}
"""Architectures whose layers can be split among processes."""


def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    assert {name for name, *_ in CASES} == set(ARCHITECTURES)
    told = tmp_path / "told.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    differences = json.loads(told.read_text())
    wanted = {f"{name} {how} {again}" for name, *_ in CASES for how in ("fsdp", "tensor") for again in (False, True)}
    assert set(differences) == {case for case in wanted if "tensor" not in case or case.split()[0] in SPLIT}
    for case, (outputs, gradients) in differences.items():
        limit = 0.0 if "fsdp" in case else 1e-6
        assert outputs <= limit, case
        assert gradients <= limit, case


def compare(case: tuple[str, TaskKind, tuple[int, ...], int], how: str, *, again: bool) -> list[float] | None:
    """Return the largest difference of outputs and of gradients; None where nothing can be split."""
    name, task, shape, vocab_size = case
    signature = Signature(task=task, input_shape=shape, num_outputs=vocab_size or 4, vocab_size=vocab_size)
    networks = []
    for _ in range(2):
        torch.manual_seed(1)
        networks.append(build_network(Model(architecture=name, hidden_size=16), signature))
    whole, shared = networks
    inputs = torch.randint(0, vocab_size, (4, *shape)) if vocab_size else torch.randn(4, *shape)
    if again:
        compute_layers_again(shared)
    if not share(shared, how):
        return None
    outputs = [whole(inputs), shared(inputs)]
    for output in outputs:
        output.square().mean().backward()
    gradients = [
        (get_whole(one) - get_whole(two)).abs().max().item()
        for one, two in zip(whole.parameters(), shared.parameters(), strict=True)
    ]
    return [(outputs[0] - outputs[1]).abs().max().item(), max(gradients)]


def share(network: nn.Module, how: str) -> bool:
    devices: DeviceMesh = init_device_mesh("cpu", (2,))
    if how == "fsdp":
        for layer in get_layer_stack(network) or ():
            fully_shard(layer, mesh=devices)
        fully_shard(network, mesh=devices)
        return True
    styles = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}
    plan = {name: styles[split]() for name, split in get_tensor_plan(network).items()}
    if plan:
        parallelize_module(network, devices, plan)
    return bool(plan)


def get_whole(parameter: nn.Parameter) -> torch.Tensor:
    gradient = parameter.grad
    assert gradient is not None
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = {}
    for case in CASES:
        for how in ("fsdp", "tensor"):
            for again in (False, True):
                difference = compare(case, how, again=again)
                if difference is not None:
                    found[f"{case[0]} {how} {again}"] = difference
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
