"""Processes are arranged by pure arithmetic, or it is said why they cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from footplate.errors import InputError
from footplate.profile.mesh import Mesh, get_declared_mesh, get_mesh, get_num_processes
from footplate.profile.model import Profile


def _profile(num_nodes: int = 1, **distributed: Any) -> Profile:
    return Profile.model_validate(
        {"distributed": {"enabled": True, **distributed}, "resources": {"num_nodes": num_nodes}}
    )


@pytest.mark.parametrize(
    ("strategy", "count", "mesh"),
    [
        ("ddp", 4, Mesh(replicate=4)),
        ("fsdp", 4, Mesh(shard=4)),
        ("hsdp", 4, Mesh(replicate=2, shard=2)),
        ("ddp+fsdp", 4, Mesh(replicate=2, shard=2)),
        ("hsdp", 2, Mesh(replicate=2)),
        ("tensor", 4, Mesh(tensor=4)),
        ("fsdp+tensor", 8, Mesh(shard=4, tensor=2)),
        ("ddp+tensor", 8, Mesh(replicate=4, tensor=2)),
        ("hsdp+tensor", 8, Mesh(replicate=2, shard=2, tensor=2)),
        ("fsdp+tensor", 1, Mesh()),
    ],
)
def test_each_strategy_has_its_arrangement(strategy: str, count: int, mesh: Mesh) -> None:
    assert get_mesh(_profile(strategy=strategy), count) == mesh
    assert mesh.size == count


def test_sizes_can_be_chosen_and_machines_count() -> None:
    assert get_mesh(_profile(strategy="hsdp", shard_size=4), 8) == Mesh(replicate=2, shard=4)
    assert get_mesh(_profile(4, strategy="hsdp"), 32) == Mesh(replicate=4, shard=8)
    assert get_mesh(_profile(strategy="fsdp+tensor", tensor_parallel_size=4), 8) == Mesh(shard=2, tensor=4)
    assert get_mesh(_profile(strategy="tensor", tensor_parallel_size=2), 8) == Mesh(replicate=4, tensor=2)


@pytest.mark.parametrize(
    ("settings", "count", "words"),
    [
        ({"strategy": "fsdp+tensor"}, 3, "tensor_parallel_size: 3 processes cannot be put into groups of 2"),
        ({"strategy": "hsdp", "shard_size": 3}, 4, "shard_size: 4 processes cannot be put into groups of 3"),
        ({"strategy": "tensor", "tensor_parallel_size": 8}, 4, "4 processes cannot be put into groups of 8"),
    ],
)
def test_what_cannot_be_arranged_names_its_key(settings: dict[str, Any], count: int, words: str) -> None:
    profile = _profile(world_size=count, **settings)
    with pytest.raises(InputError, match=words):
        get_mesh(profile, count)
    assert get_declared_mesh(profile) == Mesh(replicate=count)


def test_the_number_of_processes_is_that_of_the_gpus_else_what_is_said_else_one() -> None:
    assert get_num_processes(_profile(world_size=8)) == 8
    assert get_num_processes(_profile()) == 1
    assert get_num_processes(_profile(world_size=8).model_copy(update={"distributed": Profile().distributed})) == 1
    both = Profile.model_validate({"distributed": {"enabled": True, "world_size": 8}, "resources": {"num_gpus": 4}})
    assert get_num_processes(both) == 4
