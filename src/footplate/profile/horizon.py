"""How long a training is: effective batch, optimiser steps, epochs, evaluations, by pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from footplate.profile.mesh import get_declared_mesh
from footplate.profile.model import Profile

__all__ = ["Horizon", "get_evaluation_interval", "get_horizon"]


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """The length of a training that nothing stops early."""

    effective_batch: int
    """Samples of one optimiser step: batch size × accumulation × processes that take samples of their own."""
    steps_per_epoch: int
    """Optimiser steps of one pass over the training data; the last one may have fewer samples."""
    total_steps: int
    """Optimiser steps of the whole training; 0 when there is nothing to train on."""
    num_epochs: float
    """Passes over the training data."""
    ends_by: Literal["max_epochs", "max_steps"]
    """The limit that is reached first."""
    evaluation_interval: int | None
    """Optimiser steps between two evaluations; None when they are timed."""
    num_evaluations: int | None
    """Evaluations on the validation data, one at the last step included; None when they are timed."""
    earliest_stop: int | None
    """First step at which early stopping can end the training; None when it is off or evaluations are timed."""

    @property
    def can_stop_early(self) -> bool:
        """Whether early stopping can act before the last step."""
        return self.earliest_stop is not None and self.earliest_stop < self.total_steps


def get_horizon(profile: Profile, num_train: int, *, num_val: int | None = None) -> Horizon:
    """Return how long this training is with ``num_train`` samples.

    The first of ``max_epochs`` and ``max_steps`` ends it. With ``num_val=0`` there is nothing to evaluate on; None
    means that there is.
    """
    training = profile.training
    effective = training.batch_size * training.gradient_accumulation_steps * get_declared_mesh(profile).data
    per_epoch = -(-num_train // effective)
    max_epochs = training.get_max_epochs()
    by_epochs = None if max_epochs is None else max_epochs * per_epoch
    limits = [limit for limit in (by_epochs, training.max_steps) if limit is not None]
    total = min(limits) if per_epoch else 0
    interval = get_evaluation_interval(profile, per_epoch)
    evaluations = None if interval is None else -(-total // interval)
    if num_val == 0:
        evaluations = 0
    return Horizon(
        effective_batch=effective,
        steps_per_epoch=per_epoch,
        total_steps=total,
        num_epochs=total / per_epoch if per_epoch else 0.0,
        ends_by="max_steps" if by_epochs is None or total < by_epochs else "max_epochs",
        evaluation_interval=interval,
        num_evaluations=evaluations,
        earliest_stop=_get_earliest_stop(profile, interval, evaluations),
    )


def get_evaluation_interval(profile: Profile, steps_per_epoch: int) -> int | None:
    """Return the optimiser steps between two evaluations, at least 1; None with ``time_interval``.

    ``step_interval`` without ``training.eval_frequency`` evaluates at the end of each epoch.
    """
    strategy = profile.validation.strategy
    if strategy == "time_interval":
        return None
    frequency = None if strategy == "epoch_end" else profile.training.eval_frequency
    return max(1, steps_per_epoch if frequency is None else frequency)


def _get_earliest_stop(profile: Profile, interval: int | None, evaluations: int | None) -> int | None:
    """Return the step of evaluation ``patience + 1``: the first one sets the mark that no other reaches."""
    stopping = profile.training.early_stopping
    if not stopping.enabled or interval is None or not evaluations:
        return None
    return (stopping.patience + 1) * interval
