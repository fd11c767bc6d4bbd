"""Rules about what is changed and what is kept: augmentation, pretrained weights, frozen layers, their mean."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.data import check_problem
from footplate.profile.lint.rule import Hit, Rule, find_horizon
from footplate.profile.model import Profile
from footplate.profile.sections.model import BUILT_IN_ARCHITECTURES

__all__ = ["RULES"]

_AUGMENTATION = "data.augmentation"
_TRANSFER = "transfer_learning"
_KINDS = (".safetensors", ".pt", ".pth", ".bin")
_STILL_THERE = 0.1
"""Share of the weights at the start in the mean at the end from which on it is said."""


def check_augmentation(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The augmentation does not fit the data.

    Milliseconds become positions of a sequence by `sampling_rate_hz`; images are rotated, sequences are shifted, and
    tokens are never changed. What cannot be done as it is written stops the training, what does nothing is a warning.

    To mend it, give the missing number, or take the change out.
    """
    settings = profile.data.augmentation
    if not settings.enabled:
        return
    changes = {
        name: getattr(settings, name)
        for name in ("noise_std", "temporal_jitter_ms", "rotation_degrees")
        if getattr(settings, name)
    }
    if not changes:
        yield Hit(
            path=f"{_AUGMENTATION}.enabled",
            message="does nothing: noise_std, temporal_jitter_ms and rotation_degrees are all 0",
            fix=f"set {_AUGMENTATION}.noise_std: 0.01, or enabled: false",
            severity=Severity.warning,
        )
    if settings.temporal_jitter_ms and settings.sampling_rate_hz is None:
        yield Hit(
            path=f"{_AUGMENTATION}.temporal_jitter_ms",
            message=f"how many positions {settings.temporal_jitter_ms:g} ms are is not known without sampling_rate_hz",
            fix=f"set {_AUGMENTATION}.sampling_rate_hz (positions in one second), or temporal_jitter_ms: 0",
        )
    shape = facts.data.input_shape if facts.data is not None else profile.data.input_shape
    if changes and facts.data is not None and facts.data.vocab_size:
        yield Hit(
            path=f"{_AUGMENTATION}.enabled",
            also=("data.train_data",),
            message="does nothing: the inputs are tokens, which stay as they are",
            fix=f"set {_AUGMENTATION}.enabled: false",
            severity=Severity.warning,
        )
    elif shape is not None:
        for name, what, lengths in (
            ("rotation_degrees", "images", (2, 3)),
            ("temporal_jitter_ms", "sequences", (1, 2)),
        ):
            if name in changes and len(shape) not in lengths:
                yield Hit(
                    path=f"{_AUGMENTATION}.{name}",
                    also=("data.train_data",),
                    message=f"is for {what}, and an input has the shape {list(shape)}",
                    fix=f"set {_AUGMENTATION}.{name}: 0",
                )


def check_transfer(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """What is loaded and what is frozen do not go together.

    Layers thaw at the epochs of `unfreeze_schedule`, and only with `strategy: gradual_unfreezing`. Freezing keeps
    weights as they are, which is for weights that were trained. Weights are read from safetensors, or from a `.pt` that
    loads without running code. Both are tried before anything starts: the weights and the layers must be the network's.

    To mend it, do what the finding says.
    """
    settings = profile.transfer_learning
    if not settings.is_on:
        return
    yield from check_problem(_TRANSFER)(profile, facts)
    path = settings.pretrained_model_path
    freezes = bool(settings.freeze_layers or settings.freeze_until_layer) or settings.strategy != "full"
    if path and PurePath(path).suffix not in ("", *_KINDS):
        yield Hit(
            path=f"{_TRANSFER}.pretrained_model_path",
            message=f"{path} is of no kind that is read: {', '.join(_KINDS[:3])}",
            fix="write the weights as safetensors",
        )
    if settings.strategy == "gradual_unfreezing" and not settings.unfreeze_schedule:
        yield Hit(
            path=f"{_TRANSFER}.strategy",
            message="gradual_unfreezing without unfreeze_schedule: nothing ever thaws",
            fix=f"set {_TRANSFER}.unfreeze_schedule: [1, 2]",
        )
    if settings.strategy != "gradual_unfreezing" and settings.unfreeze_schedule:
        yield Hit(
            path=f"{_TRANSFER}.unfreeze_schedule",
            also=(f"{_TRANSFER}.strategy",),
            message=f"does nothing with strategy: {settings.strategy}",
            fix=f"set {_TRANSFER}.strategy: gradual_unfreezing",
            severity=Severity.warning,
        )
    if not path and freezes and profile.model.architecture in BUILT_IN_ARCHITECTURES:
        yield Hit(
            path=f"{_TRANSFER}.pretrained_model_path",
            also=(f"{_TRANSFER}.strategy", f"{_TRANSFER}.freeze_layers"),
            message="layers are frozen, and there are no trained weights: they stay as random as they start",
            fix="name weights in transfer_learning.pretrained_model_path, or train all layers",
            severity=Severity.warning,
        )
    elif not path and not freezes:
        yield Hit(
            path=f"{_TRANSFER}.enabled",
            message="does nothing: no weights are named, and no layer is frozen",
            fix=f"set {_TRANSFER}.enabled: false",
            severity=Severity.warning,
        )
    epochs = profile.training.get_max_epochs()
    late = [epoch for epoch in settings.unfreeze_schedule if epochs is not None and epoch >= epochs]
    if late and settings.strategy == "gradual_unfreezing":
        yield Hit(
            path=f"{_TRANSFER}.unfreeze_schedule",
            also=("training.max_epochs",),
            message=f"epoch {late[0]} never starts: the training has {epochs}, counted from 0",
            fix="take the later epochs out, or train longer",
            severity=Severity.warning,
        )


def check_weight_mean(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The mean of the weights still holds much of the weights at the start.

    After n steps the share decay^n of the mean is what the network was before it was trained. In a short training with
    a decay near 1 the mean is worse than the last weights.

    To mend it, make the decay smaller, or train longer.
    """
    settings = profile.training.ema
    steps = find_horizon(profile, facts).total_steps
    share = settings.decay**steps
    if settings.enabled and share > _STILL_THERE:
        yield Hit(
            path="training.ema.decay",
            message=f"{settings.decay:g} over {steps:,} steps: {share:.0%} of the mean are the weights at the start",
            fix=f"set training.ema.decay: {_get_decay(steps):g}",
        )


def _get_decay(steps: int) -> float:
    """Return the decay that looks back over about a tenth of the steps."""
    return round(max(0.5, 1 - 10 / max(1, steps)), 4)


RULES = (
    Rule(
        code="augmentation",
        title="The augmentation does not fit the data",
        severity=Severity.error,
        check=check_augmentation,
        built_in_only=True,
    ),
    Rule(
        code="transfer-learning",
        title="Loading and freezing do not go together",
        severity=Severity.error,
        check=check_transfer,
        built_in_only=True,
    ),
    Rule(
        code="weight-mean",
        title="The mean of the weights holds much of the start",
        severity=Severity.warning,
        check=check_weight_mean,
        needs=("data",),
        keys=("training.ema.enabled", "training.ema.decay"),
        built_in_only=True,
    ),
)
