"""The learning rate at each optimiser step: pure arithmetic, quick enough to be called at every one."""

from __future__ import annotations

from math import cos, pi

from footplate.profile.sections.training import Training

__all__ = ["get_learning_rate"]

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4


def get_learning_rate(training: Training, step: int, total_steps: int) -> float:
    """Return the learning rate of the optimiser step that is about to be done, counted from 0.

    With ``lr = learning_rate``, ``w = warmup_steps`` and ``T = T_max`` (null: ``total_steps``):

    * warm-up, every type but ``one_cycle``: ``lr · (step + 1) / w`` for ``step < w``: never 0, and ``lr`` at ``w - 1``.
    * ``constant``: ``lr`` after the warm-up.
    * ``linear``: falls from ``lr`` at step ``w`` to ``eta_min`` at step ``T`` and stays there.
    * ``cosine_annealing`` and ``linear_warmup_cosine``: ``eta_min + (lr - eta_min) · (1 + cos(π p)) / 2`` with
      ``p = (step - w) / (T - w)``, and ``eta_min`` from step ``T`` on. Without warm-up this is torch's
      CosineAnnealingLR up to ``T`` (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983).
    * ``one_cycle``: half a cosine from ``lr / 25`` up to ``lr`` at step ``w - 1`` (``w = 0``: 30 % of ``T``), then half
      a cosine down to ``eta_min`` (0: ``lr / 10 000``) at step ``T - 1``. This is the shape of torch's OneCycleLR
      (Smith and Topin 2018, https://arxiv.org/abs/1708.07120).
    """
    scheduler = training.scheduler
    kind = scheduler.type
    peak = training.learning_rate
    end = scheduler.T_max or total_steps
    warmup = scheduler.warmup_steps
    if kind == "one_cycle":
        return _get_one_cycle(
            peak, scheduler.eta_min or peak / _ONE_CYCLE_END, warmup or _ONE_CYCLE_RISE * end, (step, end)
        )
    if step < warmup:
        return peak * (step + 1) / warmup
    if kind == "constant":
        return peak
    if step >= end:
        return scheduler.eta_min
    progress = (step - warmup) / (end - warmup)
    if kind == "linear":
        return peak + (scheduler.eta_min - peak) * progress
    return scheduler.eta_min + (peak - scheduler.eta_min) * (1 + cos(pi * progress)) / 2


def _get_one_cycle(peak: float, last: float, rise: float, at: tuple[int, int]) -> float:
    step, end = at
    top = rise - 1
    if step <= top:
        start = peak / _ONE_CYCLE_START
        return start + (peak - start) * (1 - cos(pi * step / top)) / 2 if top > 0 else peak
    if step >= end - 1:
        return last
    return last + (peak - last) * (1 + cos(pi * (step - top) / (end - 1 - top))) / 2
