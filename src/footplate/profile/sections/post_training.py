"""``post_training``: what happens when the training is done."""

from __future__ import annotations

from typing import Annotated, Literal

from footplate.profile.fields import Known, Section, Text, key
from footplate.profile.metrics import KNOWN_METRICS

__all__ = ["Export", "FinalEvaluation", "Optimize", "PostTraining", "Report", "TestMetric"]

_EXPORT = "export is not built yet; the weights are kept as safetensors"
_OPTIMIZE = "quantisation and pruning are not built yet"


TestMetric = Annotated[Text, Known((*KNOWN_METRICS, "latency", "memory_footprint"))]
"""Name of a metric, or of a measurement of the finished model."""


class Export(Section):
    """The model in a form that can be served."""

    enabled: bool = key(False, inactive=_EXPORT)
    """Switches it on."""
    formats: tuple[Literal["onnx", "torchscript", "safetensors", "tensorrt"], ...] = key((), inactive=_EXPORT)
    """Forms."""
    onnx_opset: int = key(18, ge=11, inactive=_EXPORT)
    """Version of the ONNX operators."""


class Optimize(Section):
    """A smaller, faster model."""

    enabled: bool = key(False, inactive=_OPTIMIZE)
    """Switches it on."""
    quantization: Literal["none", "int8"] = key("none", inactive=_OPTIMIZE)
    """Whole numbers of 8 bits instead of real ones."""
    calibration_samples: int = key(512, ge=1, unit="samples", inactive=_OPTIMIZE)
    """Samples that set the ranges."""
    pruning: bool = key(False, inactive=_OPTIMIZE)
    """Takes out channels that matter little."""
    pruning_ratio: float = key(0.3, gt=0.0, lt=1.0, unit="share", inactive=_OPTIMIZE)
    """Share of the channels."""


class FinalEvaluation(Section):
    """The best weights on the test data, with latency and size."""

    enabled: bool = key(True)
    """Switches it on."""
    test_metrics: tuple[TestMetric, ...] = key(())
    """As `validation.metrics`, and `latency`, `memory_footprint`; empty = all that fit the task."""
    target_latency_ms: float | None = key(None, gt=0, unit="ms")
    """Gate: the median time of one prediction (batch of 1) must not be longer."""
    target_memory_mb: float | None = key(None, gt=0, unit="MB")
    """Gate: the weights must not be larger."""


class Report(Section):
    """A page about the run."""

    enabled: bool = key(True)
    """Switches it on."""
    format: Literal["markdown", "html", "pdf"] = key("markdown")
    """Form of the page; a PDF needs the extra `plots`."""
    include_plots: bool = key(False)
    """Draws charts beside a markdown page; HTML and PDF have them in any case."""
    include_confusion_matrix: bool = key(True)
    """Shows which classes are mistaken for which: of samples, positions or pixels, up to 100 classes."""


class PostTraining(Section):
    """Export, optimisation, final evaluation and report."""

    export: Export = key(Export)
    """The model in a form that can be served."""
    optimize: Optimize = key(Optimize)
    """A smaller, faster model."""
    final_evaluation: FinalEvaluation = key(FinalEvaluation)
    """The test."""
    report: Report = key(Report)
    """A page about the run."""
