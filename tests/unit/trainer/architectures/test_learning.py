"""Every architecture learns a small task of every kind that the table gives it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from footplate.profile.architectures import ARCHITECTURES
from footplate.profile.facts import Signature, TaskKind
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_network

NUM_SAMPLES, LENGTH, TOKENS, SIDE = 32, 8, 6, 8
STEPS = 40
CASES = [(name, task) for name, entry in ARCHITECTURES.items() for task in entry.tasks]


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(1)


def make_inputs(name: str, task: TaskKind) -> Tensor:
    if task == "language_model":
        starts = torch.randint(0, TOKENS, (NUM_SAMPLES, 1))
        return (starts + torch.arange(LENGTH)) % TOKENS
    if "images" in ARCHITECTURES[name].inputs:
        return torch.randn(NUM_SAMPLES, 2, 2).repeat_interleave(SIDE // 2, 1).repeat_interleave(SIDE // 2, 2)
    return torch.randn(NUM_SAMPLES, LENGTH, 2)


def make_targets(task: TaskKind, inputs: Tensor) -> Tensor:
    flat = inputs.flatten(1).float()
    if task == "classification":
        return (flat.mean(1) > 0).long()
    if task == "regression":
        return flat.mean(1, keepdim=True)
    if task == "multi_label":
        return torch.stack([flat.mean(1) > 0, flat.mean(1) < 0], dim=1).float()
    if task == "sequence":
        return (inputs[..., 0] > 0).long()
    return (inputs + 1) % TOKENS if task == "language_model" else (inputs > 0).long()


def compute_loss(task: TaskKind, outputs: Tensor, targets: Tensor) -> Tensor:
    if task == "regression":
        return functional.mse_loss(outputs, targets)
    if task == "multi_label":
        return functional.binary_cross_entropy_with_logits(outputs, targets)
    if task in ("sequence", "language_model"):
        outputs = outputs.movedim(-1, 1)
    return functional.cross_entropy(outputs, targets)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_loss_falls(name: str, task: TaskKind) -> None:
    inputs = make_inputs(name, task)
    targets = make_targets(task, inputs)
    is_text = task == "language_model"
    signature = Signature(
        task=task,
        input_shape=tuple(inputs.shape[1:]),
        num_outputs=TOKENS if is_text else 1 if task == "regression" else 2,
        vocab_size=TOKENS if is_text else 0,
    )
    network = build_network(Model(architecture=name, hidden_size=16, num_layers=1, num_attention_heads=2), signature)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = compute_loss(task, network(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0], losses[:: STEPS // 6]
