"""How the work of a step is spread over the processes of a training."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from footplate.errors import InputError
from footplate.profile.mesh import Mesh, get_mesh
from footplate.profile.model import Profile
from footplate.trainer.architectures import get_layer_stack
from footplate.trainer.distributed.replicas import Replicas
from footplate.trainer.distributed.sharding import clip_grad_norm, get_mesh_of
from footplate.trainer.distributed.tensor_parallel import split_layers
from footplate.trainer.distributed.world import ALONE, World
from footplate.trainer.reproducible import set_seeds

__all__ = ["Parallel", "fit_optimizer", "make_parallel", "seed_processes", "spread"]

_SEEDS_APART = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """One process that trains alone; the other ways have the same methods."""

    world: World
    """All processes."""
    data: World = ALONE
    """The processes that take samples of their own; those that split the layers of one network take the same ones."""
    mesh: Mesh = field(default_factory=Mesh)
    """How the processes are arranged."""

    @property
    def loss_factor(self) -> float:
        """What a loss is multiplied by so that the gradients of all processes add up (torch takes their mean)."""
        return float(self.mesh.data)

    @property
    def is_sharded(self) -> bool:
        """Whether a process holds a part of the network only, so that all are needed for a forward pass."""
        return False

    @property
    def replicas(self) -> Replicas | None:
        """What lets all processes take a step anew together; None where they cannot."""
        return None

    def share_statistics(self, network: nn.Module) -> None:
        """Give all processes the first one's buffers, so that they judge the same network; all must call it.

        A batch norm counts what its own process sees, and the first one's are what is saved. Training goes by the
        statistics of each batch and is not changed.
        """
        if self.world.size > 1:
            for buffer in network.buffers():
                _copy_from_first(buffer, self.world)

    def accumulate(self, *, is_last: bool) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return the context of one batch's forward and backward pass; gradients are exchanged in the last one."""
        return contextlib.nullcontext()

    def clip(self, parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
        """Clip the gradients by the norm of all of them, wherever they are; return it."""
        return nn.utils.clip_grad_norm_(parameters, max_norm)


@dataclass(frozen=True, kw_only=True)
class _Replicated(Parallel):
    """Each process has the whole network (DDP)."""

    wrapped: DistributedDataParallel | Replicas

    @property
    def replicas(self) -> Replicas | None:
        return self.wrapped if isinstance(self.wrapped, Replicas) else None

    def accumulate(self, *, is_last: bool) -> AbstractContextManager[object]:
        return contextlib.nullcontext() if is_last else self.wrapped.no_sync()


@dataclass(frozen=True, kw_only=True)
class _Sharded(Parallel):
    """Each process has a part of the weights (FSDP2), of the layers (tensor parallel), or of both."""

    network: nn.Module

    @property
    def is_sharded(self) -> bool:
        return True

    def accumulate(self, *, is_last: bool) -> AbstractContextManager[object]:
        if isinstance(self.network, FSDPModule):
            self.network.set_is_last_backward(is_last)
            self.network.set_requires_gradient_sync(is_last)
        return contextlib.nullcontext()

    def clip(self, parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
        return clip_grad_norm(parameters, max_norm)


def make_parallel(profile: Profile, world: World) -> Parallel:
    """Return how the processes are arranged, before there is a network; all must call it."""
    if world.size == 1:
        return Parallel(world=world)
    mesh = get_mesh(profile, world.size)
    ranks = torch.arange(world.size).reshape(mesh.data, mesh.tensor)
    return Parallel(world=world, data=world.choose(ranks.T.tolist()), mesh=mesh)


def spread(
    network: nn.Module, profile: Profile, parallel: Parallel, device: torch.device, *, has_unused: bool = False
) -> tuple[nn.Module, nn.Module, Parallel]:
    """Spread a network over the processes; return it, as it is called in training, and how its steps are taken.

    All processes start with the first one's weights. Sharded, the network itself is changed: its parameters hold a
    part each. ``has_unused`` says that the loss does not depend on some of them. Raises InputError when the network
    cannot be spread like this.
    """
    world, mesh = parallel.world, parallel.mesh
    if world.size == 1:
        return network, network, parallel
    _share_weights(network, world)
    if profile.distributed.sync_batch_norm:
        network = _synchronize_batch_norm(network, device)
    if not mesh.is_sharded:
        wrapped = _replicate(network, profile, world, device, has_unused=has_unused)
        return network, wrapped, _Replicated(world=world, data=parallel.data, mesh=mesh, wrapped=wrapped)
    if profile.training.mixed_precision.enabled and profile.training.mixed_precision.precision == "fp16":
        raise InputError(
            f"training.mixed_precision.precision: fp16 is not built for the strategy {profile.distributed.strategy}",
            hint="set precision: bf16, or distributed.strategy: ddp",
        )
    devices = init_device_mesh(
        device.type, (mesh.replicate, mesh.shard, mesh.tensor), mesh_dim_names=("replicate", "shard", "tensor")
    )
    _calm_torch()
    if mesh.tensor > 1:
        split_layers(network, devices["tensor"], name=profile.model.architecture)
    if mesh.data > 1:
        _shard(network, devices["replicate", "shard"] if mesh.replicate > 1 else devices["shard"], profile)
    return network, network, _Sharded(world=world, data=parallel.data, mesh=mesh, network=network)


def _replicate(
    network: nn.Module, profile: Profile, world: World, device: torch.device, *, has_unused: bool
) -> DistributedDataParallel | Replicas:
    transfer = profile.transfer_learning
    wrap = partial(
        DistributedDataParallel,
        device_ids=[device] if device.type == "cuda" else None,
        # What thaws later belongs to it from the start, and has no gradient until then.
        find_unused_parameters=has_unused or (transfer.is_on and transfer.strategy == "gradual_unfreezing"),
    )
    if device.type == "cpu" and not profile.training.compile.enabled:
        return Replicas(network, world, lambda network, group: wrap(network, process_group=group))
    return wrap(network)


def seed_processes(seed: int, parallel: Parallel) -> None:
    """Let processes with samples of their own draw random numbers of their own, for dropout.

    Those that split the layers of one network draw the same ones. The first draws what it would draw alone.
    """
    if parallel.data.rank:
        set_seeds((seed + parallel.data.rank * _SEEDS_APART) % 2**32)


def fit_optimizer(optimizer: Optimizer) -> None:
    """Let an optimiser update parameters of which each process holds a part.

    It gets a group for each kind of sharding, because an update in one call takes parameters of one kind, and updates
    in one call only where torch can do so with parts: Adam and AdamW.
    """
    if not any(get_mesh_of(parameter) for group in optimizer.param_groups for parameter in group["params"]):
        return
    groups = []
    for group in optimizer.param_groups:
        kinds: dict[object, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            kinds.setdefault(get_mesh_of(parameter), []).append(parameter)
        if group.get("fused") and type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
            group["fused"] = False
        groups += [{**group, "params": parameters} for parameters in kinds.values()]
    optimizer.param_groups[:] = groups


def _calm_torch() -> None:
    """Keep out of the log what torch says of each process without anybody having to do anything about it."""
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)


def _share_weights(network: nn.Module, world: World) -> None:
    """Give every process the first one's weights, should a network draw random numbers of its own."""
    for tensor in (*network.parameters(), *network.buffers()):
        _copy_from_first(tensor, world)


@torch.no_grad()
def _copy_from_first(tensor: Tensor, world: World) -> None:
    here = tensor.detach().cpu().contiguous()
    dist.broadcast(here, group=world.group, group_src=0)
    if world.rank:
        tensor.copy_(here)


def _synchronize_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    if device.type != "cuda":
        raise InputError(
            f"distributed.sync_batch_norm: torch has it for GPUs only, and this training computes on {device.type}",
            hint="set distributed.sync_batch_norm: false",
        )
    convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
    return convert(network)


def _shard(network: nn.Module, devices: DeviceMesh, profile: Profile) -> None:
    """Share the weights out, layer by layer where the network has a stack of them."""
    half = profile.training.mixed_precision.enabled
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32 if half else None
    )
    for layer in get_layer_stack(network) or ():
        fully_shard(layer, mesh=devices, mp_policy=policy)
    fully_shard(network, mesh=devices, mp_policy=policy)
