"""Out of memory: the same step again in smaller batches, with the same numbers; and what is told when that ends."""

from __future__ import annotations

import json
import random
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from footplate.data.load import load_data
from footplate.errors import MemoryExhaustedError
from footplate.profile.load import load_profile_text
from footplate.record.cause import Cause
from footplate.record.journal import Journal, read_events
from footplate.record.receipt import make_receipt, write_receipt
from footplate.record.rundir import RunDir
from footplate.trainer.assemble import assemble
from footplate.trainer.distributed.parallel import Parallel
from footplate.trainer.distributed.world import ALONE
from footplate.trainer.evaluate import Judge
from footplate.trainer.memory import recovery as recovery_module
from footplate.trainer.memory.limits import MemoryLimit, get_free_bytes
from footplate.trainer.memory.note import MemoryNote
from footplate.trainer.memory.recovery import Recovery
from footplate.trainer.memory.rewind import Rewinder
from footplate.trainer.memory_plan import get_advice, make_recovery, make_surroundings
from footplate.trainer.progress import Progress

Train = Callable[..., Any]

SMALL = """
data: {train_data: "sklearn:iris"}
training: {batch_size: 16}
"""
NETWORK = """
import random
import sys
import numpy, torch
from torch import nn

SAID = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 1.00 GiB"

class Fails(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.")

class Net(nn.Module):
    largest, fails_from, fails_until, place, passes, sizes = 10**9, 0, 10**9, "forward", 0, []
    largest_judged = 10**9

    def __init__(self, hidden_size=8, num_layers=1, noisy=False):
        width = hidden_size
        super().__init__()
        self.first = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width) if noisy else nn.Identity()
        self.drop = nn.Dropout(0.5 if noisy else 0.0)
        self.last = nn.Linear(width, 3)
        self.noisy = noisy
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            Net.passes += 1
            Net.sizes.append(len(x))
            self.seen = self.seen + len(x)
        hidden = self.drop(self.norm(self.first(x)))
        if self.training and self.noisy:
            hidden = hidden * (1 + 0.1 * random.random() + 0.1 * float(numpy.random.rand()))
        if not self.training and len(x) > Net.largest_judged:
            raise MemoryError("Unable to allocate 1.50 GiB for an array with shape (3,)")
        if self.training and len(x) > Net.largest and Net.fails_from <= Net.passes <= Net.fails_until:
            if Net.place == "forward":
                raise torch.OutOfMemoryError(SAID)
            hidden = Fails.apply(hidden)
        return self.last(hidden)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a user's class that runs out of memory where it is told to."""
    (tmp_path / "hungry.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    import hungry  # type: ignore[import-not-found]  # written above

    yield hungry.Net
    sys.modules.pop("hungry")


CHECKPOINTS = "training.checkpointing={enabled: true, frequency: 1000000}"
KEYS = (
    "model.architecture=hungry:Net",
    "training.optimizer=adamw",
    "training.max_grad_norm=1.0",
    "training.max_epochs=4",
)


@pytest.mark.parametrize("place", ["forward", "backward"])
def test_a_step_that_did_not_fit_gives_the_losses_of_small_batches(train: Train, net: Any, place: str) -> None:
    small = train(*KEYS, "training.batch_size=10", "training.gradient_accumulation_steps=4")
    net.largest, net.place, net.passes, net.sizes, net.fails_from = 10, place, 0, [], 5
    large = train(*KEYS, "training.batch_size=40")
    assert large.get_values("train/loss") == pytest.approx(small.get_values("train/loss"), abs=1e-6)
    assert large.get_values("train/grad_norm") == pytest.approx(small.get_values("train/grad_norm"), abs=1e-6)
    told = [
        (event["step"], event["batch_size"], event["new_batch_size"]) for event in large.get_events("out_of_memory")
    ]
    assert told == [(5, 40, 20), (5, 20, 10)]
    asked = {event["asked_bytes"] for event in large.get_events("out_of_memory")}
    assert asked == ({20 * 2**20} if place == "forward" else {4096})
    assert net.sizes[:4] == [40] * 4
    assert net.sizes[4:10] == [40, 20, 10, 10, 10, 10]
    assert large.get_values("train/batch_size") == [40, 10]


def test_random_numbers_and_statistics_go_back_to_the_start_of_the_step(train: Train, net: Any) -> None:
    noisy = (*KEYS, "model.noisy=true")
    small = train(*noisy, "training.batch_size=10", "training.gradient_accumulation_steps=4")
    net.largest, net.passes = 10, 0
    large = train(*noisy, "training.batch_size=40")
    assert len(large.get_events("out_of_memory")) == 2
    assert large.get_values("train/loss") == small.get_values("train/loss")
    assert large.get_values("val/loss") == small.get_values("val/loss")


def test_a_shortage_in_the_middle_changes_nothing_of_what_was_drawn(train: Train, net: Any) -> None:
    """The second batch of a step fails after the first one has drawn and moved the statistics."""
    noisy = (*KEYS, "model.noisy=true", "training.batch_size=20", "training.gradient_accumulation_steps=2")
    net.largest, net.fails_from, net.fails_until = 10, 4, 4
    first = train(*noisy)
    net.passes, net.fails_from, net.fails_until = 0, 3, 3
    second = train(*noisy)
    assert [event["step"] for event in first.get_events("out_of_memory")] == [2]
    assert first.get_values("train/loss") == second.get_values("train/loss")


def test_larger_batches_are_tried_again_ever_more_rarely(
    train: Train, net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "_GROW_AFTER", 3)
    net.largest, net.fails_from = 20, 1
    trained = train(*KEYS, "training.batch_size=40", "training.max_epochs=20")
    grown = [event["step"] for event in trained.get_events("batch_size_grown")]
    # Fails in step 1; three good steps, fails in the next; then six, twelve, twenty-four.
    assert grown == [4, 10, 22, 46]
    assert [event["step"] for event in trained.get_events("out_of_memory")] == [1, 4, 10, 22, 46]


def test_a_batch_size_that_fits_again_is_kept(train: Train, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "_GROW_AFTER", 3)
    net.largest, net.fails_until = 10, 2
    trained = train(*KEYS, "training.batch_size=40", "training.max_epochs=8")
    assert [event["new_batch_size"] for event in trained.get_events("batch_size_grown")] == [20, 40]
    assert set(net.sizes[-5:]) == {40}


def test_without_a_smaller_batch_it_ends_with_the_ladder(train: Train, net: Any, tmp_path: Path) -> None:
    net.largest = 0
    with pytest.raises(MemoryExhaustedError, match=r"step 1: out of memory, 21 MB were asked for") as caught:
        train(*KEYS, "training.batch_size=3")
    assert "with batches of 1 sample" in caught.value.message
    assert (
        caught.value.hint.index("gradient_checkpointing")
        < caught.value.hint.index("mixed_precision")
        < caught.value.hint.index("a smaller model")
    )
    assert "training.batch_size" not in caught.value.hint  # there is no smaller one
    assert not list(tmp_path.glob("runs/*/memory.json"))  # no other attempt will do better


def test_advice_leaves_out_what_is_done() -> None:
    profile = load_profile_text("training: {batch_size: 1, mixed_precision: {enabled: true}}")
    assert "mixed_precision" not in get_advice(profile, None, 1)
    assert get_advice(profile, None, 8).startswith("try, in this order: training.batch_size: 4 with")
    assert "gradient_accumulation_steps" not in get_advice(profile, None, 1)


def test_an_update_that_failed_is_not_done_twice(
    train: Train, net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail(self: torch.optim.Optimizer, closure: object = None) -> None:
        calls.append(self)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    with pytest.raises(MemoryExhaustedError, match="in the update of the weights") as caught:
        train(*KEYS, "training.batch_size=40")
    assert len(calls) == 1
    assert "goes on from the newest checkpoint with batches of 20" in caught.value.message
    note = json.loads(next(tmp_path.glob("runs/*/memory.json")).read_text())
    assert note == {"batch_size": 20, "step": 1, "rank": 0, "asked_bytes": 2 * 2**30, "free_bytes": note["free_bytes"]}


def test_an_evaluation_is_done_anew_in_smaller_batches(train: Train, net: Any) -> None:
    whole = train(*KEYS, "training.batch_size=10")
    net.largest_judged = 7
    cut = train(*KEYS, "training.batch_size=10")
    assert cut.get_values("val/loss") == pytest.approx(whole.get_values("val/loss"), abs=1e-6)
    told = cut.get_events("out_of_memory")
    assert [(event["during"], event["batch_size"], event["new_batch_size"]) for event in told] == [
        ("evaluation", 15, 8),  # of the validation set's samples, not of what a pass might have
        ("evaluation", 8, 4),
        ("evaluation", 15, 8),  # the test set
        ("evaluation", 8, 4),
    ]


def test_an_error_that_is_none_of_memory_is_passed_on(train: Train, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "forward", lambda self, x: self.last(self.first(x)) if not self.training else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(*KEYS, "training.batch_size=40")


class Counts(nn.Module):
    """Has a large buffer that it changes, a small one that it replaces, and a large one that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("large", torch.zeros(20_000))
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("constant", torch.ones(20_000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.large.add_(x.mean().detach())
        self.replaced = self.replaced + 1
        return x + self.large[0] + self.replaced[0]


def test_memory_that_stays_nearly_full_ends_with_a_saved_training_and_76(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.current").write_text("990")
    (tmp_path / "memory.stat").write_text("anon 990\ninactive_file 0\nactive_file 0\n")
    full = MemoryLimit(name="group", limit_bytes=1000, folder=tmp_path)
    monkeypatch.setattr("footplate.trainer.memory_plan.find_limits", lambda: [full])
    monkeypatch.setattr("footplate.trainer.monitors.INTERVAL_S", 0.001)
    with pytest.raises(
        MemoryExhaustedError, match=r"990 B of 1 kB of memory are used \(group\), with batches of 1 sample"
    ):
        train("training.batch_size=4", "training.max_epochs=1000", "training.eval_frequency=100000", CHECKPOINTS)
    run = RunDir(path=next(tmp_path.glob("runs/*")))
    told = [entry.data for entry in read_events(run) if entry.data["name"] == "out_of_memory"]
    assert [(event["batch_size"], event["new_batch_size"]) for event in told] == [(4, 2), (2, 1)]
    assert list(run.path.glob("checkpoints/step-*/manifest.json"))


def test_an_attempt_after_one_that_was_killed_for_memory_begins_smaller(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    for killed_by, note in (("SIGKILL", None), ("SIGKILL", 6), (None, 6)):
        run = RunDir.create(tmp_path / "runs", "killed")
        first, second = run.new_attempt(), run.new_attempt()
        code = 137 if killed_by else 76
        write_receipt(first, replace(make_receipt(run, 1), exit_code=code, signal=killed_by, cause=Cause.out_of_memory))
        if note is not None:
            left = MemoryNote(batch_size=note, step=3, rank=0, asked_bytes=None, free_bytes=None)
            left.write(run.path / "memory.json")
        profile = load_profile_text(SMALL)
        parts = assemble(profile, load_data(profile))
        with Journal(second.journal_path()) as journal:
            around = make_surroundings(parts, Progress(num_train=1), journal, run.path)
            kept.append(make_recovery(parts, around).batch_size)
    assert kept == [8, 3, 6]


def test_what_is_remembered_of_a_step_is_put_back() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), Counts())
    rewinder = Rewinder(model, torch.device("cpu"), with_foreign=True)
    inputs = torch.randn(8, 4)

    def draw() -> list[Any]:
        outputs = model(inputs).detach()
        buffers = [buffer.clone() for buffer in model.buffers()]
        return [outputs, *buffers, random.random(), float(np.random.rand()), np.random.randn(3).tolist()]

    for _ in range(3):
        rewinder.mark()
        first = draw()
        draw()
        rewinder.rewind()
        again = draw()
        assert all(
            torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(first, again, strict=True)
        )


def test_a_normal_number_that_numpy_keeps_for_later_is_put_back() -> None:
    """The second of two normal numbers moves nothing in numpy's generator."""
    np.random.randn()
    rewinder = Rewinder(nn.Linear(2, 2), torch.device("cpu"), with_foreign=True)
    rewinder.mark()
    for _ in range(5):
        rewinder.mark()
        first = np.random.randn()
        rewinder.rewind()
        assert np.random.randn() == first


def test_what_is_kept_outlives_the_attempt() -> None:
    class _Stepper:
        model = nn.Linear(1, 1)
        parallel = Parallel(world=ALONE)

    around = recovery_module.Surroundings(progress=None, device=torch.device("cpu"))  # type: ignore[arg-type]  # unused
    first = Recovery(_Stepper(), 64, around)  # type: ignore[arg-type]  # what is used of it
    first.batch_size = 16
    second = Recovery(_Stepper(), 64, around)  # type: ignore[arg-type]  # what is used of it
    second.load_state_dict(first.state_dict())
    assert second.batch_size == 16
    assert second.state_dict() == first.state_dict()


def test_what_is_free_regards_the_limit_of_the_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With `ulimit -v` an allocation fails although the machine has gigabytes."""
    cpu = torch.device("cpu")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {2**40} kB\nMemAvailable: {2**40} kB\n")
    ample = MemoryLimit(name="the machine", limit_bytes=2**50, folder=meminfo)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert get_free_bytes(cpu, [ample]) == 2**50
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, resource.RLIM_INFINITY))
    assert get_free_bytes(cpu, [ample]) == 0


class _FourSamples:
    """As much of a feed as a judge asks before it judges."""

    world = ALONE

    def __len__(self) -> int:
        return 4


def test_a_judge_without_a_record_halves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def look(self: Judge, feed: object, should_stop: object, batch_size: int) -> None:
        sizes.append(batch_size)
        if batch_size > 2:
            raise MemoryError("Unable to allocate 1.50 GiB for an array")

    monkeypatch.setattr(Judge, "_evaluate", look)
    nothing: Any = None
    judge = Judge(model=nn.Linear(1, 1), task=nothing, precision=nothing, metrics=(), batch_size=8)
    feed: Any = _FourSamples()
    assert judge.evaluate(feed) is None
    assert sizes == [8, 2]  # half of the four samples there are


def test_one_process_of_several_does_not_change_its_batches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "_GROW_AFTER", 3)
    profile = load_profile_text(SMALL)
    parts = assemble(profile, load_data(profile))
    progress = Progress(num_train=len(parts.train))
    for size, expected in ((1, 16), (2, 8)):
        parallel = replace(parts.stepper.parallel, world=replace(parts.world, size=size))
        around = replace(make_surroundings(parts, progress, None, Path()), note_path=None, limits=())  # type: ignore[arg-type]
        recovery = Recovery(replace(parts.stepper, parallel=parallel), 16, around)
        recovery.batch_size = 8
        for _ in range(5):
            recovery.take_step(parts.train.take(1, 0, 0, 16))
        assert recovery.batch_size == expected


class _OtherProcess(nn.Module):
    """Stands for the exchange with a process that is in another step."""

    def was_broken_off(self, error: BaseException) -> bool:
        return "Connection closed by peer" in str(error)

    def meet(self, word: dict[str, Any]) -> list[dict[str, Any]]:
        other = {"step": word["step"] + 1, "batch_size": 16, "short": {"asked_bytes": 5_000_000, "free_bytes": None}}
        return [word, other]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("gloo: Connection closed by peer"), "step 1: out of memory, 5 MB were asked for"),
        (
            MemoryError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7000 bytes"),
            "7 kB were asked",
        ),
        (RuntimeError("gloo: timed out"), "timed out"),
    ],
)
def test_processes_that_are_in_different_steps_do_not_go_on(error: Exception, expected: str, tmp_path: Path) -> None:
    """Steps of their own cannot be taken back: weights have moved."""
    profile = load_profile_text(SMALL)
    parts = assemble(profile, load_data(profile))

    class _Exchange(Parallel):
        replicas: Any = _OtherProcess()

        def accumulate(self, *, is_last: bool) -> Any:
            raise error

    around = replace(make_surroundings(parts, Progress(num_train=100), None, Path()), note_path=None, limits=())  # type: ignore[arg-type]
    stepper = replace(parts.stepper, parallel=_Exchange(world=replace(parts.world, size=2)))
    with pytest.raises(MemoryExhaustedError if "timed" not in str(error) else RuntimeError, match=expected):
        Recovery(stepper, 16, around).take_step(parts.train.take(1, 0, 0, 16))
