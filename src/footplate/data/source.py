"""A source: the samples behind one name of the profile, as they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from footplate.data.rows import Rows
from footplate.data.tables import Table
from footplate.profile.facts import TaskKind

__all__ = ["Source"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Inputs and targets as stored, all samples of one name in the profile."""

    name: str
    """As the profile names it."""
    inputs: Rows | Table
    """One row per sample, or the columns of a table, which become rows once the training part is known."""
    targets: Rows
    """One row per sample."""
    class_names: tuple[str, ...] = ()
    """Names of the classes 0, 1, … where the source knows them."""
    files: tuple[Path, ...] = ()
    """Files it was read from; none when it is no file."""
    num_bytes: int = 0
    """Size as stored."""
    task: TaskKind | None = None
    """What can be learnt from it, where there is no choice."""
    vocab_size: int = 0
    """How many different tokens there are; 0 where inputs are no tokens."""
    is_image: bool = False
    """Whether inputs are images, also those [H, W] without channels."""
    notes: tuple[str, ...] = ()
    """What was seen, for people."""
    sha256: str = ""
    """Of all samples, where no file tells whether they are the same."""

    @property
    def num_files(self) -> int:
        """Number of files it was read from."""
        return len(self.files)

    @property
    def table(self) -> Table | None:
        """The columns of a table."""
        return self.inputs if isinstance(self.inputs, Table) else None
