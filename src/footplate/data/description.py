"""What a file or folder holds and how it could be trained on, as `init` tells it and as a template needs it."""

from __future__ import annotations

from dataclasses import dataclass

from footplate.profile.facts import TaskKind

__all__ = ["ColumnDescription", "TableDescription"]


@dataclass(frozen=True, kw_only=True)
class ColumnDescription:
    """One column of a table, or one array of an npz."""

    name: str
    kind: str
    """``number``, ``category``, ``bool``, ``text``, ``date``, ``id`` or ``constant``; ``array`` in an npz."""
    detail: str
    """What was seen, in words."""
    num_distinct: int = 0
    """Different values among the rows looked at."""
    num_missing: int = 0
    """Empty cells among the rows looked at."""


@dataclass(frozen=True, kw_only=True)
class TableDescription:
    """What a file holds and how it could be trained on; every guess comes with its reason."""

    path: str
    format: str
    columns: tuple[ColumnDescription, ...]
    target: str
    """Column or array that is predicted."""
    target_reason: str
    task: TaskKind
    """What is learnt."""
    task_reason: str
    loss: str
    """``auto`` where that does what ``task`` says, else the loss that must be set."""
    inputs: tuple[str, ...]
    """Columns to train on."""
    left_out: tuple[tuple[str, str], ...]
    """(column, reason) of those better left out."""
    num_rows_seen: int
    is_complete: bool
    """Whether these are all rows."""
    missing: str
    """What ``data.columns.missing`` should be: ``error`` (no empty cell seen), ``mean`` or ``drop``."""
    input_shape: tuple[int, ...] | None
    """Shape of one input; None when text columns make it depend on the categories of the training part."""
    output_shape: tuple[int, ...] | None
    """[number of classes], or the shape of one target."""
    num_classes: int | None
    must_say_task: bool = False
    """Whether the data leave the task open, so that the profile must say it."""
    vocab_size: int = 0
    """Where inputs are tokens: how many different ones there are."""
    sequence_length: int | None = None
    """Tokens of one input, where it can be chosen."""

    @property
    def needs_columns(self) -> bool:
        """Whether the profile must name inputs and target: what it would take by itself is something else."""
        if self.format in ("npy", "image_folder", "text", "tokens") or self.vocab_size:
            return False
        if self.columns[0].kind == "array":
            return (self.inputs, self.target) != (("x",), "y")
        return bool(self.left_out) or self.target != self.columns[-1].name

    def to_lines(self) -> tuple[str, ...]:
        """Return the description for people: what is there, what is guessed and why."""
        rows = "blocks" if self.task == "language_model" else "samples" if self.columns[0].kind == "array" else "rows"
        seen = f"{self.num_rows_seen:,} {rows}" if self.is_complete else f"the first {self.num_rows_seen:,} {rows}"
        lines = [f"{self.path}: {self.format}, {seen}"]
        if rows == "rows":
            lines = [f"{lines[0]}, {len(self.columns)} columns"]
        width = max(len(column.name) for column in self.columns)
        for column in self.columns:
            role = "target" if column.name == self.target else "input" if column.name in self.inputs else "left out"
            empty = f", {column.num_missing:,} empty" if column.num_missing else ""
            lines.append(f"  {column.name:<{min(width, 24)}}  {role:<8}  {column.kind}: {column.detail}{empty}")
        lines.append(f"target  {self.target}: {self.target_reason}")
        lines.append(f"task    {self.task}: {self.task_reason}")
        if self.must_say_task:
            lines.append("the data leave it open: data.task is set; is it what you want?")
        lines += [f"left out  {name}: {reason}" for name, reason in self.left_out]
        if self.missing != "error":
            lines.append(f"empty cells: data.columns.missing is set to {self.missing}")
        return tuple(lines)
