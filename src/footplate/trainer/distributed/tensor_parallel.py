"""Splits the layers of a network among processes (tensor parallel)."""

from __future__ import annotations

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.parallel.style import ParallelStyle

from footplate.errors import InputError
from footplate.trainer.architectures import get_tensor_plan

__all__ = ["split_layers"]


def split_layers(network: nn.Module, devices: DeviceMesh, *, name: str) -> None:
    """Split the linear layers that the network's plan names; all the others stay whole on every process.

    Raises InputError when the network says nothing of it, or when a layer cannot be cut into equal parts.
    """
    plan, count = get_tensor_plan(network), devices.size()
    if not plan:
        raise InputError(
            f"distributed.strategy: tensor: {name} does not say how its layers can be split",
            hint="fsdp shards any network; mlp, transformer and gpt can be split",
        )
    styles: dict[str, ParallelStyle] = {}
    for path, split in plan.items():
        layer = network.get_submodule(path)
        if not isinstance(layer, nn.Linear):
            raise InputError(f"distributed.strategy: tensor: {name}: {path} is no linear layer and cannot be split")
        size = layer.out_features if split == "colwise" else layer.in_features
        if size % count:
            raise InputError(
                f"distributed.strategy: tensor: the {size} units of {path} cannot be split among {count} processes",
                hint=f"choose model.hidden_size and intermediate_size that are multiples of {count}",
            )
        _check_heads(network, path, layer, count)
        styles[path] = ColwiseParallel() if split == "colwise" else RowwiseParallel()
    parallelize_module(network, devices, styles)


def _check_heads(network: nn.Module, path: str, layer: nn.Linear, count: int) -> None:
    """Refuse to cut through a head of attention."""
    size = getattr(network.get_submodule(path.rpartition(".")[0]), "head_size", None)
    if size is None or not path.endswith("query_key_value"):
        return
    heads = layer.out_features // (3 * size)
    if heads % count:
        raise InputError(
            f"distributed.strategy: tensor: {heads} attention heads cannot be split among {count} processes",
            hint=f"choose model.num_attention_heads as a multiple of {count}",
        )
