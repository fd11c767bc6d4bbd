"""The networks: one file for each family, a table from its name to its builder, and classes of the user's."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import nn

from footplate.errors import InputError
from footplate.profile.architectures import BUILT_IN_ARCHITECTURES, find_misfit, is_users_class
from footplate.profile.facts import Signature
from footplate.profile.model import Profile, get_model_section
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.cnn import CNN
from footplate.trainer.architectures.gpt import GPT
from footplate.trainer.architectures.hugging_face import HuggingFace
from footplate.trainer.architectures.lightweight import LightweightTransformer
from footplate.trainer.architectures.mlp import MLP
from footplate.trainer.architectures.network import (
    Split,
    compute_layers_again,
    get_layer_stack,
    get_tensor_plan,
)
from footplate.trainer.architectures.recurrent import Recurrent
from footplate.trainer.architectures.resnet import ResNet
from footplate.trainer.architectures.transformer import Transformer
from footplate.trainer.architectures.unet import UNet
from footplate.trainer.architectures.users import build_users

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "HuggingFace",
    "LightweightTransformer",
    "Recurrent",
    "ResNet",
    "Split",
    "Transformer",
    "UNet",
    "build_model",
    "build_network",
    "compute_layers_again",
    "count_model_parameters",
    "get_layer_stack",
    "get_tensor_plan",
]

_log = logging.getLogger("footplate")

_BUILDERS: dict[str, Callable[[Model, Signature], nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "transformer": Transformer,
    "resnet": ResNet,
    "rnn": Recurrent,
    "lstm": Recurrent,
    "gru": Recurrent,
    "lightweight_transformer": LightweightTransformer,
    "unet": UNet,
    "gpt": GPT,
}


def build_model(profile: Profile, signature: Signature) -> nn.Module:
    """Return the network of the profile for data of this signature, with fresh weights, ready to be trained.

    With ``embedded_optimizations.gradient_checkpointing`` it computes its layers again in the backward pass.
    """
    network = build_network(get_model_section(profile), signature)
    if profile.embedded_optimizations.gradient_checkpointing and not compute_layers_again(network):
        _log.warning(
            "embedded_optimizations.gradient_checkpointing: %s has no stack of layers (`layers`); nothing is saved",
            profile.model.architecture,
        )
    return network


def build_network(model: Model, signature: Signature) -> nn.Module:
    """Return the network of the section ``model`` for data of this signature.

    Raises InputError when the architecture does not fit the task or the shape, and when a class is not there, is no
    ``nn.Module`` or refuses its arguments; MissingExtraError when `hf:` needs transformers and it is not installed.
    """
    name = model.architecture
    if misfit := find_misfit(name, signature, bidirectional=model.bidirectional):
        fitting = ", ".join(misfit.fitting) or "none of the built-in ones"
        raise InputError(f"model.architecture: {misfit.message}", hint=f"what fits: {fitting}")
    if is_users_class(name):
        return build_users(model, signature)
    if name.startswith("hf:"):
        return HuggingFace(model, signature)
    if name in _BUILDERS:
        return _BUILDERS[name](model, signature)
    raise InputError(
        f"model.architecture: {name} is not built in; there are: {', '.join(BUILT_IN_ARCHITECTURES)}",
        hint="your own class is written package.module:Class",
    )


def count_model_parameters(network: nn.Module) -> int:
    """Return how many numbers of the network are trained or frozen; buffers are not counted."""
    return sum(parameter.numel() for parameter in network.parameters())
