"""Tensors of which each process holds a part: norms, whole copies, and which part is where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from footplate.errors import InputError

__all__ = [
    "ORDER",
    "clip_grad_norm",
    "find_order",
    "gather_weights",
    "gather_whole",
    "get_mesh_of",
    "is_sharded",
    "reshard",
    "restore_order",
    "scatter_weights",
    "take_part",
]

ORDER = "footplate_row_order"
"""Attribute of a parameter whose rows were put into another order to be split: which original row is where."""


def is_sharded(network: nn.Module) -> bool:
    """Return whether a process holds a part of the network only."""
    # After a forward pass without a backward pass FSDP leaves the parameters of the outermost module whole.
    return any(isinstance(module, FSDPModule) for module in network.modules()) or any(
        isinstance(parameter, DTensor) for parameter in network.parameters()
    )


def reshard(network: nn.Module) -> None:
    """Let each process hold its part only again, after forward passes without a backward pass."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def get_mesh_of(tensor: Tensor) -> object:
    """Return what tensors have in common that can be updated in one call: the mesh they are spread over."""
    return tensor.device_mesh if isinstance(tensor, DTensor) else None


def gather_whole(tensor: Tensor) -> Tensor:
    """Return the whole tensor; all processes that hold a part of it must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the whole parameters and buffers in main memory, by name; all processes must call it.

    One that several layers share is there once, under its first name. They are collected one at a time.
    """
    found: dict[int, str] = {}
    weights: dict[str, Tensor] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if found.setdefault(id(tensor), name) == name:
            whole = gather_whole(tensor.detach()).to("cpu", copy=True)
            weights[name] = restore_order(whole, find_order(tensor))
    return weights


def scatter_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put whole weights into a network of which each process holds a part; nothing is exchanged."""
    state = network.state_dict(keep_vars=True)
    missing = sorted(weights.keys() - state.keys())
    if missing:
        raise InputError(f"the network has no {missing[0]}")
    with torch.no_grad():
        for name, whole in weights.items():
            take_part(state[name], whole)


@torch.no_grad()
def take_part(tensor: Tensor, whole: Tensor) -> None:
    """Copy this process's part of a whole tensor into one that is spread over the processes."""
    if not isinstance(tensor, DTensor):
        tensor.copy_(whole)
        return
    order = find_order(tensor)
    arranged = whole if order is None else whole[order]
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    part = arranged[tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))]
    tensor.to_local().copy_(part)


def find_order(tensor: Tensor) -> Tensor | None:
    """Return in which order a tensor's rows are kept while it is split; None for their own order."""
    return getattr(tensor, ORDER, None)


def restore_order(whole: Tensor, order: Tensor | None) -> Tensor:
    """Return a whole tensor with its rows in their own order."""
    if order is None:
        return whole
    restored = torch.empty_like(whole)
    restored[order] = whole
    return restored


@torch.no_grad()
def clip_grad_norm(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Clip gradients of which each process holds a part, as ``torch.nn.utils.clip_grad_norm_`` does whole ones.

    What several processes hold alike counts once. Nothing waits for the device.
    """
    squares: dict[tuple[int, ...], tuple[Any, list[Tensor]]] = {}
    local: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        groups, grad = _find_groups(parameter.grad)
        local.append(grad)
        squares.setdefault(tuple(id(group) for group in groups), (groups, []))[1].append(grad)
    total = torch.zeros((), device=local[0].device if local else None)
    for groups, grads in squares.values():
        part = torch.stack([norm.float() ** 2 for norm in torch._foreach_norm(grads)]).sum()
        for group in groups:
            dist.all_reduce(part, group=group)
        total += part
    norm = total.sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(local, factor)
    return norm


def _find_groups(grad: Tensor) -> tuple[list[Any], Tensor]:
    """Return the groups of processes that hold different parts of a gradient, and this process's part."""
    if not isinstance(grad, DTensor):
        return [], grad
    mesh = grad.device_mesh
    groups = [mesh.get_group(i) for i, place in enumerate(grad.placements) if not place.is_replicate()]
    return groups, grad.to_local()
