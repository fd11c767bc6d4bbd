"""What every built-in network can do: name its layers, compute them again instead of keeping what they held, split."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from footplate.profile.sections.model import Model

__all__ = [
    "Network",
    "Split",
    "compute_layers_again",
    "drop_inside",
    "get_activation",
    "get_layer_stack",
    "get_tensor_plan",
    "list_with_parameters",
]

Split = Literal["colwise", "rowwise"]
"""How a linear layer is split among processes: by its outputs, or by its inputs with the results added up."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Network(nn.Module):
    """A built-in network; its forward pass gives each layer to ``run``."""

    computes_again = False
    """Whether the layers are computed a second time for the backward pass instead of keeping their activations."""

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the modules that are stacked, from the input on."""
        raise NotImplementedError

    def get_tensor_plan(self) -> dict[str, Split]:
        """Return how linear layers can be split among processes, by their names; the others stay whole."""
        return {}

    def compute_layers_again(self) -> bool:
        """Compute the layers again in the backward pass; return whether the network can."""
        self.computes_again = True
        return True

    def run(self, layer: nn.Module, *inputs: Tensor) -> Tensor:
        """Return what a layer gives; its activations are dropped where they are to be computed again."""
        if not self.computes_again:
            return layer(*inputs)  # type: ignore[no-any-return]
        return _run_and_drop(layer, layer, *inputs)  # type: ignore[no-any-return]


def get_activation(model: Model, default: str = "relu") -> nn.Module:
    """Return the activation function of the section ``model``, or the architecture's own where none is set."""
    return _ACTIVATIONS[model.activation if "activation" in model.model_fields_set else default]()


def list_with_parameters(modules: nn.Sequential) -> list[nn.Module]:
    """Return the modules of a sequence that have parameters."""
    return [module for module in modules if any(True for _ in module.parameters())]


def get_layer_stack(network: nn.Module) -> nn.ModuleList | None:
    """Return the layers of a network from the input on: what is sharded, frozen or computed again one by one.

    Of a class of the user's these are the modules in its ``layers``, of a class of transformers the longest list of
    layers. None where there is no such stack.
    """
    if isinstance(network, Network):
        return nn.ModuleList(network.list_layers()) or None
    layers = getattr(network, "layers", None)
    if isinstance(layers, nn.ModuleList):
        return layers
    return nn.ModuleList(layers) if isinstance(layers, nn.Sequential) else None


def get_tensor_plan(network: nn.Module) -> dict[str, Split]:
    """Return how a network's linear layers can be split among processes, by their full names.

    A layer split ``colwise`` gives a part of its outputs, and the layers up to the next ``rowwise`` one work on parts.
    Attention heads are split whole: their number must be a multiple of the processes. Empty where nothing can be
    split: every process then computes the whole network.
    """
    return network.get_tensor_plan() if isinstance(network, Network) else {}


def compute_layers_again(network: nn.Module) -> bool:
    """Make a network compute its layers again in the backward pass; return whether it has layers to do so.

    The numbers stay the same to the bit: random numbers are drawn again as they were, and the statistics of a batch
    norm are counted once.
    """
    if isinstance(network, Network):
        return network.compute_layers_again()
    return drop_inside(get_layer_stack(network) or ())


def drop_inside(layers: Iterable[nn.Module]) -> bool:
    """Make each of some modules, called by whatever code, be computed again; return whether there are any."""
    found = False
    for layer in layers:
        layer.forward = partial(_run_and_drop, layer, layer.forward)
        found = True
    return found


def _run_and_drop(layer: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Run the forward pass of a layer so that only its inputs are kept for the backward pass."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    norms = [module for module in layer.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms or torch.compiler.is_compiling():  # a compiled graph changes statistics once, at its end
        return checkpoint(forward, *inputs, use_reentrant=False, **named)
    contexts = lambda: (contextlib.nullcontext(), _without_statistics(norms))  # noqa: E731  of the first, second pass
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextlib.contextmanager
def _without_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Let batch norms move their statistics by nothing: with a momentum of 0, and a count that is thrown away."""
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
