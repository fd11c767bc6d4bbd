"""Why an attempt ended the way it did: found from its exit and its last words, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from footplate.record import exit_codes

__all__ = ["Cause", "Ending", "classify_ending", "find_exception"]


class Cause(StrEnum):
    """What a run that did not succeed died of."""

    user_error = "user_error"
    config_error = "config_error"
    out_of_memory = "out_of_memory"
    time_limit = "time_limit"
    preempted = "preempted"
    node_failure = "node_failure"
    stalled = "stalled"
    platform = "platform"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job ended, as the wrapper saw it."""

    exit_code: int
    """The job's own, or 128 + n when signal n killed it."""
    signal: str = ""
    """``SIGKILL`` when that killed it; empty when it ended by itself."""
    cancelled: bool = False
    log_tail: str = ""
    """The end of what it printed."""
    oom_kills: int = 0
    """How many processes of this control group the kernel killed for memory while the job ran."""
    disk_full: bool = False
    """Whether the disk that its log lies on had no room left."""


_OUT_OF_MEMORY = re.compile(
    r"\bMemoryError\b|CUDA out of memory|torch\.OutOfMemoryError|std::bad_alloc"
    r"|DefaultCPUAllocator: can't allocate memory|Cannot allocate memory"
)
_STALLED = re.compile(r"(?:error|rank \d+): (?:error: )?stalled: no step was finished for ")
_DISK_FULL = re.compile(r"No space left on device")
# torchrun's workers put their rank before each line, an ExceptionGroup draws a margin.
_MARGIN = re.compile(r"^(?:\[rank\d+\]: ?)?(?: *[|+] )?")
# "error: loss became NaN", "train.py: error: unrecognized arguments: --x"
_MESSAGE = re.compile(r"^(?:[\w.-]+: )?error: +(?P<text>\S.*)$")
# Faults of the program itself; any other signal came from outside, or cannot be told from one that did.
_CRASHES = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP", "SIGPIPE"})
# What a shell, and Footplate's worker, tell after SIGINT, SIGKILL and SIGTERM.
_CODES_OF_SIGNALS = {exit_codes.INTERRUPTED: "SIGINT", 137: "SIGKILL", 143: "SIGTERM"}
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
# "ValueError: bad batch", "torch.OutOfMemoryError: …", "KeyboardInterrupt"; not "warning: …" and not an indented line.
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:: .*)?$")

# torchrun's own last word, which tells no more than that one of its workers has failed
_OF_LAUNCHER = "torch.distributed.elastic."


def classify_ending(ending: Ending) -> tuple[Cause | None, str]:
    """Return the cause and the evidence for it in words; no cause when it succeeded, was cancelled or none is known."""
    code, died = ending.exit_code, _describe(ending)
    said = find_exception(ending.log_tail)
    if not said or said.startswith(_OF_LAUNCHER):
        said = _find_message(ending.log_tail) or said
    if ending.cancelled:
        return None, f"cancelled; {died}"
    if code == exit_codes.DONE:
        return None, died
    if code == exit_codes.CONFIG_ERROR:
        return Cause.config_error, _join(f"{died}: a configuration that cannot work", said)
    if code == exit_codes.CHECKPOINTED:
        return Cause.preempted, f"{died}: stopped early with a checkpoint"
    if code == exit_codes.OUT_OF_MEMORY:
        return Cause.out_of_memory, _join(f"{died}: out of memory", said)
    if code == exit_codes.FAILED and (line := _find_last(_STALLED, ending.log_tail)):
        return Cause.stalled, f"{died}; the log says: {line}"
    # 137 and 152 are what a shell tells when SIGKILL or SIGXCPU ended the command it ran.
    if code == 137 and ending.oom_kills > 0:
        return Cause.out_of_memory, f"{died}; the kernel's count of kills for memory grew by {ending.oom_kills}"
    if code == 152:
        return Cause.time_limit, f"{died}: over its limit of CPU time"
    if line := _find_last(_OUT_OF_MEMORY, ending.log_tail):
        return Cause.out_of_memory, f"{died}; the log says: {line}"
    if line := _find_last(_DISK_FULL, ending.log_tail):
        return Cause.platform, f"{died}; the log says: {line}"
    if ending.signal and ending.signal not in _CRASHES:
        return None, f"{died}; by whom is not known"
    if not ending.signal and not said and code in _CODES_OF_SIGNALS:
        return None, f"{died}, as after {_CODES_OF_SIGNALS[code]}; by whom is not known"
    if ending.disk_full and not said:
        return Cause.platform, died  # it may have said why, and it is lost
    return Cause.user_error, _join(died, said)


def find_exception(log: str) -> str:
    """Return the last exception of a Python traceback with its place, such as ``ValueError: bad (train.py:12)``."""
    place, found = "", ""
    for line in log.splitlines():
        text = _MARGIN.sub("", line)
        if frame := _FRAME.match(text):
            place = f"{frame['file'].rpartition('/')[2]}:{frame['line']}"
        elif found and text.startswith(_OF_LAUNCHER):
            place = ""
        elif place and _EXCEPTION.match(text):
            found, place = f"{_shorten(text)} ({place})", ""
    return found


def _find_message(log: str) -> str:
    """Return the first line of the last message of a program that says what is wrong without a traceback."""
    for line in reversed(log.splitlines()):
        if message := _MESSAGE.match(_MARGIN.sub("", line)):
            return _shorten(message["text"].strip())
    return ""


def _join(died: str, said: str) -> str:
    return f"{died}; {said}" if said else died


def _describe(ending: Ending) -> str:
    return f"killed by {ending.signal}" if ending.signal else f"exit code {ending.exit_code}"


def _find_last(pattern: re.Pattern[str], log: str) -> str:
    for line in reversed(log.splitlines()):
        if pattern.search(line):
            return _shorten(line.strip())
    return ""


def _shorten(line: str, limit: int = 300) -> str:
    return line if len(line) <= limit else line[: limit - 1] + "…"
