"""``distributed``: one training on several devices."""

from __future__ import annotations

from typing import Annotated, Literal

from footplate.profile.fields import Known, Section, Text, key

__all__ = ["Distributed"]

_LATER = "training on several devices is not built yet; one process trains"

_STRATEGIES = ("ddp", "fsdp", "hsdp", "tensor")
_ANY = "|".join(_STRATEGIES)


class Distributed(Section):
    """How the work is spread."""

    enabled: bool = key(False, inactive=_LATER)
    """Switches it on."""
    strategy: Annotated[Text, Known(_STRATEGIES, rf"(?:{_ANY})(?:\+(?:{_ANY}))*", "fsdp+tensor")] = key(
        "ddp", inactive=_LATER
    )
    """`ddp`, `fsdp`, `hsdp`, `tensor`; `fsdp+tensor` combines."""
    backend: Literal["auto", "nccl", "gloo"] = key("auto", inactive=_LATER)
    """How the processes talk; `auto` = nccl on GPUs, gloo on CPUs."""
    init_method: Text = key("env://", inactive=_LATER)
    """Where the processes meet."""
    world_size: int | None = key(None, ge=1, unit="processes", inactive=_LATER)
    """All processes; null = set by the launcher."""
    rank: int | None = key(None, ge=0, inactive=_LATER)
    """Number of this process; null = set by the launcher."""
    local_rank: int | None = key(None, ge=0, inactive=_LATER)
    """Number of this process on its machine; null = set by the launcher."""
