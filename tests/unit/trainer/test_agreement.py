"""Processes decide alike: two of them, played one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import distributed as dist

from footplate.trainer.distributed.agreement import Agreement
from footplate.trainer.distributed.world import World


class _Work:
    """An exchange that is under way: it is done when every process has given its part."""

    def __init__(self, table: _Table, number: int) -> None:
        self._table, self._number = table, number

    def wait(self) -> None:
        for tensor, _ in self._table.votes[self._number]:
            tensor.copy_(self._table.results[self._number])


class _Table:
    """Plays the exchange of two processes that run one after the other in one thread."""

    def __init__(self) -> None:
        self.votes: dict[int, list[tuple[torch.Tensor, int]]] = {}
        self.results: dict[int, torch.Tensor] = {}
        self._count = [0, 0]
        self.rank = 0

    def all_reduce(self, tensor: torch.Tensor, *_: Any, **__: Any) -> _Work:
        number = self._count[self.rank]
        self._count[self.rank] += 1
        self.votes.setdefault(number, []).append((tensor, self.rank))
        if len(self.votes[number]) == 2:
            self.results[number] = torch.stack([one.clone() for one, _ in self.votes[number]]).amax(0)
        return _Work(self, number)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[Any]]]:
    """Return a function that takes steps in two processes and returns what each one saw after each step."""

    def run(stops: list[Callable[[], str]], clocks: list[Callable[[], bool]], steps: int) -> list[list[Any]]:
        table = _Table()
        monkeypatch.setattr(dist, "all_reduce", table.all_reduce)
        worlds = [World(rank=rank, size=2) for rank in range(2)]
        agreements = [Agreement(world, stop) for world, stop in zip(worlds, stops, strict=True)]
        dues = [one.by_first(lambda _, clock=clock: clock()) for one, clock in zip(agreements, clocks, strict=True)]
        seen: list[list[Any]] = [[], []]
        for _ in range(steps):
            for rank in range(2):
                table.rank = rank
                seen[rank].append((agreements[rank].find_stop(), dues[rank](None)))
        return seen

    return run


def _at_call(number: int, value: Any, otherwise: Any) -> Callable[[], Any]:
    calls = iter(range(1_000_000))
    return lambda: value if next(calls) >= number else otherwise


def test_a_request_that_reaches_one_process_stops_both_after_the_same_step(play: Any) -> None:
    seen = play([_at_call(99, "", ""), _at_call(3, "interrupted", "")], [lambda: False] * 2, 7)
    assert seen[0] == seen[1]
    assert [stop for stop, _ in seen[0]] == ["", "", "", "", "interrupted", "interrupted", "interrupted"]


def test_of_two_requests_the_graver_one_counts(play: Any) -> None:
    seen = play([_at_call(1, "preempted", ""), _at_call(1, "interrupted", "")], [lambda: False] * 2, 3)
    assert [stop for stop, _ in seen[0]] == [stop for stop, _ in seen[1]] == ["", "", "interrupted"]


def test_the_clock_of_the_first_process_counts_and_counts_once(play: Any) -> None:
    first = _at_call(2, True, False)  # due from then on, until it is answered
    seen = play([lambda: ""] * 2, [first, lambda: True], 6)
    assert seen[0] == seen[1]
    assert [due for _, due in seen[0]] == [False, False, False, False, True, False]


def test_one_process_alone_asks_nobody() -> None:
    agreement = Agreement(World(), lambda: "preempted")
    assert agreement.find_stop() == "preempted"
    assert agreement.by_first(lambda _: True)(None) is True  # type: ignore[arg-type]
    agreement.close()


def test_short_steps_are_voted_on_seldom(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    table = _Table()
    agreement = Agreement(World(rank=0, size=2), lambda: "")

    def all_reduce(tensor: torch.Tensor, *_: Any, **__: Any) -> _Work:
        started.append(1)
        table.votes[len(started)] = [(tensor, 0)]
        table.results[len(started)] = tensor.clone()
        return _Work(table, len(started))

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    agreement.set_step_s(0.005)
    for _ in range(100):
        agreement.find_stop()
    assert len(started) == 10  # 0.05 s = 10 steps
