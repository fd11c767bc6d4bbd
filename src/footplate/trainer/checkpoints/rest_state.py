"""What a network and an optimiser keep beside parameters and their state: buffers that are not saved, counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from footplate.errors import InputError, RecordError
from footplate.trainer.checkpoints.state_files import split_state

__all__ = ["check_optimizer", "get_network_rest", "get_optimizer_rest", "set_network_rest", "set_optimizer_rest"]


def get_network_rest(model: nn.Module) -> dict[str, Any]:
    """Return the buffers that a network's ``state_dict`` leaves out: a training may change them all the same."""
    saved = model.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in model.named_buffers() if name not in saved}


def set_network_rest(model: nn.Module, rest: Mapping[str, Any]) -> None:
    """Put back what ``get_network_rest`` gave; a buffer of another shape is left to the network that made it."""
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for name, saved in rest.items():
            if name in buffers and buffers[name].shape == saved.shape:
                buffers[name].copy_(saved)


def get_optimizer_rest(optimizer: Optimizer) -> dict[str, Any]:
    """Return the settings and counters of an optimiser's groups, and what it keeps that belongs to no parameter.

    That is what stands in its ``state`` under a name, and what its own ``state_dict`` has beside state and groups.
    """
    groups = [{key: value for key, value in one.items() if key != "params"} for one in optimizer.param_groups]
    common = {key: value for key, value in optimizer.state.items() if not isinstance(key, Tensor)}
    extra: dict[str, Any] = {}
    if type(optimizer).state_dict is not Optimizer.state_dict:
        extra = {key: value for key, value in optimizer.state_dict().items() if key not in ("state", "param_groups")}
    return {"defaults": dict(optimizer.defaults), "groups": groups, "common": common, "extra": extra}


def set_optimizer_rest(optimizer: Optimizer, rest: Mapping[str, Any]) -> None:
    """Put back what ``get_optimizer_rest`` gave; what the profile sets otherwise now is as the profile has it.

    To be called before the state of the parameters comes back: torch's ``load_state_dict`` would round it.
    """
    if rest["extra"]:
        optimizer.load_state_dict({**optimizer.state_dict(), **rest["extra"]})
    changed = {key for key, value in optimizer.defaults.items() if _to_plain(value) != rest["defaults"].get(key)}
    for group, saved in zip(optimizer.param_groups, rest["groups"], strict=False):
        for key, value in saved.items():
            if key not in changed:
                group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
    for key, value in rest["common"].items():
        optimizer.state[key] = value  # a name: it belongs to no parameter


def check_optimizer(optimizer: Optimizer, name: str) -> None:
    """Raise InputError, which says where, when a checkpoint cannot hold what an optimiser keeps."""
    try:
        split_state(get_optimizer_rest(optimizer))
        for key, state in optimizer.state.items():
            if isinstance(key, Tensor):
                split_state(state)
    except RecordError as error:
        raise InputError(
            f"training.optimizer: {name} keeps what a checkpoint cannot hold: {error.message}",
            hint="keep tensors, numbers, texts, lists and dictionaries with texts as keys; or set "
            "training.checkpointing.save_optimizer_state: false",
        ) from error


def _to_plain(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value
