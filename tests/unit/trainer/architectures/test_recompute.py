"""Layers that are computed again give the same numbers to the bit and keep less."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from footplate.profile.architectures import ARCHITECTURES
from footplate.profile.costs import find_cost
from footplate.profile.facts import Signature, TaskKind
from footplate.profile.load import load_profile_text
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_model, build_network, compute_layers_again, get_layer_stack

CASES: list[tuple[str, TaskKind, tuple[int, ...], int]] = [
    ("mlp", "classification", (20,), 0),
    ("cnn", "classification", (3, 12, 12), 0),
    ("cnn", "segmentation", (3, 12, 12), 0),
    ("resnet", "classification", (3, 12, 12), 0),
    ("unet", "segmentation", (3, 12, 12), 0),
    ("rnn", "sequence", (12, 3), 0),
    ("lstm", "language_model", (12,), 11),
    ("gru", "classification", (12, 3), 0),
    ("transformer", "classification", (12, 3), 0),
    ("lightweight_transformer", "language_model", (12,), 11),
    ("gpt", "language_model", (12,), 11),
]


class Recorded:
    """One training step: loss, gradients, buffers, and where the random numbers stand after it."""

    def __init__(self, network: nn.Module, inputs: Tensor, *, bf16: bool = False) -> None:
        torch.manual_seed(7)
        self.kept = 0
        network.train()
        with torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                outputs = network(inputs)
            self.loss = outputs.float().square().mean()
        self.loss.backward()
        self.gradients = [parameter.grad for parameter in network.parameters()]
        self.buffers = list(network.buffers())
        self.random = torch.get_rng_state()

    def _count(self, tensor: Tensor) -> Tensor:
        self.kept += tensor.nbytes
        return tensor

    def is_equal_to(self, other: Recorded) -> bool:
        mine = [self.loss, *self.gradients, *self.buffers, self.random]
        others = [other.loss, *other.gradients, *other.buffers, other.random]
        return len(mine) == len(others) and all(
            one is not None and two is not None and torch.equal(one, two) for one, two in zip(mine, others, strict=True)
        )


def make_twins(name: str, signature: Signature, **keys: Any) -> tuple[nn.Module, nn.Module]:
    model = Model(**{"architecture": name, "hidden_size": 16, "num_layers": 4, "dropout": 0.3, **keys})
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build_network(model, signature))
    assert compute_layers_again(networks[1])
    return networks[0], networks[1]


def make_inputs(signature: Signature) -> Tensor:
    shape = (4, *signature.input_shape)
    return torch.randint(0, signature.vocab_size, shape) if signature.vocab_size else torch.randn(shape)


def test_every_architecture_is_tried() -> None:
    assert {name for name, *_ in CASES} == set(ARCHITECTURES)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("name", "task", "shape", "vocab_size"), CASES)
def test_numbers_are_the_same_with_dropout_and_batch_norm(
    name: str, task: TaskKind, shape: tuple[int, ...], vocab_size: int, bf16: bool
) -> None:
    signature = Signature(task=task, input_shape=shape, num_outputs=vocab_size or 5, vocab_size=vocab_size)
    attention = {"attention_dropout": 0.2} if "attention_dropout" in ARCHITECTURES[name].keys else {}
    plain, again = make_twins(name, signature, **attention)
    inputs = make_inputs(signature)
    one, two = Recorded(plain, inputs, bf16=bf16), Recorded(again, inputs, bf16=bf16)
    assert one.is_equal_to(two)
    assert two.kept < one.kept


@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.parametrize("name", ["resnet", "gpt"])
def test_a_compiled_network_computes_again_too(name: str) -> None:
    case = next(case for case in CASES if case[0] == name)
    signature = Signature(task=case[1], input_shape=case[2], num_outputs=case[3] or 5, vocab_size=case[3])
    plain, again = make_twins(name, signature, dropout=0.0, num_layers=1)
    inputs = make_inputs(signature)
    compiled = torch.compile(again, backend="aot_eager", fullgraph=True)
    for network in (plain, compiled):
        network(inputs).square().mean().backward()
    for one, two in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-6)
    for one, two in zip(plain.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(one, two)  # statistics are counted once


def test_a_judgement_without_gradients_computes_nothing_twice() -> None:
    _, again = make_twins("gpt", Signature(task="language_model", input_shape=(6,), num_outputs=9, vocab_size=9))
    calls = []
    for layer in get_layer_stack(again) or ():
        layer.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        again(torch.randint(0, 9, (2, 6)))
    assert len(calls) == 4
    again(torch.randint(0, 9, (2, 6))).sum().backward()
    assert len(calls) == 4 + 2 * 4


def test_the_estimate_shrinks_with_the_depth() -> None:
    model = Model(architecture="transformer", num_layers=12, hidden_size=64)
    cost = find_cost(model, Signature(task="classification", input_shape=(50, 8), num_outputs=3))
    assert cost is not None
    assert cost.count_kept(computes_again=True) < 0.25 * cost.count_kept(computes_again=False)


OWN = """
from torch import nn

class Deep(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layers = nn.{kind}(
            {open}nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)) for _ in range(3)]
        )
        self.head = nn.Linear(8, num_outputs)

    def forward(self, inputs):
        for layer in self.layers:
            inputs = layer(inputs)
        return self.head(inputs)

class Flat(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.only = nn.Linear(8, num_outputs)

    def forward(self, inputs):
        return self.only(inputs)
"""
PROFILE = "model: {{architecture: 'own_nets:{name}'}}\nembedded_optimizations: {{gradient_checkpointing: {on}}}"


def build_own(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, on: bool) -> nn.Module:
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    torch.manual_seed(3)
    profile = load_profile_text(PROFILE.format(name=name, on=str(on).lower()))
    return build_model(profile, Signature(task="classification", input_shape=(8,), num_outputs=3))


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
def test_layers_of_a_class_of_the_users_are_computed_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_nets.py").write_text(
        OWN.replace("{open}", "*[" if kind == "Sequential" else "[").replace("{kind}", kind)
    )
    inputs = torch.randn(4, 8)
    plain, again = (Recorded(build_own(tmp_path, monkeypatch, "Deep", on=on), inputs) for on in (False, True))
    assert plain.is_equal_to(again)
    assert again.kept < plain.kept


def test_a_class_without_layers_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "own_nets.py").write_text(OWN.replace("{open}", "[").replace("{kind}", "ModuleList"))
    network = build_own(tmp_path, monkeypatch, "Flat", on=True)
    assert get_layer_stack(network) is None
    assert "own_nets:Flat has no stack of layers" in caplog.text
