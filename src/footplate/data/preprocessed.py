"""Inputs that are kept on disk as the network takes them: made once, mapped by every later training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from footplate.data.array_files import MMAP_BYTES
from footplate.data.cache import find_cached, keep_chunks, make_key
from footplate.data.rows import Rows
from footplate.data.scaler import Scaler
from footplate.data.tables import ColumnEncoding
from footplate.profile.sections.data import Data

__all__ = ["keep_scaled"]

_NAME = "inputs"


def keep_scaled(
    rows: Rows, files: tuple[Path, ...], scaler: Scaler, encoding: tuple[ColumnEncoding, ...], settings: Data
) -> Rows | None:
    """Return the scaled inputs of a source from the cache, which is filled when they are not there.

    The key is made from the files (place, size, time, both ends) and from all that was done to them; other data or
    another preprocessing is another key. None where there is no room.
    """
    made_with = {
        "columns": settings.columns.model_dump(mode="json"),
        "format": settings.format,
        "encoding": [item.to_json() for item in encoding],
        "scaler": scaler.to_json(),
        "shape": [len(rows), *rows.shape],
    }
    key = make_key("scaled", *files, **made_with)
    shape = (len(rows), *rows.shape)
    found = find_cached(key, (_NAME,))
    if found is None or found[_NAME].shape != shape:
        chunks = (scaler.apply(chunk) for _, chunk in rows.chunks())
        if not keep_chunks(key, {_NAME: (shape, np.dtype(np.float32), chunks)}):
            return None
        found = find_cached(key, (_NAME,))
        if found is None:
            return None
    array = found[_NAME]
    is_large = array.nbytes > MMAP_BYTES
    return replace(rows, parts=(array if is_large else array.copy(),), mapped=is_large, names=rows.names[:1])
