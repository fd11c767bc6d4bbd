"""Weights as safetensors, and the description with which they can be loaded again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from safetensors.torch import load_model as load_tensors
from safetensors.torch import save_file as save_tensors
from torch import Tensor, nn

from footplate.data.load import LoadedData
from footplate.data.scaler import Scaler
from footplate.errors import NotFoundError, RecordError
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_network
from footplate.trainer.distributed.sharding import gather_weights, is_sharded, scatter_weights
from footplate.trainer.distributed.world import World
from footplate.trainer.task import Task

__all__ = [
    "copy_weights",
    "get_weights",
    "load_network",
    "load_weights",
    "read_signature",
    "save_description",
    "save_from_first",
    "save_weights",
]


def get_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name; one that several layers share is there once, under its first name.

    Of weights of which each process holds a part the whole is returned, in main memory: all processes must call it.
    """
    if is_sharded(model):
        return gather_weights(model)
    found: dict[tuple[object, ...], tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        found.setdefault((tensor.data_ptr() or name, tensor.shape, tensor.stride()), (name, tensor))
    return dict(found.values())


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights in main memory, which further steps do not change."""
    weights = get_weights(model)
    return weights if is_sharded(model) else {name: tensor.to("cpu", copy=True) for name, tensor in weights.items()}


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights in one step: a reader sees the old file or the new one, never a part."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        mode = part.stat().st_mode  # as the user's umask has it; safetensors lets the owner alone read
        save_tensors({name: tensor.contiguous() for name, tensor in weights.items()}, str(part))
        part.chmod(mode)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except Exception as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) or "os error" in str(error).lower():  # safetensors wraps the system's errors
            raise RecordError(
                f"{path}: the weights cannot be written: {error}", hint="make room; weights saved before are kept"
            ) from error
        raise


def save_from_first(model: nn.Module, path: Path, world: World) -> None:
    """Write a model's weights from the first process; all must call it, and the file is there when it returns."""
    weights = get_weights(model)
    if world.is_first:
        save_weights(weights, path)
    world.broadcast(None)


def load_weights(model: nn.Module, path: Path) -> None:
    """Put saved weights into a model of the same shape."""
    if not path.is_file():
        raise NotFoundError(f"{path}: there are no weights")
    if is_sharded(model):
        scatter_weights(model, load_file(str(path)))
    else:
        load_tensors(model, str(path))


def save_description(path: Path, model: Model, data: LoadedData, task: Task) -> None:
    """Write model.json: what is needed to build the network, to encode new rows for it and to read its outputs."""
    value = {
        "model": model.model_dump(mode="json", exclude_unset=True),
        "signature": dataclasses.asdict(data.facts.signature),
        "columns": [item.to_json() for item in data.encoding],
        "targets": list(data.target_names),
        "loss": task.loss_name,
        "classes": list(task.classes),
        "target_shape": list(task.target_shape),
        "scaler": task.scaler.to_json(),
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def read_signature(value: Mapping[str, Any]) -> Signature:
    """Return the signature that ``model.json`` holds."""
    return Signature(**{**value, "input_shape": tuple(value["input_shape"])})


def load_network(artifacts: Path, name: str = "model.safetensors") -> tuple[nn.Module, Mapping[str, Any], Scaler]:
    """Return the trained network of a run's artifacts, ready to predict, with its description and scaler."""
    file = artifacts / "model.json"
    if not file.is_file():
        raise NotFoundError(f"{file}: there is no trained model")
    value = json.loads(file.read_text(encoding="utf-8"))
    model = build_network(Model.model_validate(value["model"]), read_signature(value["signature"]))
    load_weights(model, artifacts / name)
    return model.eval(), value, Scaler.from_json(value["scaler"])
