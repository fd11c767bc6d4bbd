"""Parameters are counted exactly; the memory estimate adds up and says how."""

from __future__ import annotations

from typing import Any

import pytest

from footplate.profile.architectures import find_image_shape
from footplate.profile.costs import count_parameters
from footplate.profile.facts import DataFacts, DeviceFacts, Facts, Signature
from footplate.profile.model import Profile
from footplate.profile.sections.model import Model
from footplate.profile.size import estimate_memory, find_device_kind


def _data(**changes: Any) -> DataFacts:
    values: dict[str, Any] = {
        "source": "x.npz",
        "num_train": 1000,
        "num_val": 100,
        "num_test": 100,
        "input_shape": (64,),
        "input_dtype": "float32",
        "target_shape": (),
        "target_dtype": "int64",
        "classes": tuple("0123456789"),
    }
    return DataFacts(**{**values, **changes})


def make_signature(shape: tuple[int, ...], num_outputs: int) -> Signature:
    return Signature(task="classification", input_shape=shape, num_outputs=num_outputs)


def _count_torch(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("num_layers", [1, 3])
def test_mlp_is_counted_as_torch_counts_it(num_layers: int) -> None:
    nn = pytest.importorskip("torch").nn
    layers = [nn.Linear(64, 32)] + [nn.Linear(32, 32) for _ in range(num_layers - 1)] + [nn.Linear(32, 10)]
    model = Model(architecture="mlp", hidden_size=32, num_layers=num_layers)
    assert count_parameters(model, make_signature((8, 8), 10)) == _count_torch(nn.Sequential(*layers))


@pytest.mark.parametrize("shape", [(3, 16, 20), (16, 20, 3)])
def test_cnn_is_counted_as_torch_counts_it(shape: tuple[int, ...]) -> None:
    nn = pytest.importorskip("torch").nn
    layers = []
    for before, width in ((3, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
    module = nn.Sequential(*layers, nn.Linear(32, 5))
    model = Model(architecture="cnn", hidden_size=8, num_layers=3)
    assert count_parameters(model, make_signature(shape, 5)) == _count_torch(module)


@pytest.mark.parametrize(("intermediate_size", "positions"), [(None, None), (48, 200)])
def test_transformer_is_counted_as_torch_counts_it(intermediate_size: int | None, positions: int | None) -> None:
    nn = pytest.importorskip("torch").nn
    layer = nn.TransformerEncoderLayer(32, 4, intermediate_size or 128, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    module = nn.ModuleList(
        [nn.Linear(7, 32), nn.Embedding(positions or 100, 32), encoder, nn.LayerNorm(32), nn.Linear(32, 10)]
    )
    model = Model(
        architecture="transformer",
        hidden_size=32,
        num_layers=2,
        intermediate_size=intermediate_size,
        max_position_embeddings=positions,
    )
    assert count_parameters(model, make_signature((100, 7), 10)) == _count_torch(module)


def test_what_cannot_be_counted_is_none() -> None:
    assert count_parameters(Model(architecture="my.models:Net"), make_signature((64,), 10)) is None
    assert count_parameters(Model(architecture="cnn"), make_signature((64,), 10)) is None
    assert count_parameters(Model(architecture="transformer"), make_signature((), 10)) is None


@pytest.mark.parametrize(
    ("shape", "image"),
    [((8, 8), (1, 8, 8)), ((3, 32, 30), (3, 32, 30)), ((32, 30, 3), (3, 32, 30)), ((4, 4, 4), (4, 4, 4)), ((5,), None)],
)
def test_channels_are_found_first_or_last(shape: tuple[int, ...], image: tuple[int, ...] | None) -> None:
    assert find_image_shape(shape) == image


def test_the_estimate_shows_its_arithmetic() -> None:
    profile = Profile.model_validate(
        {"device": "cpu", "model": {"hidden_size": 1000}, "training": {"optimizer": "adam", "batch_size": 128}}
    )
    estimate = estimate_memory(profile, Facts(data=_data()))
    assert estimate is not None
    assert estimate.num_parameters == 64 * 1000 + 1000 + 1000 * 1000 + 1000 + 10 * 1000 + 10
    assert estimate.bytes_per_parameter == 16
    assert estimate.total_gb == pytest.approx((1_076_010 * 16 + 128 * 4 * (64 + 2 * 2000 + 10)) / 1e9 + 0.4)
    assert estimate.to_text() == (
        "1.1 M parameters × 16 B (weights, gradients, 2 × Adam) = 17.2 MB"
        " + activations 128 × 16.3 kB = 2.09 MB + torch 400 MB → 419 MB"
    )


@pytest.mark.parametrize(
    ("training", "size"),
    [
        ({"optimizer": "adamw"}, 16),
        ({"optimizer": "sgd"}, 12),
        ({"optimizer": "sgd", "momentum": 0.0}, 8),
        ({"optimizer": "rmsprop"}, 16),
        ({"optimizer": "rmsprop", "momentum": 0.0}, 12),
        ({"optimizer": "adagrad"}, 12),
        ({"optimizer": "my.optim:Lion"}, 16),
        ({"optimizer": "adam", "mixed_precision": {"enabled": True}}, 18),
    ],
)
def test_each_optimiser_keeps_its_state(training: dict[str, Any], size: int) -> None:
    estimate = estimate_memory(Profile.model_validate({"training": training}), Facts(data=_data()))
    assert estimate is not None
    assert estimate.bytes_per_parameter == size


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ({"architecture": "mlp", "hidden_size": 512, "num_layers": 3, "dropout": 0.1}, (64,)),
        ({"architecture": "mlp", "hidden_size": 512, "num_layers": 3, "activation": "gelu"}, (64,)),
        ({"architecture": "cnn", "hidden_size": 16, "num_layers": 3}, (3, 32, 32)),
        ({"architecture": "transformer", "hidden_size": 64}, (100, 32)),
        ({"architecture": "transformer", "hidden_size": 64, "dropout": 0.1}, (100, 32)),
    ],
)
def test_the_activations_are_those_that_torch_keeps_and_at_most_twice_as_many(
    model: dict[str, Any], shape: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")
    from footplate.trainer.architectures import build_network

    profile = Profile.model_validate({"model": model, "device": "cpu"})
    estimate = estimate_memory(profile, Facts(data=_data(input_shape=shape)))
    network = build_network(profile.model, make_signature(shape, 10))
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        if tensor.data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.randn(32, *shape)).sum()
    per_sample = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 32
    assert estimate is not None
    assert estimate.activation_bytes is not None
    assert per_sample <= estimate.activation_bytes <= 2 * per_sample


def test_mixed_precision_halves_the_activations() -> None:
    def activations(mixed: bool, **model: Any) -> int | None:
        profile = Profile.model_validate({"model": model, "training": {"mixed_precision": {"enabled": mixed}}})
        estimate = estimate_memory(profile, Facts(data=_data(input_shape=(16, 16))))
        return estimate.activation_bytes if estimate else None

    for architecture in ("mlp", "cnn", "transformer"):
        full, half = activations(False, architecture=architecture), activations(True, architecture=architecture)
        assert full is not None
        assert half is not None
        assert full == 2 * half


def test_gradient_checkpointing_keeps_less_of_each_layer() -> None:
    def activations(on: bool) -> int:
        section = {"gradient_checkpointing": on}
        model = {"architecture": "gpt", "num_layers": 12}
        profile = Profile.model_validate({"model": model, "embedded_optimizations": section})
        data = _data(input_shape=(256,), task="language_model", vocab_size=512, classes=())
        estimate = estimate_memory(profile, Facts(data=data))
        assert estimate is not None
        assert estimate.activation_bytes is not None
        return estimate.activation_bytes

    assert activations(True) < 0.4 * activations(False)


@pytest.mark.parametrize(
    ("strategy", "more", "shards"),
    [
        ("ddp", {}, 1),
        ("fsdp", {}, 8),
        ("hsdp", {"num_nodes": 2}, 4),
        ("fsdp+tensor", {}, 4),
    ],
)
def test_processes_that_share_the_weights_divide_them(strategy: str, more: dict[str, Any], shards: int) -> None:
    resources = {"num_gpus": 8, **more}
    profile = Profile.model_validate(
        {"device": "cuda", "distributed": {"enabled": True, "strategy": strategy}, "resources": resources}
    )
    known = Facts(data=_data(), num_parameters=8_000_000)
    estimate = estimate_memory(profile, known)
    assert estimate is not None
    assert estimate.state_bytes == 8_000_000 * 16 / shards
    assert (f"÷ {shards} processes = {128 / shards:.3g} MB" in estimate.to_text()) == (shards > 1)
    alone = estimate_memory(Profile.model_validate({"device": "cuda"}), known)
    assert alone is not None
    assert alone.total_gb - estimate.total_gb == pytest.approx(0.128 * (1 - 1 / shards))


def test_what_is_not_known_is_not_guessed() -> None:
    own = Profile.model_validate({"model": {"architecture": "my.models:Net"}})
    assert estimate_memory(own, Facts(data=_data())) is None
    assert estimate_memory(Profile(), Facts()) is None
    known = estimate_memory(own, Facts(data=_data(), num_parameters=1_000_000))
    assert known is not None
    assert known.activation_bytes is None
    assert known.total_gb == pytest.approx(0.016 + 0.4)
    assert known.to_text().endswith("and the activations, which are not known")


def test_auto_finds_the_device_only_where_it_was_seen() -> None:
    gpu = Facts(device=DeviceFacts(host="h", num_cpus=8, memory_gb=64, gpus=(("A100", 80.0),)))
    bare = Facts(device=DeviceFacts(host="h", num_cpus=8, memory_gb=64))
    assert find_device_kind(Profile(), gpu) == "cuda"
    assert find_device_kind(Profile(), bare) == "cpu"
    assert find_device_kind(Profile(), Facts()) is None
    apple = Facts(device=DeviceFacts(host="h", num_cpus=8, memory_gb=16, cpu_name="Apple silicon"))
    assert find_device_kind(Profile(), apple) == "mps"
    assert find_device_kind(Profile.model_validate({"resources": {"num_gpus": 0}}), gpu) == "cpu"
    assert find_device_kind(Profile.model_validate({"device": "mps"}), bare) == "mps"
