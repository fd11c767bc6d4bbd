"""The architectures: what each one takes, learns and is set by. The lint, the builder and the documents read this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

from footplate.profile.facts import Signature, TaskKind

__all__ = [
    "ARCHITECTURES",
    "BUILT_IN_ARCHITECTURES",
    "HUGGING_FACE",
    "INPUT_WORDS",
    "MODEL_KEYS",
    "Architecture",
    "ImageLayout",
    "InputKind",
    "Misfit",
    "find_image_layout",
    "find_image_shape",
    "find_misfit",
    "find_sequence_shape",
    "get_architecture",
    "is_small_image",
    "is_users_class",
]

InputKind = Literal["numbers", "images", "sequences", "tokens"]
"""What goes in: numbers of any shape, images, sequences of numbers, sequences of tokens."""
ImageLayout = Literal["", "HW", "CHW", "HWC"]
"""The order of an image's axes: rows, columns, channels; empty where an input is no image."""
_MAX_CHANNELS = 4

INPUT_WORDS: dict[InputKind, str] = {
    "numbers": "numbers of any shape",
    "images": "images ([H, W], [C, H, W] or [H, W, C])",
    "sequences": "sequences ([length, features])",
    "tokens": "tokens ([length])",
}
"""The kinds of input in words, with their shapes."""

_WHOLE: tuple[TaskKind, ...] = ("classification", "regression", "multi_label")
_EACH_POSITION: tuple[TaskKind, ...] = (*_WHOLE, "sequence", "language_model")
_SIZE = ("hidden_size", "num_layers", "dropout")
_ATTENTION = (
    "num_attention_heads",
    "intermediate_size",
    "attention_dropout",
    "activation",
    "max_position_embeddings",
)
MODEL_KEYS = (*_SIZE, *_ATTENTION, "positions", "bidirectional")
"""Keys of `model` that a built-in architecture may be set by."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What one architecture takes, learns and is set by."""

    title: str
    """What it is, in a few words."""
    inputs: tuple[InputKind, ...]
    """What goes in."""
    tasks: tuple[TaskKind, ...]
    """What it can learn."""
    keys: tuple[str, ...]
    """Keys of `model` that it is set by."""


ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture(
        title="fully connected layers",
        inputs=("numbers", "tokens"),
        tasks=_WHOLE,
        keys=(*_SIZE, "activation"),
    ),
    "cnn": Architecture(
        title="convolutions and pooling",
        inputs=("images",),
        tasks=(*_WHOLE, "segmentation"),
        keys=(*_SIZE, "activation"),
    ),
    "transformer": Architecture(
        title="transformer encoder",
        inputs=("sequences", "tokens"),
        tasks=_EACH_POSITION,
        keys=(*_SIZE, *_ATTENTION),
    ),
    "resnet": Architecture(
        title="residual convolutions",
        inputs=("images",),
        tasks=(*_WHOLE, "segmentation"),
        keys=(*_SIZE, "activation"),
    ),
    "rnn": Architecture(
        title="plain recurrent network",
        inputs=("sequences", "tokens"),
        tasks=_EACH_POSITION,
        keys=(*_SIZE, "activation", "bidirectional"),
    ),
    "lstm": Architecture(
        title="long short-term memory",
        inputs=("sequences", "tokens"),
        tasks=_EACH_POSITION,
        keys=(*_SIZE, "bidirectional"),
    ),
    "gru": Architecture(
        title="gated recurrent units",
        inputs=("sequences", "tokens"),
        tasks=_EACH_POSITION,
        keys=(*_SIZE, "bidirectional"),
    ),
    "lightweight_transformer": Architecture(
        title="attention of linear cost",
        inputs=("sequences", "tokens"),
        tasks=_EACH_POSITION,
        keys=(*_SIZE, *_ATTENTION),
    ),
    "unet": Architecture(
        title="encoder and decoder with bridges",
        inputs=("images",),
        tasks=("segmentation",),
        keys=(*_SIZE, "activation"),
    ),
    "gpt": Architecture(
        title="decoder-only transformer",
        inputs=("sequences", "tokens"),
        tasks=_EACH_POSITION,
        keys=(*_SIZE, *_ATTENTION, "positions"),
    ),
}
"""Every architecture that is built in, by its name. A task or input that is not named here is refused."""

HUGGING_FACE = Architecture(
    title="a class of transformers, by its config.json",
    inputs=("images", "tokens"),
    tasks=(*_EACH_POSITION, "segmentation"),
    keys=(),
)
"""What stands for `hf:PATH`: which of the tasks a model has is decided by its type."""

BUILT_IN_ARCHITECTURES = tuple(ARCHITECTURES)
"""Architectures that can be trained without code or files."""


class Misfit(NamedTuple):
    """Why an architecture cannot be trained on some data."""

    about: Literal["task", "input", "direction"]
    """What does not fit."""
    message: str
    """The reason, with its numbers."""
    fitting: tuple[str, ...]
    """Built-in architectures that fit."""


def get_architecture(name: str) -> Architecture | None:
    """Return the entry of `model.architecture`, or None for a class of the user's."""
    return HUGGING_FACE if name.startswith("hf:") else ARCHITECTURES.get(name)


def is_users_class(name: str) -> bool:
    """Return whether `model.architecture` names a class of the user's, ``package.module:Class``."""
    return ":" in name and not name.startswith("hf:")


def find_misfit(name: str, signature: Signature, *, bidirectional: bool = False) -> Misfit | None:
    """Return why the architecture cannot learn from data of this signature, or None when it can.

    Nothing is known of a class of the user's.
    """
    entry = get_architecture(name)
    if entry is None:
        return None
    fitting = tuple(other for other, one in ARCHITECTURES.items() if _fits(one, signature))
    short = "hf" if entry is HUGGING_FACE else name
    if signature.task not in entry.tasks:
        message = f"{short} does not learn {signature.task}: it learns {', '.join(entry.tasks)}"
        return Misfit("task", message, fitting)
    if not _takes(entry, signature):
        takes = " or ".join(INPUT_WORDS[kind] for kind in entry.inputs)
        return Misfit("input", f"{short} takes {takes}; {_describe_input(signature)}", fitting)
    if bidirectional and "bidirectional" in entry.keys and signature.task == "language_model":
        message = "a bidirectional network sees the token that it must predict: language_model reads forwards only"
        return Misfit("direction", message, fitting)
    return None


def _fits(entry: Architecture, signature: Signature) -> bool:
    return signature.task in entry.tasks and _takes(entry, signature)


def _takes(entry: Architecture, signature: Signature) -> bool:
    shape = signature.input_shape
    if signature.vocab_size:
        return "tokens" in entry.inputs and len(shape) == 1
    if signature.task == "language_model":
        return False
    return (
        "numbers" in entry.inputs
        or ("images" in entry.inputs and find_image_shape(shape) is not None)
        or ("sequences" in entry.inputs and find_sequence_shape(shape) is not None)
    )


def _describe_input(signature: Signature) -> str:
    shape = list(signature.input_shape)
    if signature.vocab_size:
        return f"an input of this data is {shape} tokens of a vocabulary of {signature.vocab_size:,}"
    if signature.task == "language_model":
        return f"an input of this data is {shape} numbers, and language_model reads tokens"
    return f"an input of this data is {shape}"


def find_image_shape(input_shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of an input as the cnn reads it, or None when it is no image.

    [H, W] has one channel; see ``find_image_layout``.
    """
    layout = find_image_layout(input_shape)
    if not layout:
        return None
    if layout == "HW":
        return 1, input_shape[0], input_shape[1]
    first, second, third = input_shape
    return (third, first, second) if layout == "HWC" else (first, second, third)


def find_image_layout(input_shape: Sequence[int]) -> ImageLayout:
    """Return how an image of this shape lies; empty when it is none.

    Of three sizes the last is the channels when it is at most 4 and the first is more.
    """
    if len(input_shape) == 2:
        return "HW"
    if len(input_shape) == 3:
        return "HWC" if input_shape[-1] <= _MAX_CHANNELS < input_shape[0] else "CHW"
    return ""


def find_sequence_shape(input_shape: Sequence[int]) -> tuple[int, int] | None:
    """Return (positions, features) of an input as the transformer reads it, or None when it is a single number.

    [F] is a sequence of F single numbers; [H, W, …] one of H positions with all the rest as features.
    """
    if not input_shape:
        return None
    return input_shape[0], prod(input_shape[1:])


def is_small_image(height: int, width: int) -> bool:
    """Return whether a resnet keeps an image's size at its entry: 64 pixels or less, as CIFAR and Tiny ImageNet."""
    return min(height, width) <= 64
