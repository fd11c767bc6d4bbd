"""`package.module:function` as data: arrays, a dataset or a stream of samples, from code of the user's."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from footplate.data import rows
from footplate.data.rows import Array, Indices, LazyArray, Part, Rows, describe_shape
from footplate.data.source import Source
from footplate.data.streams import read_stream
from footplate.errors import DataError
from footplate.profile.fields import CLASS_PATH

__all__ = ["find_module_file", "is_function", "open_function"]

_HINT = "it must return (inputs, targets) as arrays, a dataset with __len__ and __getitem__, or a stream of pairs"


class _Items(LazyArray):
    """Inputs (0) or targets (1) of a dataset, asked for one by one."""

    def __init__(self, name: str, dataset: Any, which: int) -> None:
        self._name = name
        self._dataset = dataset
        self._which = which
        first = _get_item(name, dataset, 0)[which]
        self.shape = (len(dataset), *first.shape)
        self.dtype = first.dtype

    def read(self, indices: Indices) -> Array:
        made = []
        for index in indices.tolist():
            item = _get_item(self._name, self._dataset, index)[self._which]
            _check_item(self._name, index, ("inputs", "targets")[self._which], item, self.shape[1:])
            made.append(item)
        return np.stack(made) if made else np.zeros((0, *self.shape[1:]), self.dtype)


def is_function(name: str) -> bool:
    """Return whether a name in the profile is `package.module:function`."""
    return not name.startswith("sklearn:") and re.fullmatch(CLASS_PATH, name) is not None


def find_module_file(name: str, base_dir: Path) -> Path | None:
    """Return the file of the function's module where it lies in the directory of the training; nothing is imported."""
    module = base_dir.joinpath(*name.partition(":")[0].split("."))
    for file in (module.with_suffix(".py"), module / "__init__.py"):
        if file.is_file():
            return file
    return None


def open_function(name: str, base_dir: Path) -> Source:
    """Call a function (or class) without arguments and take what it returns."""
    value = _call(name, base_dir)
    if isinstance(value, tuple) and len(value) == 2:
        inputs, targets = (_to_array(name, item) for item in value)
        if not inputs.ndim or not targets.ndim:
            raise DataError(f"{name}: returned two single values", hint=_HINT)
        return Source(
            name=name,
            inputs=Rows(parts=(inputs,), names=(f"{name}: inputs",), mapped=isinstance(value[0], np.memmap)),
            targets=Rows(parts=(targets,), names=(f"{name}: targets",), mapped=isinstance(value[1], np.memmap)),
            num_bytes=inputs.nbytes + targets.nbytes,
        )
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict)):
        return _open_dataset(name, value)
    if hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict, tuple, list, set, frozenset)):
        return _open_stream(name, value)
    raise DataError(f"{name}: returned {type(value).__name__}", hint=_HINT)


def _open_dataset(name: str, dataset: Any) -> Source:
    if not len(dataset):
        raise DataError(f"{name}: the dataset is empty", hint="check where it looks for its files")
    once, again = _get_item(name, dataset, 0), _get_item(name, dataset, 0)
    if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(once, again, strict=True)):
        raise DataError(
            f"{name}: item 0 is another one each time it is read, so that no training could be repeated or resumed",
            hint="draw nothing at random in __getitem__; use data.augmentation",
        )
    items: tuple[Part, Part] = (_Items(name, dataset, 0), _Items(name, dataset, 1))
    if items[0].nbytes <= rows.LAZY_BYTES:
        items = _read_all(name, dataset)
    inputs, targets = items
    return Source(
        name=name,
        inputs=Rows(parts=(inputs,), names=(f"{name}: inputs",)),
        targets=Rows(parts=(targets,), names=(f"{name}: targets",)),
        class_names=tuple(str(label) for label in getattr(dataset, "classes", ()) or ()),
        num_bytes=inputs.nbytes + targets.nbytes,
    )


def _open_stream(name: str, stream: Any) -> Source:
    """Read what can only be read from its start, once."""
    if hasattr(stream, "dataset") and hasattr(stream, "batch_size"):
        raise DataError(
            f"{name}: returned {type(stream).__name__}, which gives batches",
            hint="return its dataset: training.batch_size and data.num_workers are the profile's",
        )
    inputs, targets, sha256 = read_stream(name, stream, lambda number, item: _to_pair(f"{name}, sample {number}", item))
    return Source(
        name=name,
        inputs=Rows(parts=(inputs,), names=(f"{name}: inputs",), mapped=isinstance(inputs, np.memmap)),
        targets=Rows(parts=(targets,), names=(f"{name}: targets",), mapped=isinstance(targets, np.memmap)),
        class_names=tuple(str(label) for label in getattr(stream, "classes", ()) or ()),
        num_bytes=inputs.nbytes + targets.nbytes,
        notes=("read once from its start; it must give the same samples to an attempt that goes on",),
        sha256=sha256,
    )


def _read_all(name: str, dataset: Any) -> tuple[Array, Array]:
    """Return all inputs and targets, with each item asked for once."""
    pairs = [_get_item(name, dataset, index) for index in range(len(dataset))]
    for which, what in enumerate(("inputs", "targets")):
        for index, pair in enumerate(pairs):
            _check_item(name, index, what, pair[which], pairs[0][which].shape)
    return np.stack([inputs for inputs, _ in pairs]), np.stack([targets for _, targets in pairs])


def _check_item(name: str, index: int, what: str, item: Array, shape: tuple[int, ...]) -> None:
    if item.shape != shape:
        raise DataError(
            f"{name}[{index}]: {what} have shape {describe_shape(item.shape)}, those of item 0 {describe_shape(shape)}",
            hint="all items must have the same shape",
        )


def _get_item(name: str, dataset: Any, index: int) -> tuple[Array, Array]:
    try:
        item = dataset[index]
    except (Exception, SystemExit) as error:
        raise DataError(f"{name}[{index}] failed: {type(error).__name__}: {error}", hint="mend __getitem__") from error
    return _to_pair(f"{name}[{index}]", item)


def _to_pair(name: str, item: Any) -> tuple[Array, Array]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise DataError(f"{name} is {type(item).__name__}, not one input and one target", hint="return (input, target)")
    return _to_array(name, item[0]), _to_array(name, item[1])


def _to_array(name: str, value: Any) -> Array:
    if getattr(value, "requires_grad", False):  # a tensor of torch gives its numbers only without its history
        value = value.detach()
    try:
        array = np.asarray(value)
    except Exception as error:
        raise DataError(f"{name}: is no array: {type(error).__name__}: {error}", hint=_HINT) from error
    if array.dtype.kind not in "biufcSUM":
        raise DataError(f"{name}: {type(value).__name__} of {array.dtype} is no array of numbers", hint=_HINT)
    return array


def _call(name: str, base_dir: Path) -> Any:
    module_name, _, attribute = name.partition(":")
    here = str(base_dir)
    if here not in sys.path and "" not in sys.path:  # behind Python's own modules, before installed ones
        installed = (at for at, entry in enumerate(sys.path) if entry.endswith(("site-packages", "dist-packages")))
        sys.path.insert(next(installed, len(sys.path)), here)
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name}: there is no module {error.name}",
            hint=f"modules are looked for in the installed packages and in {here}",
        ) from error
    except AttributeError as error:
        raise DataError(f"{name}: {error}", hint=f"define {attribute} in {module_name}") from error
    except (Exception, SystemExit) as error:
        raise DataError(f"{name}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise DataError(f"{name}: {type(found).__name__} cannot be called", hint=_HINT)
    try:
        value: Any = found()
    except (Exception, SystemExit) as error:
        raise DataError(
            f"{name}() failed: {type(error).__name__}: {error}", hint="it is called without arguments"
        ) from error
    return value
