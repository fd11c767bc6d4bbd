"""Takes a step back: the random numbers and the buffers as they were before it."""

from __future__ import annotations

import ctypes
import random
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Rewinder"]

_WORDS_OF_TWISTER = 624
_SMALL_BYTES = 65_536
"""Buffers up to this size are copied at each step: batch-norm changes its statistics without counting their version."""


class Rewinder:
    """Remembers what a forward pass changes, in microseconds, so that it can be done anew.

    That is torch's random numbers, on the CPU and on the GPU, and the buffers (batch-norm's statistics); large ones are
    copied only when they have changed. The random numbers of Python and numpy are kept where a network of the user's
    may draw them: ``with_foreign``.
    """

    def __init__(self, model: nn.Module, device: torch.device, *, with_foreign: bool) -> None:
        self._generators: list[torch.Generator] = [torch.default_generator]
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]
            index = torch.cuda.current_device() if device.index is None else device.index
            self._generators.append(torch.cuda.default_generators[index])
        self._states: list[Tensor] = []
        self._foreign = _ForeignRandom() if with_foreign else None
        # Through the modules' own tables: a module may put another tensor in the place of a buffer.
        self._places = [
            (module._buffers, name)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._buffers: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._small: list[Tensor] = []
        self._small_kept: list[Tensor] = []
        self._large: list[Tensor] = []
        self._large_kept: list[Tensor] = []
        self._versions: list[int] = []

    def mark(self) -> None:
        """Remember how things are now."""
        self._states = [generator.get_state() for generator in self._generators]
        if self._foreign is not None:
            self._foreign.mark()
        if self._places:
            self._keep_buffers()

    def rewind(self) -> None:
        """Make everything as it was at the last ``mark``."""
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)
        if self._foreign is not None:
            self._foreign.rewind()
        with torch.no_grad():
            for (table, name), buffer, kept in zip(self._places, self._buffers, self._kept, strict=True):
                table[name] = buffer
                buffer.copy_(kept)
        self._versions = [buffer._version for buffer in self._large]

    def _keep_buffers(self) -> None:
        """Copy the small buffers, and those large ones that changed."""
        buffers = [table[name] for table, name in self._places]
        if len(self._buffers) != len(buffers) or not all(map(is_, buffers, self._buffers)):
            self._begin([buffer for buffer in buffers if buffer is not None])
            return
        with torch.no_grad():
            if self._small:
                torch._foreach_copy_(self._small_kept, self._small)
            versions = [buffer._version for buffer in self._large]
            if versions != self._versions:
                for buffer, kept, now, last in zip(
                    self._large, self._large_kept, versions, self._versions, strict=True
                ):
                    if now != last:
                        kept.copy_(buffer)
                self._versions = versions

    def _begin(self, buffers: list[Tensor]) -> None:
        """Copy all buffers: at the start, and when another tensor was put in the place of one."""
        self._buffers = buffers
        self._kept = [buffer.detach().clone() for buffer in buffers]
        pairs = list(zip(buffers, self._kept, strict=True))
        small = [pair for pair in pairs if pair[0].nbytes <= _SMALL_BYTES]
        large = [pair for pair in pairs if pair[0].nbytes > _SMALL_BYTES]
        self._small, self._small_kept = [one for one, _ in small], [other for _, other in small]
        self._large, self._large_kept = [one for one, _ in large], [other for _, other in large]
        self._versions = [buffer._version for buffer in self._large]


class _ForeignRandom:
    """The global random numbers of Python and numpy. numpy's are copied only after somebody has drawn from them."""

    def __init__(self) -> None:
        self._python: tuple[Any, ...] = ()
        self._numpy: dict[str, Any] = {}
        self._words = _find_words()
        self._seen: tuple[int, ...] = ()

    def mark(self) -> None:
        self._python = random.getstate()
        words = self._words
        if words is not None:
            seen = words[0], words[_WORDS_OF_TWISTER]  # the position moves with each draw…
            if seen == self._seen and not self._numpy["has_gauss"]:  # …but for a normal number kept from the last one
                return
            self._seen = seen
        self._numpy = np.random.get_state(legacy=False)

    def rewind(self) -> None:
        random.setstate(self._python)
        np.random.set_state(self._numpy)


def _find_words() -> Any:
    """Return numpy's Mersenne Twister as words: reading two of them takes 0.2 µs, asking for its state 31."""
    bits = np.random.mtrand._rand._bit_generator
    if bits.state["bit_generator"] != "MT19937":
        return None
    return (ctypes.c_uint32 * (_WORDS_OF_TWISTER + 1)).from_address(bits.ctypes.state_address)
