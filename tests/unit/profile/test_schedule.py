"""The learning rate has the shape its name says, and torch's where torch has the same schedule."""

from __future__ import annotations

import timeit
from typing import Any

import pytest

from footplate.profile.schedule import get_learning_rate
from footplate.profile.sections.training import Training


def _training(kind: str, *, learning_rate: float = 0.1, **scheduler: Any) -> Training:
    return Training.model_validate({"learning_rate": learning_rate, "scheduler": {"type": kind, **scheduler}})


def _rates(training: Training, total: int, steps: int | None = None) -> list[float]:
    return [get_learning_rate(training, step, total) for step in range(steps or total)]


def _torch_rates(name: str, steps: int, **arguments: Any) -> list[float]:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < steps:
            scheduler.step()
    return rates


def test_constant_stays() -> None:
    assert _rates(_training("constant"), 5) == [0.1] * 5


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine_annealing", "linear_warmup_cosine"])
def test_warm_up_rises_linearly_and_never_starts_at_zero(kind: str) -> None:
    rates = _rates(_training(kind, warmup_steps=4), 20)
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.1)


def test_cosine_annealing_is_that_of_torch() -> None:
    ours = _rates(_training("cosine_annealing", eta_min=0.01), 50)
    assert ours == pytest.approx(_torch_rates("CosineAnnealingLR", 50, T_max=50, eta_min=0.01))


def test_linear_is_that_of_torch() -> None:
    ours = _rates(_training("linear", eta_min=0.01, T_max=30), 50)
    assert ours == pytest.approx(_torch_rates("LinearLR", 50, start_factor=1.0, end_factor=0.1, total_iters=30))


@pytest.mark.parametrize(("warmup_steps", "pct_start"), [(0, 0.3), (10, 0.2)])
def test_one_cycle_is_that_of_torch(warmup_steps: int, pct_start: float) -> None:
    ours = _rates(_training("one_cycle", warmup_steps=warmup_steps), 50)
    torch_rates = _torch_rates(
        "OneCycleLR", 50, max_lr=0.1, total_steps=50, pct_start=pct_start, div_factor=25, final_div_factor=1e4 / 25
    )
    assert ours == pytest.approx(torch_rates)


def test_the_decay_ends_at_t_max_and_stays() -> None:
    for kind in ("linear", "cosine_annealing", "linear_warmup_cosine"):
        rates = _rates(_training(kind, T_max=10, eta_min=0.001, warmup_steps=2), 30)
        assert rates[9] > 0.001
        assert rates[10:] == [0.001] * 20
    assert _rates(_training("one_cycle", T_max=10, eta_min=0.001), 30)[9:] == pytest.approx([0.001] * 21)


def test_half_way_of_the_cosine_after_warm_up_is_half_the_rate() -> None:
    assert get_learning_rate(_training("linear_warmup_cosine", warmup_steps=10), 55, 100) == pytest.approx(0.05)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine_annealing", "linear_warmup_cosine", "one_cycle"])
@pytest.mark.parametrize("warmup_steps", [0, 1, 5, 100])
def test_short_trainings_and_long_warm_ups_stay_in_range(kind: str, warmup_steps: int) -> None:
    for total in (1, 2, 3, 5):
        rates = _rates(_training(kind, warmup_steps=warmup_steps), total, steps=total + 3)
        assert all(0 <= rate <= 0.1 + 1e-12 for rate in rates)
        assert rates[0] > 0


def test_a_call_takes_microseconds() -> None:
    training = _training("linear_warmup_cosine", warmup_steps=10)
    best = min(timeit.repeat(lambda: get_learning_rate(training, 500, 1000), number=2000, repeat=7)) / 2000
    assert best <= 2e-6
