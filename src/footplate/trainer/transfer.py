"""Transfer learning: weights of another training, and which layers are trained at which epoch."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from footplate.errors import InputError
from footplate.profile.model import Profile
from footplate.profile.sections.transfer_learning import TransferLearning
from footplate.record.journal import Journal
from footplate.trainer.failure import is_out_of_memory
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["Freezer", "Layer", "Taken", "list_layers", "make_freezer", "read_weights", "take_weights"]

_PATH = "transfer_learning.pretrained_model_path"
_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""Beginnings of names that wrapping a network (DDP, torch.compile, Lightning) adds."""
_NESTED = ("state_dict", "model_state_dict", "model")
"""Where checkpoints of others keep the weights."""
_NAMED_AT_MOST = 8
_log = logging.getLogger("footplate")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What of the pretrained weights was taken."""

    source: str
    """The file."""
    names: tuple[str, ...]
    """Parameters and buffers that were taken."""
    left: tuple[str, ...]
    """Those of the network that were not, each with the reason."""
    unused: tuple[str, ...]
    """Tensors of the file for which the network has no place."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: a block of a network, with the names of its parameters."""

    name: str
    """Its name in the network."""
    parameters: tuple[str, ...]
    """Full names of its parameters."""


def take_weights(model: nn.Module, profile: Profile) -> Taken | None:
    """Put the pretrained weights of the profile into the model, where names and shapes are equal; say what was taken.

    None when the profile names none. Raises InputError when the file cannot be read or nothing of it fits.
    """
    settings = profile.transfer_learning
    if not settings.is_on or not settings.pretrained_model_path:
        return None
    path = _find_file(profile.base_dir / settings.pretrained_model_path)
    weights = read_weights(path)
    mine = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found = _match_names(weights, mine)
    left = [name for name in mine if name not in found]
    odd = {name: f"{list(found[name].shape)} there, {list(mine[name].shape)} here" for name in found}
    fitting = [name for name in found if found[name].shape == mine[name].shape]
    if not any(mine[name].ndim for name in fitting):
        raise InputError(
            f"{_PATH}: {path} has nothing for this network; it has {_join(weights)}, the network has {_join(mine)}",
            hint="the model section must describe the network whose weights these are; its head may have another size",
        )
    with torch.no_grad():
        for name in fitting:
            mine[name].copy_(found[name])
    told = [
        *(f"{name} ({odd[name]})" for name in found if name not in fitting),
        *(f"{name} (not there)" for name in left),
    ]
    taken = Taken(
        source=str(path),
        names=tuple(fitting),
        left=tuple(told),
        unused=tuple(name for name in weights if _unwrap(name, mine) not in mine),
    )
    _log.info("transfer: %d of %d tensors from %s", len(fitting), len(mine), path)
    for words, names in (("fresh", taken.left), ("not needed", taken.unused)):
        if names:
            _log.info("transfer: %s: %s", words, _join(names))
    return taken


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, or of a ``.pt`` that holds nothing else.

    Raises InputError for anything that could run code when it is read.
    """
    if path.is_dir():
        raise InputError(f"{_PATH}: {path} has no model.safetensors", hint="name a file, or the directory of a run")
    if not path.is_file():
        raise InputError(f"{_PATH}: {path} does not exist")
    if path.suffix not in (".safetensors", ".pt", ".pth", ".bin"):
        raise InputError(f"{_PATH}: {path} is of no kind that is read: .safetensors, .pt or .pth")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = _find_reason(error)
        if path.suffix == ".safetensors":
            raise InputError(f"{_PATH}: {path} cannot be read: {reason}", hint="is the file whole?") from error
        raise InputError(
            f"{_PATH}: {path} is refused: it does not load with weights_only=True, which runs no code: {reason}",
            hint="where you trust it, write its weights alone: safetensors.torch.save_file(model.state_dict(), …)",
        ) from error
    found = found if isinstance(found, Mapping) else {}
    for name in _NESTED:
        if isinstance(found.get(name), Mapping):
            found = found[name]
            break
    weights = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f"{_PATH}: {path} holds no weights by name", hint="save model.state_dict()")
    return weights


def _find_reason(error: Exception) -> str:
    """Return why a file was not loaded: what it would call, where torch says it, not how to let it."""
    called = re.search(r"GLOBAL ([\w.]*\w)", str(error))
    if called:
        return f"it holds {called[1]}, which is no tensor"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}".rstrip(": ")


def list_layers(model: nn.Module) -> list[Layer]:
    """Return the layers of a network in the order in which it defines them.

    Lists, sequences and networks that hold a list are taken apart into their elements. What has only vectors, such as
    a normalisation, belongs to the layer before it.
    """
    sizes = {name: parameter.ndim for name, parameter in model.named_parameters()}
    layers: list[Layer] = []
    for name, parameters in _walk(model, ""):
        if layers and all(sizes.get(parameter, 0) <= 1 for parameter in parameters):
            last = layers.pop()
            layers.append(Layer(name=last.name, parameters=(*last.parameters, *parameters)))
        elif parameters:
            layers.append(Layer(name=name, parameters=tuple(parameters)))
    return layers


class Freezer(Hook):
    """Says which parameters are trained: a function of the epoch alone, so that nothing of it has to be saved.

    A frozen parameter gets no gradient, and the optimiser leaves it, and its own state for it, as they are. A frozen
    batch norm keeps its mean and variance.
    """

    watches_steps: ClassVar[bool] = True

    def __init__(self, model: nn.Module, stages: Sequence[tuple[int, Layer]]) -> None:
        """Freeze each layer of ``stages`` until its epoch; -1 = for good."""
        self._model = model
        self._stages = stages
        self._frozen: list[Layer] | None = None
        self._epoch = -1
        self._kept = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        """What the network itself does not train."""
        self.journal: Journal | None = None
        """Where it is told what is frozen."""

    @property
    def may_thaw(self) -> bool:
        """Whether what is trained changes with the epochs."""
        return any(epoch > 0 for epoch, _ in self._stages)

    def on_start(self, progress: Progress) -> None:
        self.apply(progress.epoch)
        self._tell(progress)

    def on_step(self, progress: Progress) -> None:
        if progress.epoch != self._epoch and self.apply(progress.epoch):
            self._tell(progress)

    def apply(self, epoch: int) -> bool:
        """Freeze what this epoch freezes, and nothing else; return whether anything has changed."""
        self._epoch = epoch
        frozen = [layer for until, layer in self._stages if until < 0 or epoch < until]
        if frozen == self._frozen:
            return False
        self._frozen = frozen
        names = {name for layer in frozen for name in layer.parameters}
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name not in names and name not in self._kept)
            if name in names:
                parameter.grad = None
        self._settle_norms()
        return True

    def _tell(self, progress: Progress) -> None:
        """Say what is frozen now."""
        names = [layer.name for layer in self._frozen or ()]
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self._model.parameters()]
        trained = sum(size for size, is_trained in sizes if is_trained)
        frozen = sum(size for size, is_trained in sizes if not is_trained)
        told = f"{frozen:,} are frozen: {_join(names)}" if names else "none is frozen"
        _log.info("transfer: epoch %d: %s parameters are trained, %s", progress.epoch, f"{trained:,}", told)
        if self.journal is not None:
            numbers = {"frozen_parameters": frozen, "trained_parameters": trained}
            self.journal.event("freeze", step=progress.step, epoch=progress.epoch, frozen=names, **numbers)

    def _settle_norms(self) -> None:
        """Keep the batch norms of frozen layers in evaluation, whatever the network is told."""
        for module in self._model.modules():
            for norm in module.children():
                if isinstance(norm, _NormBase) and norm.track_running_stats:
                    own = list(norm.parameters(recurse=False)) or list(module.parameters())
                    _hold(norm, still=bool(own) and not any(parameter.requires_grad for parameter in own))


def make_freezer(model: nn.Module, settings: TransferLearning, taken: Taken | None) -> Freezer | None:
    """Return what freezes the layers of the profile; None when all of them are trained.

    What stays frozen for good is frozen already; what thaws later is not yet, so that the optimiser, and what wraps
    the network, take it in from the start.

    Raises InputError for a layer that the network does not have, and when nothing would be trained.
    """
    if not settings.is_on:
        return None
    layers = list_layers(model)
    frozen = _choose_frozen(model, layers, settings, taken)
    if not frozen:
        return None
    epochs = settings.unfreeze_schedule if settings.strategy == "gradual_unfreezing" else ()
    if len(epochs) > len(frozen):
        _log.warning(
            "transfer_learning.unfreeze_schedule: %d epochs, but %d layers are frozen", len(epochs), len(frozen)
        )
    later = dict(zip(reversed(range(len(frozen))), epochs, strict=False))
    stages = [(later.get(place, -1), layer) for place, layer in enumerate(frozen)]
    names = {name for layer in frozen for name in layer.parameters}
    if all(name in names or not parameter.requires_grad for name, parameter in model.named_parameters()):
        raise InputError(
            "transfer_learning: every layer is frozen, so nothing would be trained",
            hint=f"leave a layer out; the last one is {layers[-1].name}",
        )
    freezer = Freezer(model, stages)
    if not freezer.may_thaw:
        freezer.apply(0)
    return freezer


def _choose_frozen(
    model: nn.Module, layers: Sequence[Layer], settings: TransferLearning, taken: Taken | None
) -> list[Layer]:
    """Return what is frozen at the start, layer by layer; a layer may be frozen in part."""
    names = [name for name, _ in model.named_parameters()]
    chosen: set[str] = set()
    for wanted in settings.freeze_layers:
        found = {name for name in names if _is_in(name, wanted)}
        if not found:
            raise _say_missing("freeze_layers", wanted, layers)
        chosen |= found
    if settings.freeze_until_layer is not None:
        wanted = settings.freeze_until_layer
        place = next((at for at, layer in enumerate(layers) if _is_at(layer, wanted)), None)
        if place is None:
            raise _say_missing("freeze_until_layer", wanted, layers)
        chosen |= {name for layer in layers[:place] for name in layer.parameters}
    if not chosen and settings.strategy != "full":
        chosen = {name for layer in layers[:-1] for name in layer.parameters}
        if taken is not None:
            chosen &= set(taken.names)  # what starts from nothing must be trained
    elif taken is not None and not chosen <= set(taken.names):
        fresh = _join(sorted(chosen - set(taken.names)))
        _log.warning("transfer: frozen, though the pretrained weights do not have them: %s", fresh)
    parts = [
        Layer(name=layer.name, parameters=tuple(name for name in layer.parameters if name in chosen))
        for layer in layers
    ]
    return [part for part in parts if part.parameters]


def _walk(module: nn.Module, path: str) -> Iterable[tuple[str, list[str]]]:
    for name, _ in module.named_parameters(path, recurse=False):
        yield name, [name]
    for name, child in module.named_children():
        full = f"{path}.{name}" if path else name
        if _is_taken_apart(child):
            yield from _walk(child, full)
        else:
            yield full, [parameter for parameter, _ in child.named_parameters(full)]


def _is_taken_apart(module: nn.Module) -> bool:
    lists = (nn.ModuleList, nn.ModuleDict)
    return isinstance(module, (*lists, nn.Sequential)) or any(isinstance(part, lists) for part in module.modules())


def _hold(norm: nn.Module, *, still: bool) -> None:
    """Keep a module in evaluation, or give it back to its network."""
    if still:
        norm.eval()
        norm.train = lambda mode=True: norm  # type: ignore[method-assign]  # noqa: ARG005  the method of this one alone
    elif "train" in vars(norm):
        del norm.train
        norm.train()


def _find_file(path: Path) -> Path:
    """Return the weights that a path means: a file, or those in the directory of a run."""
    for inside in ("artifacts/model.safetensors", "model.safetensors"):
        if (path / inside).is_file():
            return path / inside
    return path


def _match_names(weights: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the file by the network's names."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        own = _unwrap(name, mine)
        if own in mine:
            found.setdefault(own, tensor)
    return {name: found[name] for name in mine if name in found}


def _unwrap(name: str, mine: Mapping[str, Tensor]) -> str:
    while name not in mine:
        rest = next((name.removeprefix(start) for start in _WRAPPERS if name.startswith(start)), None)
        if rest is None:
            return name
        name = rest
    return name


def _is_in(name: str, wanted: str) -> bool:
    """Return whether a parameter belongs to what a name or pattern means."""
    if any(sign in wanted for sign in "*?["):
        return fnmatch.fnmatchcase(name, wanted) or fnmatch.fnmatchcase(name, f"{wanted}.*")
    return name == wanted or name.startswith(f"{wanted}.")


def _is_at(layer: Layer, wanted: str) -> bool:
    return layer.name == wanted or any(_is_in(name, wanted) for name in layer.parameters)


def _say_missing(key: str, wanted: str, layers: Sequence[Layer]) -> InputError:
    names = [layer.name for layer in layers]
    return InputError(
        f"transfer_learning.{key}: the network has no layer {wanted}", hint=f"its layers: {_join(names, at_most=40)}"
    )


def _join(names: Iterable[str], *, at_most: int = _NAMED_AT_MOST) -> str:
    every = list(names)
    more = f" and {len(every) - at_most} more" if len(every) > at_most else ""
    return ", ".join(every[:at_most]) + more
