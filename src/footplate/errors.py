"""The errors of Footplate, one tree: what happened, where, and what to do.

FootplateError
├── InputError                bad input: the command line exits with 2
│   ├── ProfileError          a profile that cannot be used; carries every problem at once
│   ├── DataError             data that cannot be read or cannot be trained on
│   ├── NotFoundError         a run, file or key that is not there
│   ├── CommandError          a command that cannot be started
│   └── PlanError             a plan that must not be launched (lint errors, no such device)
├── RecordError               a run directory that cannot be written or read
│   └── SnapshotError         code that cannot be captured
├── MissingExtraError         a library that is not installed; names the command that installs it
└── RunFailedError            the run itself failed: the command line exits with 1
    └── MemoryExhaustedError  no smaller batch can help, or a restart must: the worker exits with 76
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "CommandError",
    "DataError",
    "FootplateError",
    "InputError",
    "MemoryExhaustedError",
    "MissingExtraError",
    "NotFoundError",
    "PlanError",
    "ProfileError",
    "RecordError",
    "RunFailedError",
    "SnapshotError",
]


class FootplateError(Exception):
    """Anything Footplate reports on purpose.

    ``hint`` says what to do next and is shown on a line of its own. ``exit_code`` is what the command line ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(FootplateError):
    """What was asked for cannot be done as it was written."""

    exit_code = 2


class ProfileError(InputError):
    """A profile that cannot be used. ``problems`` holds one line for each thing that is wrong, all at once."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), hint: str = "") -> None:
        super().__init__("\n".join([message, *(f"  {problem}" for problem in problems)]), hint=hint)
        self.problems = tuple(problems)


class DataError(InputError):
    """Data that cannot be read, or that this training cannot use."""


class NotFoundError(InputError):
    """Something named does not exist."""


class CommandError(InputError):
    """A command that cannot be started."""


class PlanError(InputError):
    """A plan that must not be launched as it is."""


class RecordError(FootplateError):
    """A run directory, receipt or journal that cannot be written or read."""


class SnapshotError(RecordError):
    """Code that cannot be captured."""


class MissingExtraError(FootplateError):
    """A library is needed that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", hint=f"pip install 'footplate[{extra}]'")
        self.package = package
        self.extra = extra


class RunFailedError(FootplateError):
    """A run ended without success; the message names the run and the cause."""


class MemoryExhaustedError(RunFailedError):
    """The memory does not suffice, and this process cannot go on with less; the hint says what may help."""
