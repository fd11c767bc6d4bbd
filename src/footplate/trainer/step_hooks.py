"""The hooks that take part in each step: what thaws, the mean of the weights, the profiler, the cache of the GPU."""

from __future__ import annotations

from pathlib import Path

from footplate.record.journal import Journal
from footplate.trainer.assemble import Parts
from footplate.trainer.hooks import Hook
from footplate.trainer.profiler import make_profiler
from footplate.trainer.speed import make_cache_release

__all__ = ["make_step_hooks"]


def make_step_hooks(parts: Parts, artifacts: Path, journal: Journal) -> list[Hook]:
    """Return the hooks that the profile asks for; they are told of a step before those that only watch it."""
    hooks: list[Hook] = []
    if parts.freezer is not None:
        parts.freezer.journal = journal
        hooks.append(parts.freezer)
    if parts.mean is not None:
        hooks.append(parts.mean)
    if parts.world.is_first:
        hooks += make_profiler(parts.profile.debug, artifacts, parts.device, journal)
    return hooks + list(make_cache_release(parts.profile, parts.device))
