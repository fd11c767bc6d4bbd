"""``reproducibility`` and ``debug``: the same numbers again, and a closer look at them."""

from __future__ import annotations

from pydantic import field_validator

from footplate.profile.fields import Section, key

__all__ = ["Debug", "Reproducibility"]


class Reproducibility(Section):
    """What makes two runs equal."""

    seed: int = key(42, ge=0, lt=2**32)
    """Start of every random number: weights, order of the data, dropout, split."""
    deterministic: bool = key(False)
    """Only operations that give the same bits each time; may be slower."""
    benchmark: bool = key(False)
    """Lets cuDNN try its algorithms and keep the fastest; not deterministic."""


class Debug(Section):
    """For finding faults."""

    enabled: bool = key(False)
    """Switches the keys below on."""
    detect_anomaly: bool = key(False)
    """Names the operation that made a NaN; several times slower."""
    profile: bool = key(False)
    """Writes a trace of the steps in `profile_steps` and a table of their costliest operations to
    `artifacts/profile`."""
    profile_steps: tuple[int, int] | None = key(None, unit="optimiser steps")
    """First and last step of the trace, counted from 0; null = 10 to 14."""

    @field_validator("profile_steps")
    @classmethod
    def _check_profile_steps(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError(f"the first step must not be after the last (got {value[0]}, {value[1]})")
        return value
