"""``validation``: when and by what the model is judged while it trains."""

from __future__ import annotations

from typing import Annotated, Literal

from footplate.profile.fields import Known, MetricName, Seconds, Section, Text, key
from footplate.profile.metrics import KNOWN_METRICS

__all__ = ["Metric", "Validation"]

Metric = Annotated[Text, Known(KNOWN_METRICS)]
"""Name of a metric, without its split."""


class Validation(Section):
    """Evaluation on the validation data."""

    strategy: Literal["auto", "epoch_end", "step_interval", "time_interval"] = key("auto")
    """When: `auto` = every `training.eval_frequency` steps if given, else at the end of each epoch."""
    interval: Seconds | None = key(None, gt=0, unit="s")
    """Time between two evaluations with `time_interval`."""
    metrics: tuple[Metric, ...] = key(())
    """`loss` and `inference_time` of every task; of classes `accuracy`, `f1`, `precision`, `recall` and `auc` (one a
    sample), also `f1_micro` (several labels), without `auc` (positions, pixels), also `iou` (pixels); of tokens
    `perplexity`, `bits_per_byte`, `accuracy`; of quantities `mae`, `mse`, `rmse`, `r2`. Empty = all that fit the
    task."""
    save_best_metric: MetricName = key("val/loss")
    """Metric by which the best weights are chosen, as `split/name`."""
    save_best_mode: Literal["auto", "min", "max"] = key("auto")
    """Whether smaller or larger is better; `auto` knows it from the metric's name."""
