"""The random numbers of one process: Python's, numpy's, torch's on every device."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from footplate.trainer.reproducible import set_seeds

__all__ = ["get_random_state", "seed_after_resume", "set_random_state"]


def get_random_state() -> dict[str, Any]:
    """Return the state of every generator."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": {"version": version, "words": np.asarray(words, dtype=np.int64), "gauss": gauss},
        "numpy": {
            "name": name,
            "keys": np.asarray(keys).astype(np.int64),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = list(torch.cuda.get_rng_state_all())
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Bring every generator to a state; one of a device that is not here is left out."""
    python, legacy = state["python"], state["numpy"]
    random.setstate((int(python["version"]), tuple(int(word) for word in python["words"].tolist()), python["gauss"]))
    keys = legacy["keys"].numpy().astype(np.uint32)
    np.random.set_state((legacy["name"], keys, legacy["position"], legacy["has_gauss"], legacy["cached"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        for index, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, index)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def seed_after_resume(seed: int, rank: int, step: int) -> None:
    """Start the generators of a process that was not there when the checkpoint was saved."""
    sequence = np.random.SeedSequence([seed, rank, step])
    set_seeds(int(sequence.generate_state(1)[0]))
