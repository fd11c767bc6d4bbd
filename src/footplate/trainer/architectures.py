"""The networks: mlp, cnn and transformer, and classes of the user's."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from footplate.errors import InputError
from footplate.profile.facts import Signature
from footplate.profile.model import Profile
from footplate.profile.sections.model import BUILT_IN_ARCHITECTURES, Model
from footplate.trainer.failure import describe_failure, find_users_line, is_out_of_memory
from footplate.trainer.user_code import find_class, takes_argument

__all__ = ["CNN", "MLP", "Transformer", "build_model", "build_network", "count_model_parameters", "get_model_section"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def build_model(profile: Profile, signature: Signature) -> nn.Module:
    """Return the network of the profile for data of this signature, with fresh weights."""
    return build_network(get_model_section(profile), signature)


def get_model_section(profile: Profile) -> Model:
    """Return the section ``model``, with the older spelling `training.dropout` in its place."""
    older = profile.training.dropout
    if older is None or "dropout" in profile.model.model_fields_set:
        return profile.model
    return profile.model.model_copy(update={"dropout": older})


def build_network(model: Model, signature: Signature) -> nn.Module:
    """Return the network of the section ``model`` for data of this signature.

    Raises InputError when the class is not there, is no ``nn.Module`` or refuses its arguments, or when the
    shape does not fit.
    """
    input_shape, num_outputs = signature.input_shape, signature.num_outputs
    if model.architecture == "mlp":
        return MLP(model, input_shape, num_outputs)
    if model.architecture == "cnn":
        return CNN(model, input_shape, num_outputs)
    if model.architecture == "transformer":
        return Transformer(model, input_shape, num_outputs)
    if ":" in model.architecture and not model.architecture.startswith("hf:"):
        return _build_users(model, input_shape, num_outputs)
    raise InputError(
        f"model.architecture: {model.architecture} is not built in; there are: {', '.join(BUILT_IN_ARCHITECTURES)}",
        hint="your own class is written package.module:Class",
    )


def count_model_parameters(network: nn.Module) -> int:
    """Return how many numbers of the network are trained or frozen; buffers are not counted."""
    return sum(parameter.numel() for parameter in network.parameters())


class MLP(nn.Module):
    """Fully connected layers over the flattened input."""

    def __init__(self, model: Model, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = math.prod(input_shape)
        for _ in range(model.num_layers):
            layers += [nn.Linear(width, model.hidden_size), _ACTIVATIONS[model.activation]()]
            if model.dropout:
                layers.append(nn.Dropout(model.dropout))
            width = model.hidden_size
        layers.append(nn.Linear(width, num_outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs if inputs.ndim == 2 else inputs.flatten(1))  # type: ignore[no-any-return]


class CNN(nn.Module):
    """Blocks of convolution, batch norm, activation and pooling; each halves the image and doubles the channels."""

    def __init__(self, model: Model, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        self.layout = _find_image_layout(input_shape)
        channels, height, width = _read_image_shape(input_shape, self.layout)
        blocks: list[nn.Module] = []
        out = model.hidden_size
        for _ in range(model.num_layers):
            blocks += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)]
            blocks.append(_ACTIVATIONS[model.activation]())
            if min(height, width) >= 2:
                blocks.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            channels, out = out, out * 2
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(model.dropout)
        self.head = nn.Linear(channels, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.layout == "HW":
            inputs = inputs.unsqueeze(1)
        elif self.layout == "HWC":
            inputs = inputs.permute(0, 3, 1, 2)
        features = self.blocks(inputs).mean(dim=(2, 3))
        return self.head(self.dropout(features))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Encoder layers over a sequence, averaged over its positions."""

    def __init__(self, model: Model, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        if not input_shape:
            raise InputError("model.architecture: a transformer takes sequences; an input of this data is one number")
        self.length = input_shape[0]
        features = math.prod(input_shape[1:])
        positions = model.max_position_embeddings or self.length
        if positions < self.length:
            raise InputError(
                f"model.max_position_embeddings is {positions}, but a sequence of the data has {self.length} positions",
                hint=f"set it to {self.length} or more, or leave it out",
            )
        if model.hidden_size % model.num_attention_heads:
            raise InputError(
                f"model.num_attention_heads ({model.num_attention_heads}) does not divide "
                f"model.hidden_size ({model.hidden_size})"
            )
        self.embed = nn.Linear(features, model.hidden_size)
        self.positions = nn.Parameter(torch.empty(positions, model.hidden_size))
        nn.init.normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(model.dropout)
        self.layers = nn.ModuleList(_EncoderLayer(model) for _ in range(model.num_layers))
        self.norm = nn.LayerNorm(model.hidden_size)
        self.head = nn.Linear(model.hidden_size, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        sequence = inputs.reshape(inputs.shape[0], self.length, -1)
        hidden = self.dropout(self.embed(sequence) + self.positions[: self.length])
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(self.norm(hidden).mean(dim=1))  # type: ignore[no-any-return]


class _EncoderLayer(nn.Module):
    """Attention and a feed-forward part, each normalised before and added to what came in."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        size = model.hidden_size
        inner = model.intermediate_size or 4 * size
        self.num_heads = model.num_attention_heads
        self.attention_dropout = model.attention_dropout
        self.attention_norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.attention_out = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, inner),
            _ACTIVATIONS[model.activation](),
            nn.Dropout(model.dropout),
            nn.Linear(inner, size),
        )
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden)))
        return hidden + self.dropout(self.feed_forward(hidden))  # type: ignore[no-any-return]

    def _attend(self, hidden: Tensor) -> Tensor:
        batch, length, size = hidden.shape
        heads = self.query_key_value(hidden).reshape(batch, length, 3, self.num_heads, size // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, size))  # type: ignore[no-any-return]


def _find_image_layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3:
        return "HWC" if shape[-1] <= 4 < shape[0] else "CHW"
    raise InputError(
        f"model.architecture: a cnn takes images [H, W], [C, H, W] or [H, W, C]; "
        f"an input of this data is {list(shape)}",
        hint="mlp takes inputs of any shape, transformer takes sequences",
    )


def _read_image_shape(shape: tuple[int, ...], layout: str) -> tuple[int, int, int]:
    """Return channels, height, width."""
    if layout == "HW":
        return 1, shape[0], shape[1]
    return (shape[2], shape[0], shape[1]) if layout == "HWC" else (shape[0], shape[1], shape[2])


def _build_users(model: Model, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Build the user's class from every key of the section that is set, and from the shapes if it asks for them."""
    key = "model.architecture"
    found = find_class(model.architecture, key=key)
    if not issubclass(found, nn.Module):
        raise InputError(f"{key}: {model.architecture} is no torch.nn.Module")
    names = model.model_fields_set - {"architecture"}
    arguments: dict[str, Any] = {name: getattr(model, name) for name in sorted(names)}
    given = sorted(arguments)
    for name, value in (("input_shape", input_shape), ("num_outputs", num_outputs)):
        if name not in arguments and takes_argument(found, name):
            arguments[name] = value
    try:
        return found(**arguments)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if not isinstance(error, TypeError) or find_users_line(error):
            raise InputError(f"{key}: building {model.architecture} failed: {describe_failure(error)}") from error
        told = ", ".join(given) if given else "none"
        raise InputError(
            f"{key}: {model.architecture} refuses its arguments: {error}",
            hint=f"every key of `model` but `architecture` is passed to the class; given: {told}",
        ) from error
