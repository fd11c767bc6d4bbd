"""Takes the steps of a training and goes on in smaller batches when the memory does not suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from footplate.errors import MemoryExhaustedError
from footplate.record.journal import Journal
from footplate.trainer.distributed.replicas import Replicas
from footplate.trainer.failure import is_out_of_memory
from footplate.trainer.loading.feed import Step
from footplate.trainer.memory.limits import (
    MemoryLimit,
    Shortage,
    describe_shortage,
    find_tightest,
    free_memory,
    get_free_bytes,
    reset_peak,
)
from footplate.trainer.memory.note import MemoryNote, find_note
from footplate.trainer.memory.rewind import Rewinder
from footplate.trainer.progress import Progress
from footplate.trainer.stepper import IN_UPDATE, StepLostError, Stepper, StepResult

__all__ = ["EvaluationSize", "OthersShortError", "Recovery", "Surroundings"]

_GROW_AFTER = 200
"""Steps without a shortage after which a larger batch is tried; after each setback twice as many."""
_MOST_DOUBLINGS = 6
_ENOUGH_FREE = 0.75
"""Main memory used up to this share of its limit leaves room for a larger batch."""
_log = logging.getLogger("footplate")
T = TypeVar("T")
_UNKNOWN = Shortage(asked_bytes=None, free_bytes=None)


class OthersShortError(MemoryExhaustedError):
    """Another process has no memory for batches of this size."""

    def __init__(self) -> None:
        super().__init__("an evaluation ran out of memory in another process")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a recovery must know of the training around it."""

    progress: Progress
    device: torch.device
    journal: Journal | None = None
    note_path: Path | None = None
    """memory.json of the run: what the next attempt is to know."""
    limits: Sequence[MemoryLimit] = ()
    """Limits of main memory."""
    has_users_code: bool = False
    """Whether code of the user's may draw random numbers of Python and numpy."""
    advice: Callable[[int], str] = field(default=lambda _: "")
    """What to do when it cannot go on."""

    def tell(self, event: str, **fields: object) -> None:
        """Write an event to the journal."""
        if self.journal is not None:
            self.journal.event(event, **fields)


class Recovery:
    """Knows into batches of which size a step is cut.

    When the memory does not suffice, the step is done anew in batches of half the size: the same samples, the same
    random numbers, the same effective batch. After ``_GROW_AFTER`` good steps a larger batch is tried. One process of
    several breaks the exchange of gradients off, in which the others wait for it, and all go back together; where
    that cannot be done (``Parallel.replicas``), it leaves word and ends.
    """

    def __init__(self, stepper: Stepper, batch_size: int, around: Surroundings) -> None:
        self._stepper = stepper
        self._around = around
        self._asked = self.batch_size = batch_size
        self._good_steps = 0
        self._setbacks = 0
        self._is_grown = False
        self._pressure = ""
        self._exhausted = ""
        world = stepper.parallel.world
        self._world = world
        self._replicas = stepper.parallel.replicas
        self._rewinder: Rewinder | None = None
        if world.size == 1 or self._replicas is not None:
            self._rewinder = Rewinder(stepper.model, around.device, with_foreign=around.has_users_code)

    def take_step(self, step: Step) -> StepResult:
        """Do one optimiser step, in as small batches as it takes.

        Raises MemoryExhaustedError when there is no smaller batch, or when several processes cannot go back together.
        """
        if self._pressure:
            self._relieve(step)
        while True:
            if self._rewinder is not None:
                self._rewinder.mark()
            try:
                result = self._stepper.take_step(step, self.batch_size)
            except Exception as error:
                is_short = is_out_of_memory(error)
                if not is_short and (self._replicas is None or not self._replicas.was_broken_off(error)):
                    raise
                shortage = self._describe(error, step) if is_short else None
            else:
                self._good_steps += 1
                if self._rewinder is not None and self.batch_size < self._asked and self._good_steps >= self._wait:
                    self._grow()
                return result
            # Outside of `except`: the error holds on to what the step had allocated.
            if self._replicas is None:
                self._shrink(shortage, step)
            else:
                self._shrink_together(self._replicas, shortage, step)

    def watch_gradients(self, on_gradients: Callable[[], None]) -> None:
        """Tell ``on_gradients`` of each step when its gradients are complete, before the weights move."""
        self._stepper = replace(self._stepper, on_gradients=on_gradients)

    def can_answer(self, *, after_steps: int) -> bool:
        """Return whether ``ask_smaller`` would be heard, and so many steps were done since the last change."""
        if self._pressure or self._exhausted:
            return False
        return self._good_steps >= after_steps or self.batch_size == self._asked

    def ask_smaller(self, reason: str) -> None:
        """Ask for smaller batches from the next step on; another thread may do that."""
        self._pressure = reason

    def find_stop(self) -> str:
        """Return ``preempted`` when it has no smaller batch to offer and the memory is nearly used up."""
        return "preempted" if self._exhausted else ""

    def raise_if_exhausted(self) -> None:
        """Raise MemoryExhaustedError when the training was stopped for ``find_stop``; to be called once it is saved."""
        if self._exhausted:
            raise MemoryExhaustedError(self._exhausted, hint=self._around.advice(self.batch_size))

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that goes on must know."""
        return {"batch_size": self.batch_size, "good_steps": self._good_steps, "setbacks": self._setbacks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; a batch size that was set smaller meanwhile stays."""
        self.batch_size = min(self.batch_size, int(state["batch_size"]))
        self._good_steps, self._setbacks = int(state["good_steps"]), int(state["setbacks"])

    @property
    def _wait(self) -> int:
        return _GROW_AFTER << min(self._setbacks, _MOST_DOUBLINGS)

    def _describe(self, error: Exception, step: Step) -> Shortage:
        """Return what was short. Raises MemoryExhaustedError where the step cannot be done anew."""
        shortage = describe_shortage(error, self._around.device, self._around.limits)
        if isinstance(error, StepLostError):
            raise self._end(shortage, step, where=error.where) from error
        return shortage

    def _shrink(self, shortage: Shortage | None, step: Step) -> None:
        """Go back to the start of the step and halve the batch size."""
        if shortage is None or self._rewinder is None or self.batch_size == 1:
            raise self._end(shortage or _UNKNOWN, step)
        self._forget()
        self._halve(step, shortage.to_text(), asked_bytes=shortage.asked_bytes, free_bytes=shortage.free_bytes)
        free_memory(self._around.device)
        self._rewinder.rewind()

    def _shrink_together(self, replicas: Replicas, shortage: Shortage | None, step: Step) -> None:
        """Break the exchange off, and go back to the start of the step with all processes that were in it."""
        assert self._rewinder is not None
        self._forget()
        number = self._around.progress.step + 1
        short = None if shortage is None else asdict(shortage)
        words = replicas.meet({"step": number, "batch_size": self.batch_size, "short": short})
        rank, first = next((rank, Shortage(**word["short"])) for rank, word in enumerate(words) if word["short"])
        if self.batch_size == 1 or any(word["step"] != number for word in words):
            raise self._end(shortage or first, step, rank=rank)
        reason = f"process {rank} of {self._world.size}: {first.to_text()}"
        self._halve(step, reason, rank=rank, asked_bytes=first.asked_bytes, free_bytes=first.free_bytes)
        free_memory(self._around.device)
        replicas.reconnect()
        self._rewinder.rewind()

    def _forget(self) -> None:
        """Let go of the gradients of a step that was not finished."""
        for parameter in self._stepper.parameters:
            parameter.grad = None
        self._stepper.precision.forget_gradients()

    def _halve(self, step: Step, reason: str, **fields: object) -> None:
        before, after = self.batch_size, _get_half(self.batch_size, step)
        number = self._around.progress.step + 1
        self._around.tell("out_of_memory", step=number, batch_size=before, new_batch_size=after, **fields)
        _log.warning(
            "step %s: %s; going on in batches of %d instead of %d samples, the effective batch stays the same",
            f"{number:,}",
            reason,
            after,
            before,
        )
        self._setbacks += self._is_grown
        self.batch_size, self._good_steps, self._is_grown = after, 0, False

    def _relieve(self, step: Step) -> None:
        """Answer ``ask_smaller``."""
        reason, self._pressure = self._pressure, ""
        if self._exhausted:
            return
        if self._world.size == 1 and self.batch_size > 1:
            self._halve(step, reason, pressure=reason)
            free_memory(self._around.device)
            return
        if self.batch_size > 1:  # one of several processes: all are to begin anew
            self._leave_note(step, _UNKNOWN)
        self._exhausted = f"{reason}, with batches of {self.batch_size} {_count_samples(self.batch_size)}"

    def _grow(self) -> None:
        self._good_steps = 0
        have_room = self._world.sum(np.asarray([float(self._has_room())]))
        if have_room[0] < self._world.size:  # in all processes alike
            return
        before = self.batch_size
        self.batch_size, self._is_grown = min(before * 2, self._asked), True
        number = self._around.progress.step + 2  # the one after this
        self._around.tell("batch_size_grown", step=number, batch_size=before, new_batch_size=self.batch_size)
        _log.info("step %s: trying batches of %d samples again", f"{number:,}", self.batch_size)

    def _has_room(self) -> bool:
        """Return whether a batch of twice the size may fit; where nothing is known it is tried."""
        device = self._around.device
        if device.type == "cuda":
            free = get_free_bytes(device)
            kept = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
            reset_peak(device)
            return free is None or free > 2 * kept
        tightest = find_tightest(self._around.limits)
        return tightest is None or tightest[1] <= _ENOUGH_FREE * tightest[0].limit_bytes

    def _end(self, shortage: Shortage, step: Step, *, where: str = "", rank: int | None = None) -> MemoryExhaustedError:
        """Return the error to end with; leave word for the next attempt when a smaller batch may help it."""
        number, size = self._around.progress.step + 1, self.batch_size
        can_shrink = size > 1
        if can_shrink:
            self._leave_note(step, shortage)
        new = _get_half(size, step) if can_shrink else None
        self._around.tell(
            "out_of_memory",
            step=number,
            batch_size=size,
            new_batch_size=new,
            asked_bytes=shortage.asked_bytes,
            free_bytes=shortage.free_bytes,
        )
        told = f"step {number:,}: {shortage.to_text()}"
        told += f" {where}," if where else ","
        told += f" with batches of {size} {_count_samples(size)}"
        if self._world.size > 1:
            told += f", in process {self._world.rank if rank is None else rank} of {self._world.size}"
        if new is not None:
            told += f"; the next attempt goes on from the newest checkpoint with batches of {new}"
        # The update needs the same memory however small the batches are.
        return MemoryExhaustedError(told, hint=self._around.advice(1 if where == IN_UPDATE else size))

    def _leave_note(self, step: Step, shortage: Shortage) -> None:
        if self._around.note_path is not None:
            MemoryNote(
                batch_size=_get_half(self.batch_size, step),
                step=self._around.progress.step + 1,
                rank=self._world.rank,
                asked_bytes=shortage.asked_bytes,
                free_bytes=shortage.free_bytes,
            ).write(self._around.note_path)


class EvaluationSize:
    """The batch size of evaluations, halved when the memory does not suffice for one, in all processes together."""

    def __init__(self, batch_size: int, around: Surroundings | None = None, *, training_size: int = 1) -> None:
        """``training_size`` is the batch size of the training, which a word for the next attempt holds too."""
        self.batch_size = batch_size
        self._around = around
        self._training_size = training_size
        note = None if around is None or around.note_path is None else find_note(around.note_path)
        if note is not None and note.evaluation_batch_size is not None:
            self.batch_size = min(batch_size, note.evaluation_batch_size)

    def run(self, evaluate: Callable[[int], T], largest: int) -> T:
        """Return what ``evaluate`` gives; it is called anew with half the batch size as often as that may help.

        ``largest`` is how many samples a pass can have at most: that is what is halved.
        """
        while True:
            try:
                return evaluate(self.batch_size)
            except OthersShortError:
                if self.batch_size == 1:
                    raise
                shortage = _UNKNOWN
            except Exception as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
                shortage = describe_shortage(error, self._device)
            self._halve(shortage, min(self.batch_size, largest))

    def give_up(self, error: Exception, largest: int) -> MemoryExhaustedError:
        """Return the error to end with where the others wait for this process; the next attempt takes half the size."""
        size = min(self.batch_size, largest)
        half = -(-size // 2)
        if self._around is not None and self._around.note_path is not None and size > 1:
            note = find_note(self._around.note_path)
            shortage = describe_shortage(error, self._device)
            MemoryNote(
                batch_size=self._training_size if note is None else note.batch_size,
                evaluation_batch_size=half,
                step=self._around.progress.step,
                rank=0 if note is None else note.rank,
                asked_bytes=shortage.asked_bytes,
                free_bytes=shortage.free_bytes,
            ).write(self._around.note_path)
        told = f"an evaluation ran out of memory with batches of {size} {_count_samples(size)}"
        return MemoryExhaustedError(f"{told}; the next attempt judges in batches of {half}")

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self._around is None else self._around.device

    def _halve(self, shortage: Shortage, before: int) -> None:
        self.batch_size = -(-before // 2)
        _log.warning(
            "evaluation: %s; going on in batches of %d instead of %d samples",
            shortage.to_text(),
            self.batch_size,
            before,
        )
        if self._around is not None:
            self._around.tell(
                "out_of_memory",
                step=self._around.progress.step,
                during="evaluation",
                batch_size=before,
                new_batch_size=self.batch_size,
                asked_bytes=shortage.asked_bytes,
                free_bytes=shortage.free_bytes,
            )
        free_memory(self._device)


def _get_half(size: int, step: Step) -> int:
    """Return half of the samples a forward pass of this step really has."""
    return -(-min(size, step.largest_share) // 2)


def _count_samples(number: int) -> str:
    return "sample" if number == 1 else "samples"
