"""The parts of a template that depend on the data and the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from footplate.profile.facts import DeviceFacts
from footplate.profile.yaml_writer import write_yaml

__all__ = ["TableLike", "choose_architecture", "render_blocks"]


class TableLike(Protocol):
    """What a template needs to know of the data: a `footplate.data.infer.TableDescription`."""

    @property
    def task(self) -> str:
        """What is learnt."""

    @property
    def loss(self) -> str:
        """What `training.loss.type` should be."""

    @property
    def target(self) -> str:
        """Column that is predicted."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns to train on."""

    @property
    def needs_columns(self) -> bool:
        """Whether the columns must be named."""

    @property
    def missing(self) -> str:
        """What `data.columns.missing` should be."""

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one input, where it is known."""

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Shape of one output, where it is known."""

    @property
    def must_say_task(self) -> bool:
        """Whether `data.task` must be said."""

    @property
    def format(self) -> str:
        """How the data are stored."""

    @property
    def vocab_size(self) -> int:
        """Different tokens; 0 where inputs are numbers."""

    @property
    def sequence_length(self) -> int | None:
        """Tokens of one input, where it can be chosen."""

    @property
    def num_rows_seen(self) -> int:
        """Rows that were looked at."""


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """Numbers of one template."""

    batch: int
    accumulation: int
    epochs: int
    sizes: dict[str, dict[str, object]]
    """Keys of `model` for each architecture."""


_SMALL: dict[str, dict[str, object]] = {
    "mlp": {"hidden_size": 128, "num_layers": 2, "dropout": 0.1},
    "cnn": {"hidden_size": 64, "num_layers": 2, "dropout": 0.3},
    "transformer": {"hidden_size": 128, "num_layers": 2, "num_attention_heads": 4, "dropout": 0.1},
    "lightweight_transformer": {"hidden_size": 64, "num_layers": 2, "num_attention_heads": 4, "dropout": 0.1},
    "gpt": {"hidden_size": 128, "num_layers": 4, "num_attention_heads": 4, "dropout": 0.1},
    "unet": {"hidden_size": 16, "num_layers": 2, "dropout": 0.1},
}
_LARGE: dict[str, dict[str, object]] = {
    "mlp": {"hidden_size": 1024, "num_layers": 4, "dropout": 0.1},
    "cnn": {"hidden_size": 64, "num_layers": 3, "dropout": 0.2},
    "transformer": {"hidden_size": 512, "num_layers": 12, "num_attention_heads": 8, "dropout": 0.1},
    "lightweight_transformer": {"hidden_size": 256, "num_layers": 6, "num_attention_heads": 8, "dropout": 0.1},
    "gpt": {"hidden_size": 768, "num_layers": 12, "num_attention_heads": 12, "dropout": 0.1},
    "unet": {"hidden_size": 64, "num_layers": 4, "dropout": 0.1},
}
_RECIPES = {
    "quickstart": _Recipe(batch=64, accumulation=1, epochs=30, sizes=_SMALL),
    "hpc": _Recipe(batch=128, accumulation=2, epochs=100, sizes=_LARGE),
    "workstation": _Recipe(batch=32, accumulation=8, epochs=100, sizes=_SMALL),
    "embedded": _Recipe(batch=16, accumulation=16, epochs=50, sizes=_SMALL),
    "script": _Recipe(batch=32, accumulation=1, epochs=10, sizes=_SMALL),
}
_LAYERS = {"cnn": "blocks", "mlp": "hidden layers", "unet": "levels", "gpt": "decoder layers"}
_METRICS = {"regression": "mae, rmse", "language_model": "perplexity, accuracy", "segmentation": "iou, accuracy"}
_TRAIN_SHARE = 0.7
"""What the split of a template leaves to train on."""
_STEPS_PER_EPOCH = 2
"""An epoch of small data has at least as many: accumulation beyond that would be one step over all of them."""
_COMMENT_COLUMN = 32
_MAX_WIDTH = 80


def choose_architecture(shape: Sequence[int] | None) -> str:
    """Return the built-in architecture for inputs of a shape: images a cnn, sequences a transformer, else an mlp.

    Two sizes are an image when they are equal, a sequence of vectors when they are not.
    """
    if shape is None or len(shape) < 2 or len(shape) > 3:
        return "mlp"
    if len(shape) == 3 or shape[0] == shape[1]:
        return "cnn"
    return "transformer"


def _choose(table: TableLike | None) -> str:
    """Return the architecture for the data: what is learnt and what the inputs are decide before their shape."""
    if table is None:
        return "cnn"
    by_task = {"language_model": "gpt", "segmentation": "unet", "sequence": "lightweight_transformer"}
    if table.task in by_task:
        return by_task[table.task]
    if table.vocab_size:
        return "lightweight_transformer"
    return "cnn" if table.format == "image_folder" else choose_architecture(table.input_shape)


def render_blocks(name: str, machine: DeviceFacts | None, table: TableLike | None, data_path: str) -> dict[str, str]:
    """Return the text of each placeholder of a template."""
    recipe = _RECIPES[name]
    architecture = _choose(table)
    told = f"{table.task} of {table.target} in {data_path}" if table is not None else "handwritten digits"
    return {
        "name": name,
        "description": _write_text(told),
        "model": _render_model(recipe, architecture),
        "data": _render_data(table, data_path),
        "training": _render_training(recipe, architecture, table),
        "metrics": _METRICS.get(table.task if table is not None else "", "accuracy, f1"),
        "cpus": _render_cpus(machine),
        "gpu_type": _render_gpu_type(machine),
        "has_gpu": "true" if machine is not None and machine.gpus else "false",
    }


def _render_model(recipe: _Recipe, architecture: str) -> str:
    words = {
        "architecture": "mlp, cnn, resnet, gpt, …, my.module:Class",
        "hidden_size": "channels of the first block" if architecture in ("cnn", "unet") else "width",
        "num_layers": _LAYERS.get(architecture, "encoder layers"),
        "dropout": "share of activations dropped while training",
    }
    keys = {"architecture": architecture, **recipe.sizes[architecture]}
    lines = [_write_line(name, value, words.get(name, "")) for name, value in keys.items()]
    return "\n".join([*lines, "  # activation: gelu            # relu, gelu, silu, tanh"])


def _render_data(table: TableLike | None, data_path: str) -> str:
    if table is None:
        lines = [
            _write_line("train_data", "sklearn:digits", "1,797 real images of handwritten digits"),
            "  split: {val: 0.1, test: 0.2}  # shares, where a set has no file of its own",
            "  preprocessing: {normalize: true}",
            _write_line("input_shape", (8, 8), "compared with the data"),
            _write_line("output_shape", (10,), "classes"),
        ]
        return "\n".join(lines)
    lines = [_write_line("train_data", data_path, "")]
    lines.append("  split: {val: 0.1, test: 0.2}  # shares, where a set has no file of its own")
    lines += _render_columns(table)
    if table.must_say_task:
        lines.append(_write_line("task", table.task, "the data leave it open"))
    if table.sequence_length is not None:
        lines.append(_write_line("sequence_length", table.sequence_length, "tokens of one input"))
    if not table.vocab_size:
        lines.append("  preprocessing:")
        lines.append("    normalize: true             # mean 0, deviation 1, by the training data")
    if table.task == "regression":
        lines.append("    normalize_targets: true     # metrics stay in the target's own unit")
    if table.input_shape is not None:
        lines.append(_write_line("input_shape", table.input_shape, "compared with the data"))
    if table.output_shape is not None:
        what = {"regression": "", "multi_label": "labels"}.get(table.task, "classes")
        lines.append(_write_line("output_shape", table.output_shape, what))
    return "\n".join(lines)


def _render_columns(table: TableLike) -> list[str]:
    columns: dict[str, object] = {}
    if table.needs_columns:
        columns = {"inputs": table.inputs, "targets": (table.target,)}
    if table.missing != "error":
        columns["missing"] = table.missing
    if not columns:
        return []
    return ["  columns:", *(f"    {line}" for line in write_yaml(columns).splitlines())]


def _render_training(recipe: _Recipe, architecture: str, table: TableLike | None) -> str:
    is_quick = recipe is _RECIPES["quickstart"]
    is_table = table is not None
    rows = 1258 if table is None else table.num_rows_seen
    batch = min(recipe.batch, 32) if is_table and rows < 2000 and is_quick else recipe.batch
    epochs = 100 if is_quick and is_table else recipe.epochs
    num_train = int(rows * _TRAIN_SHARE)
    accumulation = max(1, min(recipe.accumulation, num_train // (_STEPS_PER_EPOCH * batch)))
    steps = max(1, -(-rows // (batch * accumulation))) * epochs
    rate = 3e-3 if is_quick and architecture == "cnn" else 1e-3
    smoothing = 0.1 if is_quick and table is None else 0.0
    lines = [
        _write_line("batch_size", batch, "samples per device"),
        _write_line("gradient_accumulation_steps", accumulation, ""),
        _write_line("optimizer", "adamw", "adam, adamw, sgd, rmsprop, adagrad, a class"),
        _write_line("learning_rate", rate, "after the warm-up"),
        _write_line("weight_decay", 0.01, ""),
        _write_line("max_grad_norm", 1.0, "larger gradients are scaled down to it"),
        _write_line("max_epochs", epochs, "passes over the training data"),
        "  scheduler:",
        "    type: linear_warmup_cosine  # constant, linear, cosine_annealing, one_cycle",
        f"    warmup_steps: {max(1, min(1000, steps // 10))}".ljust(_COMMENT_COLUMN) + "# optimiser steps",
        f"  loss: {{type: {table.loss if table is not None else 'cross_entropy'}}}",
    ]
    if smoothing:
        lines.append(_write_line("label_smoothing", smoothing, ""))
    if is_table or not is_quick:
        lines.append("  early_stopping:               # patience in evaluations")
        lines.append("    {enabled: true, patience: 15, monitor: val/loss}")
    return "\n".join(lines)


def _render_cpus(machine: DeviceFacts | None) -> str:
    if machine is None:
        return "  # num_cpus: 8                 # cores; default: all of this machine"
    return _write_line("num_cpus", machine.num_cpus, f"cores of {machine.host or 'this machine'}")


def _render_gpu_type(machine: DeviceFacts | None) -> str:
    if machine is None or not machine.gpus:
        return "  # gpu_type: A100-80GB         # compared with the machine's"
    return _write_line("gpu_type", machine.gpus[0][0], "this machine's")


def _write_line(name: str, value: object, comment: str) -> str:
    text = f"  {write_yaml({name: value}).strip()}"
    line = f"{text.ljust(_COMMENT_COLUMN - 1)} # {comment}"
    return line if comment and len(line) <= _MAX_WIDTH else text


def _write_text(text: str) -> str:
    return write_yaml({"x": text}).strip().removeprefix("x: ")
