"""``logging``: what is written where."""

from __future__ import annotations

from typing import Literal

from footplate.profile.fields import Section, Text, key

__all__ = ["Logging", "MLflow", "TensorBoard", "WandB"]

_LATER = "trackers are not built yet; every metric is in the run's journal and can be shipped later"


class TensorBoard(Section):
    """Metrics for TensorBoard."""

    enabled: bool = key(False, inactive=_LATER)
    """Switches it on."""
    log_dir: Text = key("", inactive=_LATER)
    """Directory of the event files; empty = in the run directory."""
    log_images: bool = key(False, inactive=_LATER)
    """Writes images."""
    log_histograms: bool = key(False, inactive=_LATER)
    """Writes histograms of the weights."""


class MLflow(Section):
    """Metrics, parameters and models for MLflow."""

    enabled: bool = key(False, inactive=_LATER)
    """Switches it on."""
    tracking_uri: Text = key("", inactive=_LATER)
    """Address of the tracking server or store."""
    experiment_name: Text = key("")
    """Experiment: the named set of runs this one belongs to (`footplate runs` shows it)."""


class WandB(Section):
    """Metrics for Weights & Biases."""

    enabled: bool = key(False, inactive=_LATER)
    """Switches it on."""
    project: Text = key("", inactive=_LATER)
    """Project."""
    entity: Text = key("", inactive=_LATER)
    """User or team."""
    tags: tuple[Text, ...] = key((), inactive=_LATER)
    """Tags."""


class Logging(Section):
    """The log and the trackers."""

    console_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = key("INFO")
    """Least important message that is shown."""
    log_format: Text = key("%(message)s")
    """Form of a log line, in the words of Python's logging."""
    log_file: Text | None = key(None)
    """File the log is also written to; the run directory has it in any case."""
    log_dir: Text | None = key(None)
    """Directory of `log_file`."""
    tensorboard: TensorBoard = key(TensorBoard)
    """TensorBoard."""
    mlflow: MLflow = key(MLflow)
    """MLflow."""
    wandb: WandB = key(WandB)
    """Weights & Biases."""
