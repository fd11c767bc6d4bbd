"""Weights and optimiser state of which each process holds a part: saved in parts, loaded in any other arrangement.

Each process writes the parts that it is the first to hold as safetensors, with JSON of where they belong; whoever
loads reads the slices that overlap with its own. Nothing is exchanged between processes, and nothing is pickled.

On the training's thread: ``copy_state``, a copy in main memory, which any thread may write. To go on:
``load_state``, with as many processes and whatever strategy there then is; a process alone too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.optim import Optimizer

from footplate.errors import InputError, RecordError
from footplate.trainer.checkpoints.state_files import join_state, split_state
from footplate.trainer.distributed.parallel import Parallel
from footplate.trainer.distributed.sharding import find_order

__all__ = ["FILES", "LocalState", "copy_state", "load_state"]

FILES = "state.rank*.safetensors"
"""Names of the files that processes write."""
_MESH = ("replicate", "shard", "tensor")
Copy = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class LocalState:
    """What one process writes of a training's state."""

    rank: int
    """Number of this process; in its file's name."""
    tensors: Mapping[str, Tensor]
    """Parts in main memory, by a key of their own."""
    places: Mapping[str, Mapping[str, Any]]
    """By the same keys: name, shape of the whole, offset of the part."""
    values: Mapping[str, Any]
    """What the optimiser keeps that is no tensor, by name."""

    @property
    def file_name(self) -> str:
        """Return the name of this process's file."""
        return FILES.replace("*", str(self.rank))

    @property
    def metadata(self) -> dict[str, str]:
        """Return what stands in the file beside the tensors."""
        return {"places": json.dumps(self.places), "values": json.dumps(self.values)}


class _Part(NamedTuple):
    """A block of a whole tensor that lies in this process."""

    local: Tensor
    offset: tuple[int, ...]


def _copy_anew(_key: str, tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def copy_state(
    model: nn.Module, optimizer: Optimizer | None, parallel: Parallel, copy: Copy = _copy_anew
) -> LocalState:
    """Copy what this process has to write of weights and optimiser state; the training may go on then.

    ``copy`` makes the copies in main memory: of a key and a tensor.
    """
    tensors: dict[str, Tensor] = {}
    places: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    for name, value, order in _list_state(model, optimizer):
        if not isinstance(value, Tensor):
            values[name], nested = split_state(value, name)
            for place, tensor in nested.items():
                if parallel.world.is_first:
                    tensors[place] = copy(place, tensor)
                    places[place] = _describe(place, tensor, (0,) * tensor.ndim)
        elif _writes(value, parallel):
            for number, part in enumerate(_list_parts(value, order)):
                key = f"{name}#{number}"
                tensors[key] = copy(key, part.local)
                places[key] = _describe(name, value, part.offset)
    return LocalState(rank=parallel.world.rank, tensors=tensors, places=places, values=values)


def _describe(name: str, whole: Tensor, offset: Sequence[int]) -> dict[str, Any]:
    dtype = str(whole.dtype).removeprefix("torch.")
    return {"name": name, "shape": list(whole.shape), "offset": list(offset), "dtype": dtype}


def load_state(folder: Path, model: nn.Module, optimizer: Optimizer | None = None) -> None:
    """Put saved weights, and the optimiser's state, into a network that is arranged in whatever way.

    Raises RecordError when a part is missing, InputError when the network is another one.
    """
    with ExitStack() as opened, torch.no_grad():
        saved = _Saved(folder, opened)
        for name, tensor in model.state_dict(keep_vars=True).items():
            if not _is_repeated(model, name, tensor):
                saved.fill(f"model/{name}", tensor, find_order(tensor))
        if optimizer is not None:
            for name, parameter, group in _list_parameters(model, optimizer):
                saved.fill_optimizer(f"optimizer/{name}/", optimizer, parameter, group)


def _list_state(model: nn.Module, optimizer: Optimizer | None) -> Iterator[tuple[str, Any, Tensor | None]]:
    """Yield name, value and the order of the rows of all there is to save."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not _is_repeated(model, name, tensor):
            yield f"model/{name}", tensor, find_order(tensor)
    if optimizer is None:
        return
    for name, parameter, _ in _list_parameters(model, optimizer):
        for key, value in optimizer.state.get(parameter, {}).items():
            order = find_order(parameter) if isinstance(value, Tensor) and value.ndim else None
            yield f"optimizer/{name}/{key}", value, order


def _is_repeated(model: nn.Module, name: str, tensor: Tensor) -> bool:
    """Return whether a parameter that several layers share stands under an earlier name already."""
    if not isinstance(tensor, nn.Parameter):
        return False
    return next(first for first, one in model.named_parameters(remove_duplicate=False) if one is tensor) != name


def _list_parameters(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, nn.Parameter, Mapping[str, Any]]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield names[parameter], parameter, group


def _writes(tensor: Tensor, parallel: Parallel) -> bool:
    """Return whether this process is the first of those that hold a part."""
    if not isinstance(tensor, DTensor):
        return parallel.world.is_first
    names = tensor.device_mesh.mesh_dim_names or ()
    split = {name for name, place in zip(names, tensor.placements, strict=True) if not place.is_replicate()}
    mesh, rank = parallel.mesh, parallel.world.rank
    here = (rank // (mesh.shard * mesh.tensor), rank // mesh.tensor % mesh.shard, rank % mesh.tensor)
    return all(place == 0 or name in split for name, place in zip(_MESH, here, strict=True))


def _list_parts(tensor: Tensor, order: Tensor | None) -> list[_Part]:
    """Return the blocks of the whole tensor that lie here; rows that were put into another order make several."""
    if not isinstance(tensor, DTensor):
        return [_Part(tensor, (0,) * tensor.ndim)]
    local = tensor.to_local()
    if not local.numel():
        return []
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    if order is None:
        return [_Part(local, tuple(offset))]
    rows = order[offset[0] : offset[0] + len(local)].tolist()
    starts = [row for row in range(len(rows)) if row == 0 or rows[row] != rows[row - 1] + 1]
    ends = [*starts[1:], len(rows)]
    return [_Part(local[a:b], (rows[a], *offset[1:])) for a, b in zip(starts, ends, strict=True)]


class _SavedPart(NamedTuple):
    """A block of a whole tensor that lies in a file."""

    file: Any
    key: str
    shape: tuple[int, ...]
    """Of the whole."""
    dtype: torch.dtype
    offset: tuple[int, ...]


class _Saved:
    """The parts in a folder, found by name."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._folder = folder
        self._parts: dict[str, list[_SavedPart]] = {}
        self._values: dict[str, Any] = {}
        files = sorted(folder.glob(FILES))
        if not files:
            raise RecordError(f"{folder}: there are no {FILES}")
        for path in files:
            file = opened.enter_context(safe_open(str(path), "pt"))
            told = file.metadata()
            self._values |= json.loads(told["values"])
            for key, place in json.loads(told["places"]).items():
                dtype: torch.dtype = getattr(torch, place["dtype"])
                part = _SavedPart(file, key, tuple(place["shape"]), dtype, tuple(place["offset"]))
                self._parts.setdefault(place["name"], []).append(part)

    @property
    def names(self) -> set[str]:
        """Names of all that was saved."""
        return {*self._parts, *self._values}

    def fill(self, name: str, tensor: Tensor, order: Tensor | None) -> None:
        """Copy the part of ``tensor`` that lies here from the saved parts that overlap with it."""
        saved = self._parts.get(name)
        if saved is None:
            raise InputError(
                f"{self._folder}: there is no {name.partition('/')[2]}: it is the state of another network"
            )
        if saved[0].shape != tuple(tensor.shape):
            raise InputError(
                f"{self._folder}: {name.partition('/')[2]} has the shape {list(saved[0].shape)}, "
                f"the network's is {list(tensor.shape)}"
            )
        for part in _list_parts(tensor, order):
            copied = sum(self._copy(one, part) for one in saved)
            if copied != part.local.numel():
                raise RecordError(f"{self._folder}: parts of {name} are missing: the files of some processes")

    def fill_optimizer(
        self, prefix: str, optimizer: Optimizer, parameter: nn.Parameter, group: Mapping[str, Any]
    ) -> None:
        """Set the optimiser's state of one parameter."""
        state: dict[str, Any] = {}
        on_device = group.get("fused") or group.get("capturable")
        for name in sorted(one for one in self.names if one.startswith(prefix)):
            key = name.removeprefix(prefix)
            if name in self._values:
                state[key] = join_state(self._values[name], _Nested(self._parts, parameter.device))
                continue
            if "/" in key:  # within a value
                continue
            shape, dtype = self._parts[name][0].shape, self._parts[name][0].dtype
            if shape == tuple(parameter.shape) and shape:
                state[key] = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
                self.fill(name, state[key], find_order(parameter))
            elif isinstance(parameter, DTensor) and shape:
                raise InputError(f"{name}: an optimiser that keeps {list(shape)} of it cannot be sharded")
            else:
                is_step = not shape and not on_device
                state[key] = torch.zeros(shape, dtype=dtype, device="cpu" if is_step else parameter.device)
                self.fill(name, state[key], None)
        if state:
            optimizer.state[parameter] = state

    @staticmethod
    def _copy(saved: _SavedPart, part: _Part) -> int:
        """Copy where a saved part and one that lies here overlap; return how many numbers."""
        if not part.local.ndim:
            part.local.copy_(saved.file.get_tensor(saved.key))
            return 1
        stored = saved.file.get_slice(saved.key)
        ours, theirs = _overlap(part, saved.offset, stored.get_shape())
        if ours is None or theirs is None:
            return 0
        target = part.local[ours]
        target.copy_(stored[theirs])
        return target.numel()


class _Nested(Mapping[str, Tensor]):
    """The tensors within values, read when they are asked for."""

    def __init__(self, parts: Mapping[str, Sequence[_SavedPart]], device: torch.device) -> None:
        self._parts = parts
        self._device = device

    def __getitem__(self, name: str) -> Tensor:
        [part] = self._parts[name]
        tensor: Tensor = part.file.get_tensor(part.key)
        return tensor.to(self._device)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def _overlap(
    part: _Part, offset: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...] | None, tuple[slice, ...] | None]:
    """Return where two blocks overlap, as slices of the one here and of the saved one; None where they do not."""
    ours, theirs = [], []
    for mine, size, other, length in zip(part.offset, part.local.shape, offset, shape, strict=True):
        start, end = max(mine, other), min(mine + size, other + length)
        if start >= end:
            return None, None
        ours.append(slice(start - mine, end - mine))
        theirs.append(slice(start - other, end - other))
    return tuple(ours), tuple(theirs)
