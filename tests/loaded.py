"""Loads data as a profile names them, for the tests of formats and functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from footplate.data.load import LoadedData, load_data
from footplate.errors import DataError
from footplate.profile.load import load_profile_text

__all__ = ["fail", "load", "take"]


def load(folder: Path, text: str) -> LoadedData:
    """Load the data of a profile's section."""
    return load_data(load_profile_text(f"data: {{{text}}}", base_dir=folder))


def fail(folder: Path, text: str) -> tuple[str, str]:
    """Return message and hint of the error that loading ends with."""
    with pytest.raises(DataError) as caught:
        load(folder, text)
    return caught.value.message, caught.value.hint


def take(data: LoadedData) -> tuple[np.ndarray, np.ndarray]:
    """Return all training samples."""
    return data.train.gather(np.arange(len(data.train)))
