"""The length of a training is exact arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from footplate.profile.horizon import get_horizon
from footplate.profile.model import Profile


def _profile(**sections: Any) -> Profile:
    return Profile.model_validate(sections)


def test_an_epoch_ends_with_a_smaller_batch() -> None:
    horizon = get_horizon(_profile(training={"batch_size": 64, "max_epochs": 30}), 1437)
    assert horizon.effective_batch == 64
    assert horizon.steps_per_epoch == 23  # 22 × 64 = 1,408, and 29 more
    assert horizon.total_steps == 690
    assert horizon.num_epochs == 30
    assert horizon.ends_by == "max_epochs"


def test_accumulation_makes_the_batch_larger() -> None:
    training = {"batch_size": 32, "gradient_accumulation_steps": 4, "max_epochs": 2}
    horizon = get_horizon(_profile(training=training), 1000)
    assert (horizon.effective_batch, horizon.steps_per_epoch, horizon.total_steps) == (128, 8, 16)


@pytest.mark.parametrize(
    ("limits", "total", "epochs", "ends_by"),
    [
        ({}, 100, 10.0, "max_epochs"),
        ({"max_steps": 25}, 25, 2.5, "max_steps"),
        ({"max_epochs": 3, "max_steps": 25}, 25, 2.5, "max_steps"),
        ({"max_epochs": 3, "max_steps": 30}, 30, 3.0, "max_epochs"),
        ({"max_epochs": 3, "max_steps": 1000}, 30, 3.0, "max_epochs"),
    ],
)
def test_the_first_limit_reached_ends_the_training(
    limits: dict[str, int], total: int, epochs: float, ends_by: str
) -> None:
    horizon = get_horizon(_profile(training={"batch_size": 10, **limits}), 100)
    assert (horizon.total_steps, horizon.num_epochs, horizon.ends_by) == (total, epochs, ends_by)


def test_a_batch_larger_than_the_data_is_one_step_an_epoch() -> None:
    assert get_horizon(_profile(training={"batch_size": 512}), 100).steps_per_epoch == 1


def test_no_data_is_no_training() -> None:
    horizon = get_horizon(_profile(training={"max_steps": 100}), 0)
    assert (horizon.total_steps, horizon.num_epochs, horizon.num_evaluations) == (0, 0.0, 0)


@pytest.mark.parametrize(
    ("validation", "eval_frequency", "interval", "evaluations"),
    [
        ({}, None, 10, 5),
        ({}, 20, 20, 3),  # after 20, 40 and at the last step, 50
        ({"strategy": "epoch_end"}, 20, 10, 5),
        ({"strategy": "step_interval"}, 25, 25, 2),
        ({"strategy": "step_interval"}, None, 10, 5),
        ({"strategy": "time_interval", "interval": "10m"}, 20, None, None),
    ],
)
def test_evaluations_follow_their_strategy(
    validation: dict[str, Any], eval_frequency: int | None, interval: int | None, evaluations: int | None
) -> None:
    training = {"batch_size": 10, "max_epochs": 5, "eval_frequency": eval_frequency}
    horizon = get_horizon(_profile(training=training, validation=validation), 100)
    assert (horizon.evaluation_interval, horizon.num_evaluations) == (interval, evaluations)


def test_without_validation_data_nothing_is_evaluated_and_nothing_stops_early() -> None:
    training = {"early_stopping": {"enabled": True, "patience": 2}}
    horizon = get_horizon(_profile(training=training), 100, num_val=0)
    assert horizon.num_evaluations == 0
    assert horizon.earliest_stop is None
    assert not horizon.can_stop_early


@pytest.mark.parametrize(("patience", "stop", "can"), [(3, 40, True), (9, 100, False), (10, 110, False)])
def test_early_stopping_needs_one_evaluation_more_than_its_patience(patience: int, stop: int, can: bool) -> None:
    training = {"batch_size": 10, "max_epochs": 10, "early_stopping": {"enabled": True, "patience": patience}}
    horizon = get_horizon(_profile(training=training), 100)
    assert (horizon.earliest_stop, horizon.can_stop_early) == (stop, can)


def test_processes_that_take_samples_of_their_own_make_the_batch_larger() -> None:
    for strategy, batch in (("ddp", 80), ("fsdp", 80), ("tensor", 10), ("fsdp+tensor", 40)):
        profile = _profile(
            training={"batch_size": 10},
            distributed={"enabled": True, "strategy": strategy},
            resources={"num_gpus": 8},
        )
        assert get_horizon(profile, 800).effective_batch == batch
