"""Every architecture gives each task of the table its outputs, costs what is planned, and refuses all else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from footplate.errors import InputError
from footplate.profile.architectures import ARCHITECTURES, find_image_shape, find_misfit
from footplate.profile.costs import count_flops, count_parameters, find_cost
from footplate.profile.facts import Signature, TaskKind
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_network, count_model_parameters

INPUTS: dict[str, tuple[tuple[int, ...], int]] = {
    "row": ((7,), 0),
    "sequence": ((40, 4), 0),
    "tokens": ((40,), 20),
    "image": ((3, 11, 13), 0),
    "image-hwc": ((11, 13, 3), 0),
    "image-hw": ((12, 10), 0),
    "large-image": ((1, 70, 66), 0),
}
"""Shape and vocabulary of each kind of input."""


def make_signature(task: TaskKind, kind: str, num_outputs: int = 5) -> Signature:
    shape, vocab_size = INPUTS[kind]
    outputs = vocab_size if task == "language_model" and vocab_size else num_outputs
    return Signature(task=task, input_shape=shape, num_outputs=outputs, vocab_size=vocab_size)


def make_inputs(signature: Signature, size: int = 2) -> Tensor:
    shape = (size, *signature.input_shape)
    return torch.randint(0, signature.vocab_size, shape) if signature.vocab_size else torch.randn(shape)


def list_fitting() -> Iterator[tuple[str, TaskKind, str]]:
    """Yield each architecture with each task and kind of input that the table lets it have."""
    for name, entry in ARCHITECTURES.items():
        for task in entry.tasks:
            for kind in INPUTS:
                if find_misfit(name, make_signature(task, kind)) is None:
                    yield name, task, kind


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(1)


FITTING = list(list_fitting())
KEYS: tuple[dict[str, Any], ...] = (
    {},
    {"dropout": 0.1},
    {"activation": "gelu"},
    {"positions": "rotary"},
    {"bidirectional": True},
    {"num_layers": 4},
    {"intermediate_size": 20, "max_position_embeddings": 128},
)


def make_model(name: str, **keys: Any) -> Model:
    return Model(**{"architecture": name, "hidden_size": 8, "num_layers": 2, "num_attention_heads": 2, **keys})


def list_settings(name: str, task: str) -> list[dict[str, Any]]:
    """Return the settings above that the architecture has."""
    has = ARCHITECTURES[name].keys
    return [
        keys
        for keys in KEYS
        if set(keys) <= set(has)
        and not (name == "rnn" and "activation" in keys)
        and not (task == "language_model" and "bidirectional" in keys)
    ]


def get_output_shape(signature: Signature) -> tuple[int, ...]:
    """Return the shape of the outputs of one sample, as the tasks define them."""
    if signature.task in ("sequence", "language_model"):
        return signature.input_shape[0], signature.num_outputs
    if signature.task == "segmentation":
        image = find_image_shape(signature.input_shape)
        assert image is not None
        return signature.num_outputs, *image[1:]
    return (signature.num_outputs,)


@pytest.mark.parametrize(("name", "task", "kind"), FITTING)
def test_outputs_have_the_shape_of_the_task_and_parameters_the_planned_number(
    name: str, task: TaskKind, kind: str
) -> None:
    signature = make_signature(task, kind)
    for keys in list_settings(name, task):
        model = make_model(name, **keys)
        network = build_network(model, signature)
        assert network(make_inputs(signature)).shape == (2, *get_output_shape(signature)), keys
        assert count_model_parameters(network) == count_parameters(model, signature), keys


def test_every_architecture_and_task_is_tried_on_every_input_it_takes() -> None:
    tried = {(name, task) for name, task, _ in FITTING}
    assert tried == {(name, task) for name, entry in ARCHITECTURES.items() for task in entry.tasks}
    for name, entry in ARCHITECTURES.items():
        kinds = {kind for other, _, kind in FITTING if other == name}
        assert ("tokens" in kinds) == ("tokens" in entry.inputs)
        assert ("image" in kinds) == bool({"images", "sequences", "numbers"} & set(entry.inputs))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("task", get_args(TaskKind))
def test_what_is_not_in_the_table_is_refused_with_what_fits(name: str, task: TaskKind) -> None:
    for kind in INPUTS:
        if (name, task, kind) in FITTING:
            continue
        signature = make_signature(task, kind)
        fitting = [other for other, one, what in FITTING if one == task and what == kind]
        with pytest.raises(InputError, match=r"model\.architecture") as caught:
            build_network(make_model(name), signature)
        assert caught.value.hint == f"what fits: {', '.join(fitting) or 'none of the built-in ones'}"
        assert count_parameters(make_model(name), signature) is None


def test_a_language_model_does_not_read_backwards() -> None:
    with pytest.raises(InputError, match="reads forwards only"):
        build_network(make_model("lstm", bidirectional=True), make_signature("language_model", "tokens"))


@pytest.mark.parametrize(
    ("model", "shape", "outputs", "vocab_size", "parameters"),
    [
        ({"architecture": "resnet", "hidden_size": 64, "num_layers": 4}, (3, 224, 224), 1000, 0, 11_689_512),
        (
            {"architecture": "gpt", "hidden_size": 768, "num_layers": 12, "num_attention_heads": 12},
            (1024,),
            50257,
            50257,
            124_439_808,
        ),
    ],
    ids=["ResNet-18", "GPT-2"],
)
def test_published_networks_have_their_published_size(
    model: dict[str, Any], shape: tuple[int, ...], outputs: int, vocab_size: int, parameters: int
) -> None:
    task: TaskKind = "language_model" if vocab_size else "classification"
    signature = Signature(task=task, input_shape=shape, num_outputs=outputs, vocab_size=vocab_size)
    with torch.device("meta"):
        network = build_network(Model(**model), signature)
    assert count_model_parameters(network) == parameters == count_parameters(Model(**model), signature)


@pytest.mark.parametrize(
    ("name", "task", "kind"),
    [one for one in FITTING if one[0] not in ("rnn", "lstm", "gru") and one[1] != "regression"],
)
def test_operations_are_those_that_torch_counts(name: str, task: TaskKind, kind: str) -> None:
    """Torch counts the forward pass: a third of the whole."""
    model, signature = make_model(name), make_signature(task, kind)
    network = build_network(model, signature).eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(make_inputs(signature, 1))
    assert count_flops(model, signature) == 3 * counter.get_total_flops()


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_operations_of_a_recurrent_layer_are_its_weights_at_each_step(name: str) -> None:
    signature = make_signature("sequence", "sequence")
    network = build_network(make_model(name, bidirectional=True), signature)
    weights = sum(parameter.numel() for parameter in network.parameters() if parameter.ndim == 2)
    assert count_flops(make_model(name, bidirectional=True), signature) == 6 * weights * signature.input_shape[0]


# A sequence of single numbers or of rows of pixels is dwarfed by what is not counted.
IMAGE_NETWORKS = ("mlp", "cnn", "resnet", "unet")
MEASURED = [
    (name, task, kind)
    for name, task, kind in FITTING
    if task not in ("regression", "multi_label")
    and (kind in ("image", "large-image") if name in IMAGE_NETWORKS else kind in ("sequence", "tokens"))
]


@pytest.mark.parametrize(("name", "task", "kind"), MEASURED)
@pytest.mark.parametrize("computes_again", [False, True], ids=["kept", "again"])
def test_the_values_kept_are_those_that_torch_keeps_and_at_most_twice_as_many(
    name: str, task: TaskKind, kind: str, computes_again: bool
) -> None:
    signature = make_signature(task, kind)
    for keys in list_settings(name, task):
        model = make_model(name, hidden_size=32, **keys)
        network = build_network(model, signature)
        if computes_again:
            network.computes_again = True
        cost = find_cost(model, signature)
        assert cost is not None
        kept = measure_kept(network, signature)
        estimate = cost.count_kept(computes_again=computes_again)
        inside = max(part.kept for part, _ in cost.layers) if computes_again else 0  # of one layer at a time
        assert kept <= estimate <= 2 * (kept + inside), keys


def measure_kept(network: torch.nn.Module, signature: Signature) -> float:
    """Return the values of one sample that a forward pass with its loss keeps; the weights are not counted."""
    weights = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(make_inputs(signature, 4))
        if signature.task in ("sequence", "language_model", "segmentation"):
            classes_last = outputs.movedim(1, -1) if signature.task == "segmentation" else outputs
            logits = classes_last.reshape(-1, signature.num_outputs)
            functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))
        else:
            outputs.sum()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 4 / 4


def test_channels_last_and_missing_channels_are_read_as_such() -> None:
    for name in ("cnn", "resnet", "unet"):
        task: TaskKind = "segmentation"
        network = build_network(make_model(name), make_signature(task, "image-hwc")).eval()
        twin = build_network(make_model(name), make_signature(task, "image")).eval()
        twin.load_state_dict(network.state_dict())
        images = torch.randn(2, 11, 13, 3)
        torch.testing.assert_close(network(images), twin(images.permute(0, 3, 1, 2)))


def test_a_unet_pads_and_cuts_so_that_each_pixel_keeps_its_place() -> None:
    signature = Signature(task="segmentation", input_shape=(1, 9, 14), num_outputs=2)
    network = build_network(make_model("unet", num_layers=3), signature).eval()
    image = torch.randn(1, 1, 9, 14)
    padded = functional.pad(image, (0, 2, 0, 7), mode="replicate")
    assert math.prod(padded.shape) == 16 * 16
    torch.testing.assert_close(network(image), network(padded)[..., :9, :14])
