"""``logging``: what is written where."""

from __future__ import annotations

from typing import Literal

from footplate.profile.fields import Section, Text, key

__all__ = ["Logging", "MLflow", "TensorBoard", "WandB"]


class TensorBoard(Section):
    """Metrics for TensorBoard."""

    enabled: bool = key(False)
    """Switches it on."""
    log_dir: Text = key("")
    """Directory in which each run gets a directory of event files; empty = `tensorboard` in the run directory."""
    log_images: bool = key(False)
    """Writes the pictures (PNG) among the artifacts, when the run has ended."""
    log_histograms: bool = key(False)
    """Writes histograms of weights and updates, every `monitoring.histogram_frequency` steps."""


class MLflow(Section):
    """Parameters, metrics and artifacts for MLflow."""

    enabled: bool = key(False)
    """Switches it on."""
    tracking_uri: Text = key("")
    """Address of the tracking server or store; empty = `MLFLOW_TRACKING_URI`, else `sqlite:///mlflow.db` here."""
    experiment_name: Text = key("")
    """Experiment: the named set of runs this one belongs to (`footplate runs` shows it)."""


class WandB(Section):
    """Parameters, metrics and artifacts for Weights & Biases."""

    enabled: bool = key(False)
    """Switches it on; `WANDB_MODE` and `WANDB_API_KEY` in the environment say whether the run is uploaded."""
    project: Text = key("")
    """Project; empty = the experiment."""
    entity: Text = key("")
    """User or team; empty = that of the key."""
    tags: tuple[Text, ...] = key(())
    """Tags of the run."""


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
