"""``training``: how the network is trained."""

from __future__ import annotations

from typing import Annotated, Literal

import annotated_types

from footplate.profile.fields import CLASS_PATH, Known, MetricName, Section, Text, key

__all__ = [
    "OPTIMIZERS",
    "Checkpointing",
    "Compile",
    "EarlyStopping",
    "Ema",
    "Loss",
    "MixedPrecision",
    "Scheduler",
    "Training",
]

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
"""Optimisers known by name."""


class Scheduler(Section):
    """The learning rate over the optimiser steps."""

    type: Literal["constant", "linear", "cosine_annealing", "linear_warmup_cosine", "one_cycle"] = key("constant")
    """Shape after the warm-up: constant, linear to `eta_min`, cosine to `eta_min`, or one cycle."""
    warmup_steps: int = key(0, ge=0, unit="optimiser steps")
    """Steps over which the learning rate rises linearly from 0."""
    T_max: int | None = key(None, ge=1, unit="optimiser steps")
    """Step at which the decay ends; null = the last step of the training."""
    eta_min: float = key(0.0, ge=0.0, unit="learning rate")
    """Learning rate at the end of the decay."""


class Loss(Section):
    """What is minimised."""

    type: Literal["auto", "cross_entropy", "binary_cross_entropy", "dice_cross_entropy", "mse", "mae", "huber"] = key(
        "auto"
    )
    """`auto`: `cross_entropy` for classes (of each sample, position or pixel, or the next token; targets of -100 do not
    count), `binary_cross_entropy` for several labels, `mse` for quantities. `dice_cross_entropy` (segmentation) adds
    1 - the overlap of each class in each image."""
    reduction: Literal["mean", "sum"] = key("mean")
    """How the losses of one batch are joined."""


class MixedPrecision(Section):
    """Half precision where it is safe, full precision where it is needed (autocast)."""

    enabled: bool = key(False)
    """Switches it on."""
    precision: Literal["fp16", "bf16"] = key("bf16")
    """`bf16` needs no loss scaling; `fp16` does, and runs on GPUs only."""
    loss_scale: Literal["dynamic"] | Annotated[float, annotated_types.Gt(0)] = key("dynamic")
    """fp16: the factor that keeps small gradients from vanishing; `dynamic` finds it."""


class Checkpointing(Section):
    """Saving all that is needed to go on after an interruption."""

    enabled: bool = key(True)
    """Switches it on."""
    frequency: int | None = key(None, ge=1, unit="optimiser steps")
    """Steps between two checkpoints; null = every 5 minutes of training, less often where that would take more
    than 2 % of the time. `training.save_frequency` is an older spelling. A training that is asked to stop is saved in
    any case."""
    keep_last_n: int = key(3, ge=1, unit="checkpoints")
    """How many of the newest are kept, two at least, for the newest may be damaged; the best one is kept too."""
    save_optimizer_state: bool = key(True)
    """Saves the optimiser too; without it a resume is not exact."""
    save_best_only: bool = key(False)
    """Saves only when `validation.save_best_metric` improves, and at a request to stop."""


class EarlyStopping(Section):
    """Stopping when nothing gets better any more."""

    enabled: bool = key(False)
    """Switches it on."""
    patience: int = key(10, ge=1, unit="evaluations")
    """Evaluations without improvement after which the training stops."""
    min_delta: float = key(0.0, ge=0.0, unit="of the metric")
    """Smallest change that counts as an improvement."""
    monitor: MetricName = key("val/loss")
    """Metric that is watched, as `split/name`."""
    mode: Literal["auto", "min", "max"] = key("auto")
    """Whether smaller or larger is better; `auto` knows it from the metric's name."""


class Ema(Section):
    """A running mean of the weights, which is often better than the weights of any one step."""

    enabled: bool = key(False)
    """Judges and keeps the mean of the weights (`model.safetensors`); `last.safetensors` holds the weights of the last
    step. Needs the memory of a second network."""
    decay: float = key(0.999, gt=0.0, lt=1.0, unit="share")
    """How much of the mean stays at each step: it looks back over about 1 / (1 - decay) steps."""


class Compile(Section):
    """The network as compiled code (torch.compile)."""

    enabled: bool = key(False)
    """Compiles the network for training: a slow start, then faster steps. Without a compiler it is trained as it is."""
    mode: Literal["default", "reduce-overhead", "max-autotune"] = key("default")
    """`reduce-overhead` is for small steps on a GPU; `max-autotune` tries longer for faster code."""


class Training(Section):
    """The loop: batches, optimiser, length, evaluation."""

    batch_size: int = key(32, ge=1, unit="samples per device")
    """Samples of one forward pass on one device."""
    gradient_accumulation_steps: int = key(1, ge=1, unit="batches")
    """Batches whose gradients are added up before one optimiser step."""
    optimizer: Annotated[Text, Known(OPTIMIZERS, CLASS_PATH, "package.module:Class")] = key("adamw")
    """`adam`, `adamw`, `sgd`, `rmsprop`, `adagrad`, or a class as `package.module:Class`."""
    learning_rate: float = key(1e-3, gt=0.0)
    """Step size after the warm-up."""
    momentum: float = key(0.9, ge=0.0, lt=1.0)
    """Momentum of `sgd` and `rmsprop`."""
    weight_decay: float = key(0.0, ge=0.0)
    """Pull of the weights towards zero."""
    adam_beta1: float = key(0.9, ge=0.0, lt=1.0)
    """Decay of the running mean of the gradients (adam, adamw)."""
    adam_beta2: float = key(0.999, ge=0.0, lt=1.0)
    """Decay of the running mean of the squared gradients (adam, adamw)."""
    adam_epsilon: float = key(1e-8, gt=0.0)
    """Keeps adam's division finite."""
    max_grad_norm: float | None = key(None, gt=0.0)
    """Gradients whose norm is larger are scaled down to it; null = never."""
    scheduler: Scheduler = key(Scheduler)
    """The learning rate over time."""
    max_epochs: int | None = key(None, ge=1, unit="epochs")
    """Passes over the training data; null = 10 when `max_steps` is null too, else no limit. The first limit reached
    ends the training."""
    max_steps: int | None = key(None, ge=1, unit="optimiser steps")
    """Optimiser steps; null = no limit."""
    eval_frequency: int | None = key(None, ge=1, unit="optimiser steps")
    """Steps between two evaluations; null = once an epoch."""
    save_frequency: int | None = key(None, ge=1, unit="optimiser steps")
    """Older spelling of `training.checkpointing.frequency`."""
    log_frequency: int = key(10, ge=1, unit="optimiser steps")
    """Steps between two readings of loss, learning rate and throughput."""
    loss: Loss = key(Loss)
    """What is minimised."""
    label_smoothing: float = key(0.0, ge=0.0, lt=1.0, unit="share")
    """Share of the probability spread over the wrong classes (cross_entropy)."""
    dropout: float | None = key(None, ge=0.0, lt=1.0, unit="share")
    """Older spelling of `model.dropout`; `model.dropout` wins when both are given."""
    mixed_precision: MixedPrecision = key(MixedPrecision)
    """Half precision."""
    ema: Ema = key(Ema)
    """The mean of the weights."""
    compile: Compile = key(Compile)
    """Compiled code."""
    checkpointing: Checkpointing = key(Checkpointing)
    """Checkpoints to resume from."""
    early_stopping: EarlyStopping = key(EarlyStopping)
    """When to stop early."""

    def get_max_epochs(self) -> int | None:
        """Return the limit in epochs, with the default of 10 where no limit at all is given."""
        return 10 if self.max_epochs is None and self.max_steps is None else self.max_epochs
