"""Finds parameters that the output of a network does not depend on."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from footplate.profile.model import Profile
from footplate.trainer.memory.rewind import Rewinder

__all__ = ["has_unused"]

_log = logging.getLogger("footplate")


def has_unused(network: nn.Module, profile: Profile, inputs: Tensor) -> bool:
    """Return whether a class of the user's has parameters that its output does not depend on: DDP waits for each.

    Random numbers and buffers are afterwards what they were.
    """
    if ":" not in profile.model.architecture:
        return False
    rewinder = Rewinder(network, inputs.device, with_foreign=True)
    rewinder.mark()
    was_training = network.training
    network.eval()  # what a class of the user's counts while it trains is not counted here
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    outputs = network(inputs).float().sum()
    gradients = torch.autograd.grad(outputs, parameters, allow_unused=True) if outputs.requires_grad else ()
    network.train(was_training)
    rewinder.rewind()
    unused = sum(gradient is None for gradient in gradients)
    if unused:
        _log.info("distributed: %d of %d parameters take no part in the network's output", unused, len(parameters))
    return bool(unused)
