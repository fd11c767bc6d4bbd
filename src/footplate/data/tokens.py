"""Tokens: whether inputs are tokens or numbers, and how many different ones there are."""

from __future__ import annotations

import numpy as np

from footplate.data.rows import Rows
from footplate.data.source import Source
from footplate.errors import DataError
from footplate.profile.facts import TaskKind
from footplate.profile.model import Profile
from footplate.profile.tasks import IGNORED

__all__ = ["find_vocab_size"]


def find_vocab_size(
    profile: Profile, task: TaskKind, inputs: dict[str, Rows], sources: dict[str, Source], targets: dict[str, Rows]
) -> int:
    """Return the size of the vocabulary; 0 where inputs are numbers.

    Text and streams know it. Whole numbers of arrays are tokens in a language model and where ``data.vocab_size`` is
    set; each is then looked at, and one that is out of range is named with its place.
    """
    given = profile.data.vocab_size
    if sources["train"].vocab_size:
        return max(source.vocab_size for source in sources.values())
    if given is None and task != "language_model":
        return 0
    for rows in inputs.values():
        if rows.dtype.kind not in "iu" or len(rows.shape) != 1:
            raise DataError(
                f"{rows.names[0]}: data.vocab_size is set, and inputs of {rows.dtype} {list(rows.shape)} are no tokens",
                hint="take data.vocab_size out, or give whole numbers [L]",
            )
    largest = max(_find_largest(rows, given) for rows in inputs.values())
    if task == "language_model":
        largest = max(largest, *(_find_largest(rows, given, may_lack=True) for rows in targets.values()))
    return given or max(2, largest + 1)


def _find_largest(rows: Rows, limit: int | None, *, may_lack: bool = False) -> int:
    """Return the largest token, after each was compared with the limit; ``may_lack``: -100 is none."""
    largest = 0
    for start, chunk in rows.chunks():
        wrong = (chunk < 0) & (chunk != IGNORED) if may_lack else chunk < 0
        if limit is not None:
            wrong |= chunk >= limit
        if wrong.any():
            place = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
            told = "tokens are numbers from 0" if limit is None else f"data.vocab_size {limit} means 0 to {limit - 1}"
            raise DataError(
                f"{rows.locate(start + place[0], *place[1:])} is {chunk[place]}: {told}",
                hint="mend the tokens, or set data.vocab_size to the size of their tokenizer's vocabulary",
            )
        largest = max(largest, int(chunk.max()))
    return largest
