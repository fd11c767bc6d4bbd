"""Reads the training data of coming steps in other processes: the same samples and bits, only earlier."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver, reduction, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from footplate import errors
from footplate.data.arrays import ArraySet
from footplate.data.augment import Augmenter, make_augmenter
from footplate.data.load import LoadedData
from footplate.data.rows import Array, Indices
from footplate.data.sampler import get_order
from footplate.errors import FootplateError, InputError, RunFailedError
from footplate.profile.architectures import find_image_layout
from footplate.profile.model import Profile
from footplate.trainer.failure import describe_failure, is_out_of_memory
from footplate.trainer.loading.sharing import SharedArrays

__all__ = ["Loading", "Reader", "StepPlace", "Workers", "choose_loading"]

_LOOK_EVERY_S = 5
"""While the training waits for a step, it looks so often whether the workers still live."""
_LIMIT_S = 600.0
"""A step that takes longer to read is taken for one that never comes."""
_CLOSE_LIMIT_S = 10.0
"""Workers that have not ended by then are killed."""
_HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals to the whole group are for the training: it ends its workers when its step is done."""
_UNSENDABLE = (TypeError, AttributeError, reduction.pickle.PicklingError)  # type: ignore[attr-defined]  # no stub has it
"""How sending an object to another process fails when it cannot be taken apart."""
_log = logging.getLogger("footplate")


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How the batches of a set come to the device."""

    augmenter: Augmenter | None = None
    """What changes the samples at random."""
    num_workers: int = 0
    """Processes that read ahead; 0 = the training reads itself."""
    prefetch_factor: int = 2
    """Steps that each process prepares ahead."""
    persistent: bool = True
    """Whether the processes stay from epoch to epoch."""
    pin_memory: bool = False
    """Whether batches pass through page-locked memory, and are copied while the GPU computes."""
    channels_last: bool = False
    """Whether images get the order in memory that is fastest for convolutions."""


def choose_loading(profile: Profile, data: LoadedData, device: torch.device) -> Loading:
    """Return how the training data are loaded, as the profile asks for it; say what of that is not needed.

    Raises InputError for an augmentation that does not fit the data.
    """
    asked, signature = profile.data, data.facts.signature
    augmenter = make_augmenter(asked.augmentation, signature)
    if asked.augmentation.enabled and signature.vocab_size:
        _log.warning("data.augmentation: the inputs are tokens, which stay as they are")
    num_workers = asked.num_workers
    if num_workers and augmenter is None and data.train.whole() is not None:
        _log.info("data.num_workers: the data are in memory as they are trained on; no process is needed to read them")
        num_workers = 0
    channels_last = profile.embedded_optimizations.channels_last_memory_format
    return Loading(
        augmenter=augmenter,
        num_workers=num_workers,
        prefetch_factor=asked.prefetch_factor,
        persistent=asked.persistent_workers,
        pin_memory=asked.pin_memory and device.type == "cuda",
        channels_last=channels_last and find_image_layout(signature.input_shape) == "CHW",
    )


class StepPlace(NamedTuple):
    """Which step it is: all that is needed to know its samples."""

    seed: int
    epoch: int
    position: int
    """Samples of the epoch that were used before."""
    size: int
    """Samples of all processes together."""

    def get_next(self, num_samples: int) -> StepPlace:
        """Return the step after this one, in epochs of so many samples."""
        if self.position + self.size >= num_samples:
            return self._replace(epoch=self.epoch + 1, position=0)
        return self._replace(position=self.position + self.size)


class _Fault(NamedTuple):
    """An error of a worker, as plain words."""

    kind: str
    message: str
    hint: str


@dataclass
class Reader:
    """Reads the samples of one of several processes that train together; goes along into workers."""

    source: ArraySet
    augmenter: Augmenter | None
    rank: int
    count: int
    """Processes that train together."""
    _order_of: tuple[int, int] | None = field(default=None, init=False)
    _order: Indices = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def get_order(self, seed: int, epoch: int) -> Indices:
        """Return the order of an epoch; the last one asked for is kept."""
        if self._order_of != (seed, epoch):
            self._order, self._order_of = get_order(seed, epoch, len(self.source)), (seed, epoch)
        return self._order

    def read(self, indices: Indices, draw: tuple[int, int] | None) -> tuple[Array, Array]:
        """Return inputs and targets of these samples; ``draw``, seed and epoch, changes them as the profile asks."""
        inputs, targets = self.source.gather(indices)
        if self.augmenter is not None and draw is not None:
            return self.augmenter.apply(inputs, targets, indices, *draw)
        return inputs, targets

    def read_step(self, place: StepPlace) -> tuple[Array, Array]:
        """Return this process's samples of a step, and one to stand in behind them when others have more."""
        every = self.get_order(place.seed, place.epoch)[place.position : place.position + place.size]
        mine = every[self.rank :: self.count]
        if len(mine) < -(-len(every) // self.count):
            mine = np.append(mine, every[:1])
        return self.read(mine, (place.seed, place.epoch))


class _Steps(torch.utils.data.Dataset[Any]):
    """What a worker is asked for: the samples of a step, or why it has none."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader.source)

    def __getitem__(self, place: StepPlace) -> tuple[Tensor, Tensor] | _Fault:
        try:
            inputs, targets = self._reader.read_step(place)
        except FootplateError as error:
            return _Fault(type(error).__name__, error.message, error.hint)
        except Exception as error:  # noqa: BLE001  it is raised again where the training is
            return _Fault("MemoryError" if is_out_of_memory(error) else "", describe_failure(error), "")
        return torch.from_numpy(inputs), torch.from_numpy(targets)


class _Ahead(torch.utils.data.Sampler[StepPlace]):
    """Gives the places of the steps to come, from ``first`` on."""

    def __init__(self, num_samples: int, *, endless: bool) -> None:
        self._num_samples = num_samples
        self._endless = endless
        self.first = StepPlace(0, 0, 0, 1)

    def __iter__(self) -> Iterator[StepPlace]:
        place = self.first
        while self._endless or place.epoch == self.first.epoch:
            yield place
            place = place.get_next(self._num_samples)


class Workers:
    """Processes that read whole steps ahead, in the order in which the training will ask for them.

    They know a step by its place alone. When the training asks for another one than the next, they start from there.
    """

    def __init__(self, reader: Reader, loading: Loading) -> None:
        self._num_samples = len(reader.source)
        self._num_workers = loading.num_workers
        self._persistent = loading.persistent
        self._ahead = _Ahead(self._num_samples, endless=loading.persistent)
        self._next: StepPlace | None = None
        self._iterator: Any = None
        self._shared: SharedArrays | None = None
        self._loader: DataLoader[Any] = DataLoader(
            _Steps(reader),
            sampler=self._ahead,
            batch_size=None,
            num_workers=loading.num_workers,
            collate_fn=_as_it_is,
            pin_memory=loading.pin_memory,
            worker_init_fn=_end_with_training,
            timeout=_LOOK_EVERY_S,
            multiprocessing_context=multiprocessing.get_context("forkserver"),
            generator=torch.Generator(),  # else it would draw from the numbers of the training
            prefetch_factor=loading.prefetch_factor,
            persistent_workers=loading.persistent,
        )

    def get(self, place: StepPlace) -> tuple[Tensor, Tensor]:
        """Return what ``Reader.read_step`` gives.

        Raises what the reading raised, and RunFailedError when a worker has died or nothing comes.
        """
        if self._iterator is None or place != self._next:
            self._start(place)
        found = self._wait()
        self._next = place.get_next(self._num_samples)
        if not self._persistent and self._next.epoch != place.epoch:
            self._stop()
        if isinstance(found, _Fault):
            raise _make_error(found)
        return found

    def close(self) -> None:
        """End the processes; the ones that do not end are killed."""
        self._stop()
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()

    def _start(self, place: StepPlace) -> None:
        self._ahead.first = place
        if not self._persistent:
            self._stop()
        try:
            _start_forkserver()
            self._shared = self._shared or SharedArrays()
            with self._shared.offered(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Got pickle error")  # it is told below
                self._iterator = iter(self._loader)
        except _UNSENDABLE as error:
            raise InputError(
                f"data.num_workers: the data cannot be handed to another process: {describe_failure(error)}",
                hint="set data.num_workers: 0",
            ) from error

    def _wait(self) -> tuple[Tensor, Tensor] | _Fault:
        end = time.monotonic() + _LIMIT_S
        while True:
            try:
                return next(self._iterator)  # type: ignore[no-any-return]  # the loader has no types
            except RuntimeError as error:  # of the loader itself: what a worker raises comes as a _Fault
                if "timed out" not in str(error):
                    raise self._explain(error) from error
            if time.monotonic() > end:
                raise RunFailedError(
                    f"data.num_workers: no data came in {_LIMIT_S / 60:.0f} minutes, though the workers live",
                    hint="is the place of the data reachable? data.num_workers: 0 shows where reading hangs",
                )

    def _explain(self, error: RuntimeError) -> RunFailedError:
        """Return what is said of a worker that has died, with how it died where that is known."""
        codes = [process.exitcode for process in self._iterator._workers if process.exitcode]
        names = [signal.Signals(-code).name if code < 0 else f"exit code {code}" for code in codes]
        told = f" ({', '.join(names)})" if names else ""
        return RunFailedError(
            f"data.num_workers: a worker that read data ended by itself{told}: {error}",
            hint="SIGKILL: the machine's memory was full, so fewer data.num_workers or a smaller data.prefetch_factor; "
            "SIGBUS: /dev/shm is full (in a container: --shm-size); data.num_workers: 0 does without",
        )

    def _stop(self) -> None:
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            return
        self._loader._iterator = None
        # The loader waits without a limit for a thread of its own, so it is given one from outside.
        closing = threading.Thread(target=iterator._shutdown_workers, name="footplate-close-workers", daemon=True)
        closing.start()
        closing.join(_CLOSE_LIMIT_S)
        for process in iterator._workers:
            if process.is_alive():
                process.kill()
                process.join(_CLOSE_LIMIT_S)


def _as_it_is(found: object) -> object:
    return found


def _end_with_training(_number: int) -> None:
    """Let a worker end with its training, even if that is killed: torch would watch the process that forked it."""
    training = multiprocessing.parent_process()
    if training is not None:
        threading.Thread(target=_wait_for_end, args=(training,), daemon=True).start()


def _wait_for_end(training: BaseProcess) -> None:
    training.join()
    os._exit(1)


def _start_forkserver() -> None:
    """Start the process that starts the workers, with the signals blocked that are meant for the training."""
    forkserver.set_forkserver_preload([__name__])
    resource_tracker.ensure_running()  # first, for it unblocks signals when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _make_error(fault: _Fault) -> Exception:
    if fault.kind == "MemoryError":
        return MemoryError(fault.message)
    kind = getattr(errors, fault.kind, None)
    if kind is not None:
        with contextlib.suppress(TypeError):  # an error with arguments of its own
            return kind(fault.message, hint=fault.hint)  # type: ignore[no-any-return]  # found by its name
    return RunFailedError(f"reading the data failed: {fault.message}", hint=fault.hint)
