"""Metrics over all samples of a set, exact however the batches were cut and the samples dealt out to processes.

Counts are summed and predictions forgotten, so that a set of any size takes the memory of its number of classes. The
area under the ROC curve alone keeps what it has seen: 4 bytes per sample and class.
"""

from footplate.trainer.metrics.choose import choose_metrics, make_metrics, wants_smaller
from footplate.trainer.metrics.classification import ClassificationMetrics
from footplate.trainer.metrics.labels import LabelMetrics
from footplate.trainer.metrics.language import LanguageMetrics
from footplate.trainer.metrics.positions import PositionMetrics
from footplate.trainer.metrics.protocol import Metrics, State
from footplate.trainer.metrics.regression import RegressionMetrics

__all__ = [
    "ClassificationMetrics",
    "LabelMetrics",
    "LanguageMetrics",
    "Metrics",
    "PositionMetrics",
    "RegressionMetrics",
    "State",
    "choose_metrics",
    "make_metrics",
    "wants_smaller",
]
