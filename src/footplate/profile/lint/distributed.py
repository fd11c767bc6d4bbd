"""Rules about several processes: how many, how they are arranged, what each one gets."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator

from footplate.errors import InputError
from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Hit, Rule
from footplate.profile.mesh import get_declared_mesh, get_mesh, get_num_processes
from footplate.profile.model import Profile

__all__ = ["RULES"]

_SPLIT = ("mlp", "transformer", "gpt")
"""Architectures that say how their layers can be split."""


def check_one_process(profile: Profile, _: Facts) -> Iterator[Hit]:
    """Distributed training is on, but one process trains.

    The number of processes is `resources.num_gpus`, else `distributed.world_size`, else 1.

    To mend it, say how many processes are to train.
    """
    if profile.distributed.enabled and profile.distributed.rank is None and get_num_processes(profile) == 1:
        yield Hit(
            path="distributed.enabled",
            also=("distributed.world_size", "resources.num_gpus"),
            message="processes = 1: neither resources.num_gpus nor distributed.world_size asks for more",
            fix="set distributed.world_size: 2, or resources.num_gpus where there are GPUs",
        )


def check_arrangement(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A strategy needs groups that the processes do not make.

    `tensor` splits the layers among `tensor_parallel_size` processes, `hsdp` shares the weights out among `shard_size`
    of those that are left. Each must divide the number of processes.

    To mend it, choose sizes that divide it, or another number of processes.
    """
    if not profile.distributed.enabled:
        return
    try:
        get_mesh(profile, get_num_processes(profile))
    except InputError as error:
        key, reason = error.message.split(": ", 1)
        at = key if profile.is_set(key) else "distributed.strategy"
        yield Hit(
            path=at,
            also=("distributed.world_size", "resources.num_gpus"),
            message=f"{profile.distributed.strategy}: {reason}",
            fix=error.hint,
        )


def check_split(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A network has layers that cannot be split among the processes.

    `tensor` cuts linear layers into equal parts and leaves attention heads whole, so that their sizes must be
    multiples of the processes that split them. A network must say which of its layers can be split; `mlp`,
    `transformer` and `gpt` do.

    To mend it, choose sizes that can be divided, or `fsdp`, which shards any network.
    """
    model, count = profile.model, get_declared_mesh(profile).tensor
    if not profile.distributed.enabled or count == 1:
        return
    if model.architecture not in _SPLIT:
        yield Hit(
            path="distributed.strategy",
            also=("model.architecture",),
            message=f"{model.architecture} does not say how its layers can be split; {', '.join(_SPLIT)} do",
            fix="set distributed.strategy: fsdp",
        )
        return
    sizes = {"hidden_size": model.hidden_size}
    if model.architecture != "mlp":
        name = "hidden_size" if model.intermediate_size is None else "intermediate_size"
        sizes = {name: model.intermediate_size or 4 * model.hidden_size}
    if model.architecture == "gpt":
        sizes["num_attention_heads"] = model.num_attention_heads
    for name, size in sizes.items():
        if size % count:
            what = "attention heads" if name == "num_attention_heads" else "units of a layer"
            yield Hit(
                path=f"model.{name}",
                also=("distributed.strategy", "distributed.tensor_parallel_size"),
                message=f"{size} {what} cannot be split among {count} processes",
                fix=f"set model.{name} to a multiple of {count}",
            )


RULES = (
    Rule(
        code="one-process",
        title="Distributed training has one process",
        severity=Severity.warning,
        check=check_one_process,
        built_in_only=True,
    ),
    Rule(
        code="process-groups",
        title="The processes do not fit the strategy",
        severity=Severity.error,
        check=check_arrangement,
        built_in_only=True,
    ),
    Rule(
        code="tensor-split",
        title="The layers cannot be split among the processes",
        severity=Severity.error,
        check=check_split,
        built_in_only=True,
    ),
)
