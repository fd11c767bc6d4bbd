"""The exit codes a job tells its story with."""

from __future__ import annotations

__all__ = ["CHECKPOINTED", "CONFIG_ERROR", "DONE", "FAILED", "INTERRUPTED", "NOT_STARTED", "OUT_OF_MEMORY"]

DONE = 0
FAILED = 1
CONFIG_ERROR = 64  # what was asked for cannot work: never retry
CHECKPOINTED = 75  # stopped early with a checkpoint: run me again
OUT_OF_MEMORY = 76
NOT_STARTED = 127  # the shell's code for a command that is not there
INTERRUPTED = 130
