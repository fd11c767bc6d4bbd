"""Rules about the length of a training: what is never reached, and what can never happen."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Check, Hit, Rule, find_horizon, get_data
from footplate.profile.model import Profile
from footplate.profile.schedule import get_learning_rate
from footplate.quantities import format_count

__all__ = ["RULES"]

_FAR = 1.5
"""One limit this many times the other is not reached by any change of the data that one would call small."""
_LONG_WARM_UP = 0.3
_EARLY_END = 0.9


def check_limit_unreachable(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """One of `max_epochs` and `max_steps` ends the training long before the other is reached.

    The first limit reached ends the training. When the other one is far away it has no effect at all, and whoever
    reads it believes in a longer training than there will be.

    To mend it, raise the limit that ends the training, or take out the one that is never reached.
    """
    training = profile.training
    if training.max_epochs is None or training.max_steps is None:
        return
    horizon = find_horizon(profile, facts)
    by_epochs = training.max_epochs * horizon.steps_per_epoch
    epochs, per_epoch = format_count(training.max_epochs, "epoch"), format_count(horizon.steps_per_epoch, "step")
    steps = f"{epochs} × {per_epoch} = {format_count(by_epochs, 'step')}"
    if training.max_steps > _FAR * by_epochs:
        yield Hit(
            path="training.max_steps",
            also=("training.max_epochs",),
            message=f"{training.max_steps:,} steps are never reached: max_epochs ends it after {steps}",
            fix=f"set training.max_steps: {by_epochs} (or null), or raise training.max_epochs",
        )
    elif by_epochs > _FAR * training.max_steps:
        yield Hit(
            path="training.max_epochs",
            also=("training.max_steps",),
            message=f"{steps} are never reached: max_steps ends it after {training.max_steps:,}",
            fix=f"set training.max_steps: {by_epochs} (or null), or lower training.max_epochs",
        )


def check_decay_unreachable(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The training ends long before the learning rate has decayed.

    `T_max` is the optimiser step at which the decay ends. When the training ends much earlier, the learning rate is
    still high at the last step, and the gain that a decay brings at the end is lost.

    To mend it, set `T_max` to the number of steps, or to null, which means the last step.
    """
    scheduler = profile.training.scheduler
    horizon = find_horizon(profile, facts)
    total = horizon.total_steps
    if scheduler.type == "constant" or scheduler.T_max is None or not total or scheduler.T_max <= total:
        return
    last = get_learning_rate(profile.training, total - 1, total)
    if last <= scheduler.eta_min + 0.05 * (profile.training.learning_rate - scheduler.eta_min):
        return
    length = f"{format_count(horizon.num_epochs, 'epoch')} × {format_count(horizon.steps_per_epoch, 'step')}"
    limit = "training.max_steps" if horizon.ends_by == "max_steps" else "training.max_epochs"
    yield Hit(
        path="training.scheduler.T_max",
        also=(limit,),
        message=(
            f"the decay ends at step {scheduler.T_max:,}, the training at step {total:,} "
            f"({length}): the learning rate is still "
            f"{last:.3g} at the end instead of {scheduler.eta_min:.3g}"
        ),
        fix=f"set training.scheduler.T_max: {total} (or null)",
    )


def check_decay_early(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The learning rate has decayed long before the training ends.

    After `T_max` the learning rate stays at `eta_min`. With `eta_min: 0` nothing is learnt any more, and the rest
    of the training is time for nothing.

    To mend it, set `T_max` to the number of steps, or to null, or end the training earlier.
    """
    scheduler = profile.training.scheduler
    total = find_horizon(profile, facts).total_steps
    if scheduler.type == "constant" or scheduler.T_max is None or scheduler.T_max >= _EARLY_END * total:
        return
    rest = total - scheduler.T_max
    effect = "learn nothing" if scheduler.eta_min == 0 else f"stay at {scheduler.eta_min:.3g}"
    yield Hit(
        path="training.scheduler.T_max",
        message=(
            f"the decay ends at step {scheduler.T_max:,} of {total:,}: "
            f"the last {rest:,} steps ({100 * rest / total:.0f} %) {effect}"
        ),
        fix=f"set training.scheduler.T_max: {total} (or null), or training.max_steps: {scheduler.T_max}",
        severity=Severity.warning if scheduler.eta_min == 0 else Severity.advice,
    )


def check_long_warm_up(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The warm-up takes a large share of the training, or never ends.

    While the learning rate rises the network learns slowly. A warm-up of a few per cent is usual; one of more than
    30 % leaves little for the training itself, and one as long as the training never reaches `learning_rate`.

    To mend it, shorten the warm-up: 5 % of the steps is a good start.
    """
    warmup = profile.training.scheduler.warmup_steps
    horizon = find_horizon(profile, facts)
    total = horizon.total_steps
    if not total or warmup <= _LONG_WARM_UP * total or warmup < 2:
        return
    highest = get_learning_rate(profile.training, min(warmup, total) - 1, total)
    text = f"{warmup:,} of {total:,} steps ({100 * warmup / total:.0f} %) are warm-up"
    if warmup > total:
        text = (
            f"{warmup:,} steps of warm-up in a training of {total:,}: the learning rate never gets above "
            f"{highest:.3g}, {profile.training.learning_rate:.3g} is meant"
        )
    yield Hit(
        path="training.scheduler.warmup_steps",
        message=text,
        fix=f"set training.scheduler.warmup_steps: {max(1, total // 20)} (5 %)",
    )


def check_never_happens(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Something is set to happen every so many steps, and the training is shorter than that.

    A checkpoint every 500,000 steps never comes in a training of 4,700; the same holds for evaluations, log lines and
    the steps of a profiler trace.

    To mend it, set a smaller number of steps.
    """
    training = profile.training
    total = find_horizon(profile, facts).total_steps
    saving = training.checkpointing
    by_older = "no checkpoint is saved" if saving.frequency is None else "it would save no checkpoint"
    happenings = (
        ("training.save_frequency", training.save_frequency if saving.enabled else None, by_older),
        ("training.checkpointing.frequency", saving.frequency if saving.enabled else None, "no checkpoint is saved"),
        ("training.eval_frequency", training.eval_frequency, "the only evaluation is the one at the end"),
        ("training.log_frequency", training.log_frequency, "no metric of the training is read"),
    )
    for path, frequency, effect in happenings:
        if profile.is_set(path) and frequency is not None and frequency > total > 0:
            yield Hit(
                path=path,
                message=f"every {frequency:,} steps, but the training ends after {total:,}: {effect}",
                fix=f"set {path}: {max(1, total // 10)}",
            )
    steps = profile.debug.profile_steps
    if profile.debug.enabled and profile.debug.profile and steps is not None and steps[0] >= total > 0:
        yield Hit(
            path="debug.profile_steps",
            message=f"the trace starts at step {steps[0]:,}, but the training ends after {total:,}",
            fix=f"set debug.profile_steps: [0, {min(10, total)}]",
        )


def check_never_stops(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Early stopping is on, but the training is too short for its patience.

    `patience` counts evaluations without improvement, not steps or epochs. The first evaluation sets the mark, so that
    early stopping can act at evaluation `patience + 1` at the earliest. With fewer evaluations it never acts.

    To mend it, lower `patience` or evaluate more often.
    """
    stopping = profile.training.early_stopping
    horizon = find_horizon(profile, facts)
    count = horizon.num_evaluations
    if not stopping.enabled or not count or horizon.can_stop_early or horizon.earliest_stop is None:
        return
    yield Hit(
        path="training.early_stopping.patience",
        message=(
            f"{stopping.patience:,} evaluations without improvement are waited for, but there are only {count:,} "
            f"({horizon.total_steps:,} steps, one every {horizon.evaluation_interval:,}): it can never stop early"
        ),
        fix=f"set training.early_stopping.patience: {max(1, count // 5)}, or evaluate more often",
    )


def check_large_batch(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """One optimiser step takes more samples than there are.

    The batch is then the whole training set, smaller than declared, and an epoch is a single step.

    To mend it, choose a batch that the data hold several times.
    """
    num_train = get_data(facts).num_train
    training = profile.training
    effective = find_horizon(profile, facts).effective_batch
    if effective <= num_train:
        return
    accumulation = training.gradient_accumulation_steps
    product = f"{training.batch_size:,} × {accumulation} = {effective:,}" if accumulation > 1 else f"{effective:,}"
    yield Hit(
        path="training.batch_size",
        also=("training.gradient_accumulation_steps",) if accumulation > 1 else (),
        message=f"one step takes {product} samples, the training data have {num_train:,}",
        fix=f"set training.batch_size: {max(1, min(64, num_train // 10))} and gradient_accumulation_steps: 1",
    )


def _rule(code: str, title: str, check: Check, *keys: str) -> Rule:
    return Rule(
        code=code,
        title=title,
        severity=Severity.warning,
        check=check,
        needs=("data",),
        keys=keys,
        built_in_only=True,
    )


RULES = (
    _rule(
        "limit-unreachable", "A limit of the training is never reached", check_limit_unreachable, "training.max_steps"
    ),
    _rule(
        "decay-unreachable",
        "The training ends before the learning rate has decayed",
        check_decay_unreachable,
        "training.scheduler.T_max",
    ),
    _rule("decay-early", "The learning rate has decayed too early", check_decay_early, "training.scheduler.T_max"),
    _rule(
        "warm-up-long",
        "The warm-up is a large share of the training",
        check_long_warm_up,
        "training.scheduler.warmup_steps",
    ),
    _rule(
        "never-happens",
        "Something is set to happen after the end",
        check_never_happens,
        "training.save_frequency",
        "training.checkpointing.frequency",
        "training.eval_frequency",
    ),
    _rule(
        "never-stops-early",
        "Early stopping cannot act",
        check_never_stops,
        "training.early_stopping.patience",
        "training.early_stopping.enabled",
    ),
    _rule("batch-exceeds-data", "A step takes more samples than there are", check_large_batch, "training.batch_size"),
)
