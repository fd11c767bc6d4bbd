"""Puts the parts of a training together: device, model, optimiser, feeds, and what judges them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from footplate.data.load import LoadedData
from footplate.profile.horizon import Horizon, get_horizon
from footplate.profile.model import Profile
from footplate.profile.schedule import get_learning_rate
from footplate.trainer.architectures import build_model
from footplate.trainer.device import choose_device
from footplate.trainer.distributed.parallel import fit_optimizer, make_parallel, seed_processes, spread
from footplate.trainer.distributed.world import ALONE, World
from footplate.trainer.ema import WeightMean, make_weight_mean
from footplate.trainer.evaluate import Judge
from footplate.trainer.loading.feed import Feed
from footplate.trainer.loading.workers import choose_loading
from footplate.trainer.metrics import choose_metrics
from footplate.trainer.optim import build_optimizer
from footplate.trainer.precision import Precision
from footplate.trainer.reproducible import set_seeds, set_up_torch
from footplate.trainer.speed import compile_network, order_channels
from footplate.trainer.stepper import Stepper
from footplate.trainer.task import Task, check_model_fits, make_task
from footplate.trainer.transfer import Freezer, make_freezer, take_weights
from footplate.trainer.unused import has_unused

__all__ = ["Parts", "assemble"]

_EVALUATION_BATCHES = {"language_model": 1}
"""An evaluation takes four training batches at once, for it keeps no gradients and no activations; but the outputs of a
language model, a whole vocabulary for each token, are larger than all else."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A training, ready to start."""

    profile: Profile
    data: LoadedData
    device: torch.device
    world: World
    model: nn.Module
    """As it is saved and judged; ``stepper.model`` is the same one, perhaps wrapped."""
    task: Task
    precision: Precision
    stepper: Stepper
    freezer: Freezer | None
    """Says which layers are trained; None when all of them are."""
    mean: WeightMean | None
    """The mean of the weights; None where it is not asked for."""
    train: Feed
    horizon: Horizon

    @property
    def judged(self) -> nn.Module:
        """The network that is judged and kept: ``model``, or the one with the mean of its weights."""
        return self.model if self.mean is None else self.mean.model

    @property
    def data_world(self) -> World:
        """The processes that take samples of their own; some of all where layers are split."""
        return self.stepper.parallel.data

    def get_learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return get_learning_rate(self.profile.training, step, self.horizon.total_steps)

    def make_judge(self, asked: Iterable[str], *needed: str) -> Judge:
        """Return what judges the model by the metrics asked for, and by those that something else goes by."""
        names = tuple(asked)
        extra = tuple(name.rpartition("/")[2] for name in needed)
        return Judge(
            model=self.judged,
            task=self.task,
            precision=self.precision,
            metrics=choose_metrics((*names, *extra) if names else (), self.task),
            batch_size=self.profile.training.batch_size * _EVALUATION_BATCHES.get(self.task.kind, 4),
            world=self.world,
            before=lambda: self.stepper.parallel.share_statistics(self.judged),
            with_time="inference_time" in {name.rpartition("/")[2] for name in (*names, *extra)},
        )


def assemble(profile: Profile, data: LoadedData, world: World = ALONE) -> Parts:
    """Build all parts from the profile and the data, with every random number started from the seed.

    Raises InputError when the device is not there or the model does not fit the data.
    """
    device = choose_device(profile.device, profile.resources.num_gpus, None if world.size == 1 else world.local_rank)
    set_up_torch(profile, device, world.num_threads)
    set_seeds(profile.reproducibility.seed)
    training = profile.training
    task = make_task(training, data.facts, data.scaler)
    precision = Precision(training.mixed_precision, device)
    model = build_model(profile, data.facts.signature).to(device)
    taken = take_weights(model, profile)
    model = order_channels(model, profile, data.facts.signature.input_shape)
    parallel = make_parallel(profile, world)
    train = Feed(data.train, device, parallel.data, choose_loading(profile, data, device))
    inputs = next(train.iterate(2)).inputs
    check_model_fits(model, task, inputs, name=profile.model.architecture)
    freezer = make_freezer(model, profile.transfer_learning, taken)
    unused = world.size > 1 and has_unused(model, profile, inputs)
    model, called, parallel = spread(model, profile, parallel, device, has_unused=unused)
    mean = make_weight_mean(training.ema, model, is_sharded=parallel.is_sharded)
    optimizer = build_optimizer(training, model.parameters(), device)
    fit_optimizer(optimizer)
    if freezer is not None:
        freezer.apply(0)
    seed_processes(profile.reproducibility.seed, parallel)
    return Parts(
        profile=profile,
        data=data,
        device=device,
        world=world,
        model=model,
        task=task,
        precision=precision,
        stepper=Stepper(
            model=compile_network(called, training.compile, device),
            task=task,
            optimizer=optimizer,
            precision=precision,
            parallel=parallel,
            parameters=[parameter for group in optimizer.param_groups for parameter in group["params"]],
            max_grad_norm=training.max_grad_norm,
            sum_losses=training.loss.reduction == "sum",
        ),
        freezer=freezer,
        mean=mean,
        train=train,
        horizon=get_horizon(profile, len(data.train), num_val=len(data.val)),
    )
