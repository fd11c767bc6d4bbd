"""Transfer learning: what is taken from a file, what is refused, and what is trained at which epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from footplate.errors import InputError
from footplate.profile.load import load_profile_text
from footplate.profile.sections.transfer_learning import TransferLearning
from footplate.trainer.progress import Progress
from footplate.trainer.transfer import Freezer, Taken, list_layers, make_freezer, read_weights, take_weights


class Network(nn.Module):
    """An embedding, three blocks of two norms and a head, as people build them."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Linear(4, 8)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)) for _ in range(3))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(inputs)
        for layer in self.encoder.layers:
            hidden = layer(hidden)
        return self.head(self.norm(hidden))  # type: ignore[no-any-return]


def take(path: Path, model: nn.Module) -> Taken | None:
    return take_weights(model, load_profile_text(f"transfer_learning: {{pretrained_model_path: '{path}'}}"))


def freeze(model: nn.Module, taken: Taken | None = None, **settings: Any) -> Freezer | None:
    return make_freezer(model, TransferLearning(**settings), taken)


def list_frozen(model: nn.Module) -> set[str]:
    return {name.rpartition(".")[0] for name, parameter in model.named_parameters() if not parameter.requires_grad}


def test_layers_are_blocks_and_norms_belong_to_what_they_follow() -> None:
    names = [layer.name for layer in list_layers(Network())]
    assert names == ["embedding", "encoder.layers.0.0", "encoder.layers.1.0", "encoder.layers.2.0", "head"]
    assert list_layers(Network())[1].parameters == tuple(
        f"encoder.layers.0.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")
    )
    assert "norm.weight" in list_layers(Network())[3].parameters


def test_a_head_of_another_size_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source, target = Network(classes=10), Network(classes=3)
    source.encoder.layers[0][1].running_mean.fill_(7)  # type: ignore[union-attr,index,operator]
    save_file({**source.state_dict(), "extra.weight": torch.zeros(2)}, tmp_path / "a.safetensors")
    before = target.head.weight.clone()
    taken = take(tmp_path / "a.safetensors", target)
    assert taken is not None
    assert taken.left == ("head.weight ([10, 8] there, [3, 8] here)", "head.bias ([10] there, [3] here)")
    assert taken.unused == ("extra.weight",)
    assert len(taken.names) == len(target.state_dict()) - 2
    assert torch.equal(target.embedding.weight, source.embedding.weight)
    assert torch.equal(target.encoder.layers[0][1].running_mean, torch.full((8,), 7.0))  # type: ignore[union-attr,index]
    assert torch.equal(target.head.weight, before)
    assert "head.weight ([10, 8] there, [3, 8] here)" in caplog.text


@pytest.mark.parametrize("start", ["module.", "_orig_mod.", "model.", "model.module."])
def test_what_wrapping_adds_to_names_is_no_hindrance(tmp_path: Path, start: str) -> None:
    source, target = Network(), Network()
    save_file({f"{start}{name}": value for name, value in source.state_dict().items()}, tmp_path / "a.safetensors")
    taken = take(tmp_path / "a.safetensors", target)
    assert taken is not None
    assert not taken.left + taken.unused
    assert torch.equal(target.head.weight, source.head.weight)


def test_a_run_directory_and_a_plain_pt_are_read(tmp_path: Path) -> None:
    (tmp_path / "run" / "artifacts").mkdir(parents=True)
    source = Network()
    save_file(source.state_dict(), tmp_path / "run" / "artifacts" / "model.safetensors")
    torch.save({"epoch": 3, "state_dict": source.state_dict()}, tmp_path / "a.pt")
    for path in (tmp_path / "run", tmp_path / "a.pt"):
        target = Network()
        assert take(path, target) is not None
        assert torch.equal(target.head.weight, source.head.weight)


def test_a_pt_that_could_run_code_is_refused_with_the_reason(tmp_path: Path) -> None:
    torch.save(Network(), tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"whole.pt is refused: it does not load with weights_only=True") as caught:
        read_weights(tmp_path / "whole.pt")
    assert "safetensors.torch.save_file" in caught.value.hint
    assert caught.value.message.endswith("test_transfer.Network, which is no tensor")
    assert "False" not in caught.value.message  # torch tells how to run the code all the same


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "a.onnx").write_bytes(b"no")
    (tmp_path / "folder").mkdir()
    save_file({"other.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, words in (
        ("missing.safetensors", "does not exist"),
        ("folder", "has no model.safetensors"),
        ("broken.safetensors", "cannot be read"),
        ("a.onnx", "of no kind that is read"),
        ("other.safetensors", "has nothing for this network; it has other.weight, the network has embedding.weight"),
        ("list.pt", "holds no weights by name"),
    ):
        with pytest.raises(InputError, match=words):
            take(tmp_path / name, Network())


@pytest.mark.parametrize(
    ("settings", "frozen"),
    [
        (
            {"freeze_layers": ["embedding", "encoder.layers.0"]},
            {"embedding", "encoder.layers.0.0", "encoder.layers.0.1"},
        ),
        ({"freeze_layers": ["encoder.layers.*.1"]}, {f"encoder.layers.{number}.1" for number in range(3)}),
        ({"freeze_until_layer": "encoder.layers.1"}, {"embedding", "encoder.layers.0.0", "encoder.layers.0.1"}),
        ({"freeze_layers": ["norm"], "freeze_until_layer": "encoder.layers.0"}, {"norm", "embedding"}),
    ],
)
def test_layers_are_frozen_by_name_pattern_and_place(settings: dict[str, Any], frozen: set[str]) -> None:
    model = Network()
    assert freeze(model, **settings) is not None
    assert list_frozen(model) == frozen


def test_frozen_means_all_but_the_head_and_what_starts_from_nothing() -> None:
    model = Network()
    freeze(model, strategy="frozen")
    assert not list_frozen(model) & {"head"}
    assert "norm" in list_frozen(model)
    names = tuple(name for name, _ in model.named_parameters() if not name.startswith("encoder.layers.2"))
    model = Network()
    freeze(model, Taken(source="a", names=names, left=(), unused=()), strategy="frozen")
    assert not any(name.startswith(("head", "encoder.layers.2")) for name in list_frozen(model))
    assert "embedding" in list_frozen(model)


def test_full_and_off_freeze_nothing() -> None:
    assert freeze(Network()) is None
    assert freeze(Network(), enabled=False, strategy="frozen") is None
    assert freeze(Network(), enabled=True) is None


def test_a_layer_that_is_not_there_is_named_with_those_that_are() -> None:
    for key, value in (("freeze_layers", ["embed"]), ("freeze_until_layer", "encoder.layers.7")):
        with pytest.raises(InputError, match=f"transfer_learning.{key}: the network has no layer") as caught:
            freeze(Network(), **{key: value})
        assert "encoder.layers.1.0" in caught.value.hint
    with pytest.raises(InputError, match="nothing would be trained"):
        freeze(Network(), freeze_layers=["*"])


GRADUAL = {
    "strategy": "gradual_unfreezing",
    "freeze_layers": ["embedding", "encoder.layers.0"],
    "freeze_until_layer": "encoder.layers.2",
    "unfreeze_schedule": (10, 20, 30),
}


def test_unfreezing_goes_from_the_last_layer_to_the_first_and_depends_on_the_epoch_alone() -> None:
    walked, jumped = Network(), Network()
    one, other = freeze(walked, **GRADUAL), freeze(jumped, **GRADUAL)
    assert one is not None
    assert other is not None
    assert one.may_thaw
    assert not list_frozen(walked)  # the optimiser takes all of it in
    progress = Progress(num_train=10)
    counts = []
    for epoch in range(32):
        progress.epoch = epoch
        one.on_start(progress) if epoch == 0 else one.on_step(progress)
        counts.append(len({name.rpartition(".")[0] for name in list_frozen(walked)}))
    assert [epoch for epoch in range(1, 32) if counts[epoch] != counts[epoch - 1]] == [10, 20, 30]
    for epoch, left in (
        (25, {"embedding"}),
        (0, None),
        (12, {"embedding", "encoder.layers.0.0", "encoder.layers.0.1"}),
    ):
        other.apply(epoch)
        if left is not None:
            assert list_frozen(jumped) == left
    assert one.state_dict() == {}


def test_what_thaws_is_updated_and_keeps_the_optimisers_other_state() -> None:
    torch.manual_seed(0)
    model = Network()
    freezer = freeze(model, **GRADUAL)
    assert freezer is not None
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1, fused=True)
    freezer.apply(0)
    before = model.embedding.weight.clone()

    def step() -> None:
        model.train()
        nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,))).backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
    assert torch.equal(model.embedding.weight, before)
    assert model.embedding.weight not in optimizer.state
    assert optimizer.state[model.head.weight]["step"] == 3
    freezer.apply(30)
    step()
    assert not torch.equal(model.embedding.weight, before)
    assert optimizer.state[model.embedding.weight]["step"] == 1
    assert optimizer.state[model.head.weight]["step"] == 4


def test_a_frozen_batch_norm_keeps_its_statistics_until_it_thaws() -> None:
    model = Network()
    freezer = freeze(model, **GRADUAL)
    assert freezer is not None
    freezer.apply(0)
    frozen, trained = model.encoder.layers[0][1], model.encoder.layers[2][1]  # type: ignore[union-attr,index]
    for _ in range(2):
        model.eval()
        model.train()
        model(torch.randn(8, 4) + 5)
    assert not frozen.training
    assert frozen.num_batches_tracked == 0
    assert trained.num_batches_tracked == 2
    freezer.apply(20)
    model(torch.randn(8, 4))
    assert frozen.training
    assert frozen.num_batches_tracked == 1
    model.eval()
    assert not frozen.training


def test_a_training_starts_from_another_and_says_what_is_frozen(train: Callable[..., Any], tmp_path: Path) -> None:
    first = train()
    source = first.run.path / "artifacts" / "model.safetensors"
    second = train(
        f"transfer_learning.pretrained_model_path={source}",
        "transfer_learning.strategy=gradual_unfreezing",
        "transfer_learning.unfreeze_schedule=[1]",
        "training.max_epochs=2",
        "training.learning_rate=0.0001",
    )
    told = second.get_events("freeze")
    assert [(event["epoch"], event["frozen"]) for event in told] == [(0, ["layers.0"]), (1, [])]
    assert told[0]["trained_parameters"] < told[1]["trained_parameters"]
    assert second.get_values("train/loss")[0] < first.get_values("train/loss")[0]
