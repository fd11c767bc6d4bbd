"""Device, optimiser, precision, task: what is asked for is what is built, or it is said why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from footplate.data.scaler import Scaler
from footplate.errors import InputError
from footplate.profile.facts import DataFacts
from footplate.profile.sections.training import MixedPrecision, Training
from footplate.trainer.device import choose_device, describe_device
from footplate.trainer.optim import build_optimizer, set_learning_rate
from footplate.trainer.precision import Precision
from footplate.trainer.task import check_model_fits, make_task

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_named_with_what_is_there() -> None:
    with pytest.raises(InputError, match=r"device: cuda is asked for.*there is: cpu"):
        choose_device("cuda")
    with pytest.raises(InputError, match="asks for 2 GPU"):
        choose_device("auto", 2)


def test_no_gpus_means_the_cpu() -> None:
    assert choose_device("auto", 0) == CPU
    assert describe_device(CPU).startswith("cpu, ")


@pytest.mark.parametrize(
    ("name", "kind", "fused"),
    [
        ("adam", torch.optim.Adam, True),
        ("adamw", torch.optim.AdamW, True),
        ("sgd", torch.optim.SGD, True),
        ("adagrad", torch.optim.Adagrad, True),
        ("rmsprop", torch.optim.RMSprop, None),
        ("NAdam", torch.optim.NAdam, None),
        ("torch.optim.adamax:Adamax", torch.optim.Adamax, None),
    ],
)
def test_optimisers_get_their_keys_and_are_fused_where_torch_can(name: str, kind: type, fused: bool | None) -> None:
    training = Training(optimizer=name, learning_rate=0.5, weight_decay=0.25, adam_beta1=0.8, momentum=0.7)
    optimizer = build_optimizer(training, nn.Linear(2, 2).parameters(), CPU)
    assert type(optimizer) is kind
    assert optimizer.defaults["lr"] == 0.5
    assert optimizer.defaults["weight_decay"] == 0.25
    assert optimizer.defaults.get("fused") is fused
    if "betas" in optimizer.defaults:
        assert optimizer.defaults["betas"] == (0.8, 0.999)
    if kind in (torch.optim.SGD, torch.optim.RMSprop):
        assert optimizer.defaults["momentum"] == 0.7
    set_learning_rate(optimizer, 0.1)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"optimizer": "adamx"}, "there is no adamx; torch has: .*adamw"),
        ({"optimizer": "torch.nn:Linear"}, "is no torch.optim.Optimizer"),
        ({"optimizer": "lbfgs"}, "computes the loss several times"),
        ({"optimizer": "rprop", "weight_decay": 0.1}, "has no weight decay"),
    ],
)
def test_an_optimiser_that_cannot_be_used_is_named_with_its_reason(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_optimizer(Training(**keys), nn.Linear(2, 2).parameters(), CPU)


class FaultyOptimizer(torch.optim.SGD):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.defaults["lr"] + "1"


def test_a_fault_in_the_users_optimiser_is_told_with_its_line() -> None:
    name = f"{__name__}:FaultyOptimizer"
    with pytest.raises(InputError, match=r"building .* failed: TypeError: .* in __init__: self.defaults"):
        build_optimizer(Training(optimizer=name), nn.Linear(2, 2).parameters(), CPU)


def test_a_network_without_parameters_cannot_be_trained() -> None:
    with pytest.raises(InputError, match="no parameters"):
        build_optimizer(Training(), nn.ReLU().parameters(), CPU)


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(InputError, match="fp16 runs on GPUs only"):
        Precision(MixedPrecision(enabled=True, precision="fp16"), CPU)


def test_bf16_is_used_inside_and_weights_stay_fp32() -> None:
    precision = Precision(MixedPrecision(enabled=True, precision="bf16"), CPU)
    layer = nn.Linear(2, 2)
    with precision.autocast():
        assert layer(torch.randn(1, 2)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32
    assert precision.name == "bf16"


def make_facts(classes: int = 0, target_shape: tuple[int, ...] = ()) -> DataFacts:
    return DataFacts(
        source="test",
        num_train=1,
        num_val=0,
        num_test=0,
        input_shape=(4,),
        input_dtype="float32",
        target_shape=target_shape,
        target_dtype="float32",
        classes=tuple(str(number) for number in range(classes)),
    )


@pytest.mark.parametrize(
    ("model", "classes", "target_shape", "words"),
    [
        (nn.Linear(5, 3), 3, (), r"does not take inputs of shape \[4\]: RuntimeError: mat1 and mat2"),
        (nn.Linear(4, 2), 3, (), r"gives \[2\] per sample, the data have 3 classes"),
        (nn.Linear(4, 2), 0, (3,), r"gives \[2\] per sample, the data have targets of shape \[3\]"),
        (nn.LSTM(4, 3), 3, (), "forward must return a tensor"),
        (nn.Flatten(0), 3, (), "forward must return a tensor"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_named_with_the_shapes(
    model: nn.Module, classes: int, target_shape: tuple[int, ...], words: str
) -> None:
    task = make_task(Training(), make_facts(classes, target_shape), Scaler())
    with pytest.raises(InputError, match=words):
        check_model_fits(model, task, torch.randn(2, 4), name="mine:Net")


class Faulty(nn.Linear):
    """A network with a fault of its own, which no other shape would mend."""

    def __init__(self, fault: str) -> None:
        super().__init__(4, 3)
        self.fault = fault

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.fault == "type":
            return torch.zeros(len(3))  # type: ignore[arg-type]
        if self.fault == "memory":
            return torch.empty(2**48)
        return self.nothing_of_the_kind(inputs)  # type: ignore[no-any-return, operator]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "type",
            r"mine:Net fails on inputs of shape \[4\]: TypeError: .* \(test_parts.py line \d+, in forward: return",
        ),
        ("attribute", r"mine:Net fails on inputs of shape \[4\]: AttributeError: .* in forward: return self.nothing"),
    ],
)
def test_a_fault_in_the_users_forward_is_told_with_its_line(fault: str, words: str) -> None:
    task = make_task(Training(), make_facts(3), Scaler())
    with pytest.raises(InputError, match=words):
        check_model_fits(Faulty(fault), task, torch.randn(2, 4), name="mine:Net")


def test_no_memory_for_the_first_samples_is_no_mistake_of_the_profile() -> None:
    task = make_task(Training(), make_facts(3), Scaler())
    with pytest.raises(RuntimeError, match="memory"):
        check_model_fits(Faulty("memory"), task, torch.randn(2, 4), name="mine:Net")


@pytest.mark.parametrize(("model", "target_shape"), [(nn.Linear(4, 6), (2, 3)), (nn.Linear(4, 1), ())])
def test_outputs_of_the_right_size_fit_targets_of_any_shape(model: nn.Module, target_shape: tuple[int, ...]) -> None:
    task = make_task(Training(), make_facts(target_shape=target_shape), Scaler())
    check_model_fits(model, task, torch.randn(2, 4), name="mine:Net")
    assert task.compute_loss(model(torch.randn(2, 4)), torch.randn(2, *target_shape)).shape == ()


def test_label_smoothing_is_torchs() -> None:
    task = make_task(Training(label_smoothing=0.1), make_facts(3), Scaler())
    outputs, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    wanted = nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1)
    assert torch.equal(task.compute_loss(outputs, targets), wanted)
