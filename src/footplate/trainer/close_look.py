"""Looks closely at one optimiser step: what goes in, what each module gives, what the gradients are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from footplate.trainer.loading.feed import Batch, Step
from footplate.trainer.stepper import Stepper

__all__ = ["describe_tensor", "look_at_step"]

_MAX_SAMPLES = 8
"""Samples named of those that are not finite."""


def look_at_step(stepper: Stepper, step: Step, batch_size: int, model: nn.Module) -> dict[str, Any]:
    """Do a step and return what was seen: batches, modules, gradients before clipping, loss; plain data.

    The first thing that is not finite is named in ``first_wrong``, in the order in which things happen: inputs,
    weights, outputs of modules, loss, gradients.
    """
    batches = [_describe_batch(batch) for batch in step.split(batch_size)]
    weights = _find_wrong(dict(model.named_parameters()))
    modules: list[dict[str, Any]] = []
    gradients: dict[str, float] = {}

    def read_gradients() -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                gradients[name] = float(parameter.grad.detach().double().norm())

    with _watched(model, modules, step.indices.tolist(), batch_size):
        result = replace(stepper, on_gradients=read_gradients, max_grad_norm=None).take_step(step, batch_size)
    values = np.asarray([float(loss) for loss, _ in result.losses])
    shares = np.asarray([float(weight) for _, weight in result.losses])
    loss = float(values @ shares / max(shares.sum(), 1.0))
    total = math.sqrt(sum(norm * norm for norm in gradients.values()))
    seen = {
        "indices": step.indices.tolist(),
        "batches": batches,
        "modules": modules,
        "gradients": gradients,
        "grad_norm": total,
        "loss": loss,
        "loss_weight": float(shares.sum()),
        "weights_not_finite": weights,
    }
    return seen | {"first_wrong": _find_first_wrong(seen)}


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """Return shape, type, range, mean, deviation, and how many values are not finite."""
    values = tensor.detach()
    described: dict[str, Any] = {"shape": list(values.shape), "dtype": str(values.dtype).removeprefix("torch.")}
    if values.is_floating_point():
        finite = values[torch.isfinite(values)].double()
        described["num_not_finite"] = values.numel() - finite.numel()
    else:
        finite = values.double()
        described["num_not_finite"] = 0
    if finite.numel():
        described |= {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean())}
        described["std"] = float(finite.std(correction=0))
    return described


def _describe_batch(batch: Batch) -> dict[str, Any]:
    return {
        "size": batch.size,
        "inputs": describe_tensor(batch.inputs),
        "targets": describe_tensor(batch.targets),
    }


@contextmanager
def _watched(model: nn.Module, seen: list[dict[str, Any]], indices: list[int], batch_size: int) -> Iterator[None]:
    """Note what each module without modules of its own gives, batch by batch."""
    passes = [0]

    def begin(_module: nn.Module, _inputs: object) -> None:
        passes[0] += 1

    handles: list[Any] = [model.register_forward_pre_hook(begin)]  # a module may take part twice in one pass

    def watch(name: str, module: nn.Module) -> None:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            number = passes[0]
            for tensor in _find_tensors(output):
                described = describe_tensor(tensor)
                if number == 1 or described["num_not_finite"]:
                    seen.append({"name": name, "kind": type(module).__name__, "batch": number, "output": described})
                if described["num_not_finite"]:
                    own = indices[(number - 1) * batch_size : number * batch_size]
                    seen[-1]["samples"] = _find_samples(tensor, own)

        handles.append(module.register_forward_hook(note))

    for name, module in model.named_modules():
        if not any(True for _ in module.children()):
            watch(name or type(module).__name__, module)
    if any(True for _ in model.children()):
        watch("(the whole network)", model)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _find_tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for item in output:
            yield from _find_tensors(item)
    elif isinstance(output, dict):
        for item in output.values():
            yield from _find_tensors(item)


def _find_samples(tensor: Tensor, indices: list[int]) -> list[int]:
    """Return which samples of the training set have a value that is not finite, where the first axis is theirs."""
    if tensor.dim() == 0 or len(tensor) != len(indices):
        return []
    wrong = ~torch.isfinite(tensor.detach()).reshape(len(tensor), -1).all(dim=1)
    return [indices[row] for row in torch.nonzero(wrong).flatten().tolist()[:_MAX_SAMPLES]]


def _find_wrong(tensors: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.detach()).all())]


def _find_first_wrong(seen: dict[str, Any]) -> str | None:
    """Return in words what is not finite first; None when all is."""
    for number, batch in enumerate(seen["batches"], start=1):
        if batch["inputs"]["num_not_finite"]:
            return f"the inputs of batch {number}"
    if seen["weights_not_finite"]:
        return f"the weights before the step: {seen['weights_not_finite'][0]}"
    for module in seen["modules"]:
        if module["output"]["num_not_finite"]:
            of = f", at samples {', '.join(map(str, module['samples']))}" if module.get("samples") else ""
            return f"the output of {module['name']} ({module['kind']}) in batch {module['batch']}{of}"
    if not math.isfinite(seen["loss"]):
        return "the loss"
    for name, norm in seen["gradients"].items():
        if not math.isfinite(norm):
            return f"the gradient of {name}"
    return None
