"""The whole network in each process, with an exchange of gradients that one of them can break off, for all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from footplate.trainer.distributed.world import World, is_broken_exchange, make_group

__all__ = ["Replicas"]

_GRACE_S = 2.0
"""A process whose exchange broke waits so long to learn that it was broken off."""


class Replicas(nn.Module):
    """A network that DDP trains, over connections that can be broken off and made anew.

    A process that cannot finish its step keeps the others waiting for its gradients. When it breaks its connections
    their exchange fails at once; all tell one another why, and take the step anew. A step that goes well costs nothing.
    That needs an exchange that is waited for before the weights move: gloo's. On GPUs the update is queued already.
    """

    def __init__(self, network: nn.Module, world: World, wrap: Callable[..., DistributedDataParallel]) -> None:
        """``wrap`` makes DDP of a network and a group of processes; all must call this."""
        super().__init__()
        self.network = network
        self._world = world
        self._wrap = wrap
        self._round = 0
        self._parts: list[Any] = []  # no module of this one: its parameters are the network's
        self._connect()

    def forward(self, *inputs: Any) -> Any:
        return self._parts[0](*inputs)

    def no_sync(self) -> AbstractContextManager[None]:
        """Return the context in which gradients add up and are not exchanged."""
        context: AbstractContextManager[None] = self._parts[0].no_sync()
        return context

    def was_broken_off(self, error: BaseException) -> bool:
        """Return whether an exchange failed because another process could not finish its step."""
        if not is_broken_exchange(error):
            return False
        with suppress(Exception):  # the one who keeps the words may be gone
            self._world.wait_for_word(self._name, _GRACE_S)
            return True
        return False

    def meet(self, word: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Break this process's connections, and return what each process says of its step, by rank.

        Raises torch's DistError when one does not come within `distributed.timeout`.
        """
        self._disconnect()
        words = self._world.tell_words(self._name, word)
        self._round += 1
        return words

    def reconnect(self) -> None:
        """Make the exchange anew; all must call it, with the same weights."""
        self._connect()

    @property
    def _name(self) -> str:
        return f"broken-off/{self._round}"

    def _connect(self) -> None:
        group = make_group(list(range(self._world.size)), self._world.timeout_s)
        self._parts = [self._wrap(self.network, group), group]

    def _disconnect(self) -> None:
        dist.destroy_process_group(self._parts[1])
        self._parts = []
        gc.collect()  # connections are closed when the last who knows them is gone
