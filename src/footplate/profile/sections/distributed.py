"""``distributed``: one training on several devices."""

from __future__ import annotations

from typing import Annotated, Literal

from footplate.profile.fields import Known, Seconds, Section, Text, key

__all__ = ["Distributed"]

_STRATEGIES = ("ddp", "fsdp", "hsdp", "tensor")
_ANY = "|".join(_STRATEGIES)


class Distributed(Section):
    """How the work is spread over several processes, each with a device of its own."""

    enabled: bool = False
    """Switches it on: `resources.num_gpus` processes are started, else `world_size`."""
    strategy: Annotated[Text, Known(_STRATEGIES, rf"(?:{_ANY})(?:\+(?:{_ANY}))*", "fsdp+tensor")] = "ddp"
    """`ddp` = each process has the whole network; `fsdp` = weights, gradients and optimiser state are shared out;
    `hsdp` = shared out within groups of `shard_size`; `tensor` = layers are split; `fsdp+tensor` combines."""
    shard_size: int | None = key(None, ge=1, unit="processes")
    """`hsdp`: processes that share one copy of the weights; null = those of one machine, on a single one half of
    them."""
    tensor_parallel_size: int | None = key(None, ge=1, unit="processes")
    """`tensor`: processes that split the layers; null = all, and 2 beside another strategy."""
    sync_batch_norm: bool = False
    """Batch norm takes its statistics over all processes (GPUs only); false = over the samples of each process."""
    backend: Literal["auto", "nccl", "gloo"] = "auto"
    """How the processes talk; `auto` = nccl on GPUs, gloo on CPUs."""
    timeout: Seconds = key(600.0, gt=0, unit="s")
    """Longest wait of one process for the others; then the training fails instead of hanging."""
    init_method: Text = "env://"
    """Where the processes meet: `env://` = as the launcher says; `tcp://host:port` or `file:///path` for your own."""
    world_size: int | None = key(None, ge=1, unit="processes")
    """All processes where `resources.num_gpus` does not say it; null = 1."""
    rank: int | None = key(None, ge=0)
    """Number of this process; null = set by the launcher. With a number one process is started, and you start the
    others."""
    local_rank: int | None = key(None, ge=0)
    """Number of this process on its machine, which chooses its GPU; null = set by the launcher."""
