"""Which process this is, is read in one place; what does not fit together is refused."""

from __future__ import annotations

from typing import Any

import pytest

from footplate.errors import InputError
from footplate.profile.model import Profile
from footplate.trainer.distributed.place import Place, count_threads, find_place

LAUNCHED = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}


def _profile(num_cpus: int | None = None, **distributed: Any) -> Profile:
    settings = {"enabled": True, "world_size": 4, **distributed}
    return Profile.model_validate({"distributed": settings, "resources": {"num_cpus": num_cpus}})


def test_the_launcher_says_it() -> None:
    assert find_place(_profile(), LAUNCHED) == Place(rank=3, size=4, local_rank=1, local_size=2)
    assert find_place(_profile(local_rank=0), LAUNCHED).local_rank == 0


def test_the_profile_goes_before_it_and_nobody_means_alone() -> None:
    assert find_place(_profile(rank=2), {}) == Place(rank=2, size=4, local_rank=2, local_size=4)
    assert find_place(_profile(rank=2, local_rank=1), LAUNCHED) == Place(rank=2, size=4, local_rank=1, local_size=2)
    assert find_place(_profile(), {}) == Place()
    assert find_place(_profile(enabled=False), LAUNCHED) == Place()


@pytest.mark.parametrize(
    ("settings", "environ", "words"),
    [
        ({"world_size": 2}, LAUNCHED, "the launcher has started 4 processes, the profile asks for 2"),
        ({"rank": 4}, {}, "there is no process 4 of 4"),
        ({}, {**LAUNCHED, "RANK": "one"}, "RANK is 'one'"),
    ],
)
def test_what_does_not_fit_together_is_said(settings: dict[str, Any], environ: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_place(_profile(**settings), environ)


def test_processes_share_the_cores() -> None:
    place = Place(rank=1, size=4, local_rank=1, local_size=2)
    assert count_threads(_profile(num_cpus=6), place, LAUNCHED) == 3
    assert count_threads(_profile(num_cpus=1), place, LAUNCHED) == 1
    assert count_threads(_profile(num_cpus=6), Place(), {}) is None
