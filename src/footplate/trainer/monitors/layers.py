"""Looks into the layers every so many steps: norms of gradients, sizes of updates, histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from footplate.record.journal import Journal
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["LayerWatch"]

_MAX_VALUES = 20_000
"""Values taken of a tensor, at equal distances: a look costs the same whatever the network's size."""
_BINS = 30


@dataclass(frozen=True, kw_only=True)
class _Layer:
    name: str
    parameters: Sequence[nn.Parameter]
    """Those of the layer itself, not of layers inside it."""


class LayerWatch(Hook):
    """Writes of each layer, every ``frequency`` steps, ``grad_norm/…``, ``weight_rms/…`` and ``update_ratio/…``.

    The tables ``weights`` and ``updates`` hold a histogram of each layer. Between these steps nothing is done.
    """

    watches_steps: ClassVar[bool] = True

    def __init__(self, model: nn.Module, frequency: int, journal: Journal, *, with_total: bool) -> None:
        self._layers = list(_list_layers(model))
        self._frequency = frequency
        self._journal = journal
        self._with_total = with_total
        self._step = 0
        self._norms: Tensor | None = None
        self._before: list[Tensor] = []

    def on_start(self, progress: Progress) -> None:
        self._step = progress.step

    def on_gradients(self) -> None:
        """Take what is gone after the update: the gradients, and the weights before it."""
        if (self._step + 1) % self._frequency:
            return
        with torch.no_grad():
            self._norms = torch.stack([_get_norm(layer.parameters) for layer in self._layers])
            self._before = [_sample(layer.parameters) for layer in self._layers]

    def on_step(self, progress: Progress) -> None:
        self._step = progress.step
        if self._norms is not None:
            self._write(progress.step, self._norms)
            self._norms, self._before = None, []

    def _write(self, step: int, norms: Tensor) -> None:
        values: dict[str, float] = {}
        weights: dict[str, Any] = {}
        updates: dict[str, Any] = {}
        gradients = norms.cpu().numpy().astype(np.float64)
        for layer, gradient, before in zip(self._layers, gradients, self._before, strict=True):
            with torch.no_grad():
                now = _sample(layer.parameters)
                update = (now - before).cpu().numpy()
            weight = now.cpu().numpy()
            size, moved = _get_size(weight), _get_size(update)
            values[f"grad_norm/{layer.name}"] = gradient
            values[f"weight_rms/{layer.name}"] = size
            if size > 0:
                values[f"update_ratio/{layer.name}"] = moved / size
            weights[layer.name], updates[layer.name] = _count(weight), _count(update)
        if self._with_total:
            values["train/grad_norm"] = float(np.sqrt(np.square(gradients).sum()))
        self._journal.metrics(step, values)
        self._journal.table("weights", step, weights)
        self._journal.table("updates", step, updates)


def _list_layers(model: nn.Module) -> Iterator[_Layer]:
    """Yield each layer with its own parameters; one that several layers share belongs to the first of them."""
    seen: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        parameters = [one for one in module.parameters(recurse=False) if one not in seen]
        seen.update(parameters)
        if parameters:
            yield _Layer(name=name or "network", parameters=parameters)


def _get_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the norm of all gradients of a layer; 0 where it took no part, or is frozen."""
    found = [one.grad for one in parameters if one.grad is not None and one.requires_grad]
    if not found:
        return torch.zeros((), device=parameters[0].device)
    norms = torch._foreach_norm(found)
    total: Tensor = torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms]))
    return total


def _sample(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return values of all parameters of a layer, in a tensor of its own."""
    parts = []
    for parameter in parameters:
        flat = parameter.detach().reshape(-1)
        parts.append(flat[:: max(1, -(-len(flat) // _MAX_VALUES))])
    return torch.cat(parts).float()


def _get_size(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if len(values) else 0.0


def _count(values: NDArray[np.float32]) -> Mapping[str, Any]:
    """Return a histogram: counts of bins of equal width between the lowest and the highest finite value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"low": 0.0, "high": 0.0, "counts": [], "num_not_finite": len(values)}
    counts, edges = np.histogram(finite, bins=_BINS)
    return {
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "counts": counts.tolist(),
        "num_not_finite": len(values) - len(finite),
    }
