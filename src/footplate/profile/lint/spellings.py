"""Rules about keys that another key makes idle: another spelling, another strategy, code of one's own."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Hit, Rule, get_value
from footplate.profile.model import Profile

__all__ = ["RULES"]

_SPELLINGS = (
    ("training.save_frequency", "training.checkpointing.frequency"),
    ("training.dropout", "model.dropout"),
    ("embedded_optimizations.use_cudnn_benchmark", "reproducibility.benchmark"),
)
"""(older spelling, the one that wins)"""

_BUILT_IN_ONLY = (
    "device", "model", "training", "data", "logging.console_log_level", "logging.log_format", "logging.log_file",
    "logging.log_dir", "monitoring.track_throughput", "reproducibility", "debug", "validation",
    "post_training.final_evaluation", "embedded_optimizations",
)  # fmt: skip
"""Keys and sections that only the built-in training reads."""


def check_two_spellings(profile: Profile, _: Facts) -> Iterator[Hit]:
    """Two keys that mean the same thing have different values.

    Some keys have an older spelling. When both are given and differ, only one can hold, and whoever reads the profile
    may believe the other: `training.checkpointing.frequency` wins over `training.save_frequency`, `model.dropout` over
    `training.dropout`, `reproducibility.benchmark` over `embedded_optimizations.use_cudnn_benchmark`.

    To mend it, take the older spelling out.
    """
    for older, winner in _SPELLINGS:
        if not (profile.is_set(older) and profile.is_set(winner)):
            continue
        old_value, value = get_value(profile, older), get_value(profile, winner)
        if old_value is not None and value is not None and old_value != value:
            yield Hit(
                path=older,
                also=(winner,),
                message=f"{_show(old_value)} disagrees with {winner}: {_show(value)}, which wins",
                fix=f"take {older} out, or set {winner}: {_write(old_value)}",
            )


def check_own_code(profile: Profile, _: Facts) -> Iterator[Hit]:
    """Keys of the built-in training are set beside code of your own.

    With an `entrypoint` your code runs, and Footplate launches, watches and records it. It does not hand the other keys
    over: your code can read them from `profile.yaml` in `$FOOTPLATE_RUN_DIR`.

    To mend it, read them there, or take them out.
    """
    if not profile.entrypoint.is_set:
        return
    given = [path for path in _BUILT_IN_ONLY if profile.is_set(path)]
    if given:
        yield Hit(
            path="entrypoint",
            also=tuple(given),
            message=f"your own code runs, and these act only if it reads them: {', '.join(given)}",
            fix="read profile.yaml in $FOOTPLATE_RUN_DIR, or take them out",
        )


def check_evaluation_times(profile: Profile, _: Facts) -> Iterator[Hit]:
    """The keys that say when to evaluate do not fit together.

    `validation.strategy` chooses which key counts: `epoch_end` looks at none, `step_interval` at
    `training.eval_frequency`, `time_interval` at `validation.interval`. A key that the strategy does not look at does
    nothing, and a strategy without its key falls back to the end of each epoch.

    To mend it, take the key out that does nothing, or choose the strategy that reads it.
    """
    strategy, frequency = profile.validation.strategy, profile.training.eval_frequency
    if strategy in ("epoch_end", "time_interval") and frequency is not None:
        yield Hit(
            path="training.eval_frequency",
            also=("validation.strategy",),
            message=f"{frequency:,} does nothing: with validation.strategy: {strategy} steps do not count",
            fix="set validation.strategy: step_interval, or take training.eval_frequency out",
        )
    if strategy == "step_interval" and frequency is None:
        yield Hit(
            path="validation.strategy",
            message="step_interval without training.eval_frequency evaluates at the end of each epoch",
            fix="set training.eval_frequency: 500 (steps), or validation.strategy: epoch_end",
        )
    if strategy == "time_interval" and profile.validation.interval is None:
        yield Hit(
            path="validation.strategy",
            message="time_interval without validation.interval evaluates every 10 minutes",
            fix="set validation.interval: 10m, or validation.strategy: epoch_end",
        )
    if strategy != "time_interval" and profile.validation.interval is not None:
        yield Hit(
            path="validation.interval",
            also=("validation.strategy",),
            message=f"does nothing: it is read with validation.strategy: time_interval only, not with {strategy}",
            fix="set validation.strategy: time_interval, or take validation.interval out",
        )


def _show(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _write(value)


def _write(value: object) -> str:
    """Return a value as it is written in a profile."""
    return str(value).lower() if isinstance(value, bool) else str(value)


RULES = (
    Rule(
        code="two-spellings",
        title="Two spellings of one thing disagree",
        severity=Severity.warning,
        check=check_two_spellings,
    ),
    Rule(
        code="own-code",
        title="Keys that only your own code can make act",
        severity=Severity.advice,
        check=check_own_code,
    ),
    Rule(
        code="evaluation-times",
        title="The times of evaluation do not fit together",
        severity=Severity.warning,
        check=check_evaluation_times,
        built_in_only=True,
    ),
)
