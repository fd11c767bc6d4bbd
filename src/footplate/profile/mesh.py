"""How the processes of a training are arranged: who repeats, who shares, who splits the network; pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from footplate.errors import InputError
from footplate.profile.model import Profile

__all__ = ["Mesh", "get_declared_mesh", "get_mesh", "get_num_processes"]


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Processes = replicate × shard × tensor; the innermost, tensor, has neighbouring ranks."""

    replicate: int = 1
    """Copies of the network, each with samples of its own (ddp, hsdp)."""
    shard: int = 1
    """Processes that share one copy's weights, each with samples of its own (fsdp, hsdp)."""
    tensor: int = 1
    """Processes that split the layers and take the same samples (tensor)."""

    @property
    def size(self) -> int:
        """All processes."""
        return self.replicate * self.shard * self.tensor

    @property
    def data(self) -> int:
        """Processes that take samples of their own."""
        return self.replicate * self.shard

    @property
    def is_sharded(self) -> bool:
        """Whether a process holds a part of the network only."""
        return self.shard > 1 or self.tensor > 1


def get_num_processes(profile: Profile) -> int:
    """Return how many processes train together: ``num_gpus``, else ``world_size``, else 1."""
    if not profile.distributed.enabled:
        return 1
    return profile.resources.num_gpus or profile.distributed.world_size or 1


def get_declared_mesh(profile: Profile) -> Mesh:
    """Return how the processes that the profile asks for are arranged; as ``ddp`` where they cannot be arranged so."""
    count = get_num_processes(profile)
    try:
        return get_mesh(profile, count)
    except InputError:
        return Mesh(replicate=count)


def get_mesh(profile: Profile, num_processes: int) -> Mesh:
    """Return how so many processes are arranged; InputError when the strategy cannot arrange them.

    ``tensor`` alone splits the network among all processes, beside another strategy among two; ``hsdp`` shares one
    copy within a machine, and on a single machine within half of the processes.
    """
    settings, words = profile.distributed, set(profile.distributed.strategy.split("+"))
    if num_processes == 1:
        return Mesh()
    tensor = 1
    if "tensor" in words:
        tensor = settings.tensor_parallel_size or (num_processes if words == {"tensor"} else 2)
    data = _divide(num_processes, tensor, "distributed.tensor_parallel_size")
    if words & {"hsdp"} or {"ddp", "fsdp"} <= words:
        shard = settings.shard_size or _find_shard_size(profile, data)
        return Mesh(replicate=_divide(data, shard, "distributed.shard_size"), shard=shard, tensor=tensor)
    if "fsdp" in words:
        return Mesh(shard=data, tensor=tensor)
    return Mesh(replicate=data, tensor=tensor)


def _find_shard_size(profile: Profile, data: int) -> int:
    machines = profile.resources.num_nodes
    return max(1, data // machines if machines > 1 else data // 2)


def _divide(count: int, size: int, key: str) -> int:
    if size > count or count % size:
        raise InputError(
            f"{key}: {count} process{'es' if count > 1 else ''} cannot be put into groups of {size}",
            hint=f"choose a divisor of {count}, or another number of processes (distributed.world_size)",
        )
    return count // size
