"""Shows a run while it runs and sums it up at its end; for the verbs that start one."""

from __future__ import annotations

import os
import signal
import sys
import textwrap

from footplate.cli.describe import describe_end, get_exit_code, run_to_json
from footplate.cli.output import format_path, print_json, say
from footplate.runs.launch import Launched, follow

__all__ = ["follow_and_tell"]

_WIDTH = 80


def follow_and_tell(launched: Launched, *, quiet: bool = False, as_json: bool = False) -> int:
    """Show what a run prints until it has ended, then what became of it; return the exit code.

    The output goes to stdout; with ``as_json`` it goes to stderr, because stdout is then the JSON at the end.
    """
    try:
        if not quiet:
            _tell_start(launched)
    except KeyboardInterrupt:  # too early for `follow`, which passes it on from here
        launched.process.send_signal(signal.SIGINT)
    status = follow(launched, _Printer(to_stderr=as_json).write)
    if not quiet:
        for line in describe_end(launched.run, status):
            say(line)
    if as_json:
        print_json(run_to_json(launched.run, status))
    return get_exit_code(status)


def _tell_start(launched: Launched) -> None:
    lines = [f"run {launched.run.id} in {format_path(launched.run.path.parent)}", *launched.notes]
    if len(" · ".join(lines[:2])) <= _WIDTH:
        lines = [" · ".join(lines[:2]), *lines[2:]]
    say(lines[0])
    for line in lines[1:]:
        say(textwrap.fill(line, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False))


class _Printer:
    """Writes the command's output through; when nobody reads it any more the run goes on."""

    def __init__(self, *, to_stderr: bool) -> None:
        self._stream = sys.stderr if to_stderr else sys.stdout
        self._closed = False

    def write(self, text: str) -> None:
        if self._closed:
            return
        try:
            self._stream.flush()
            self._stream.buffer.write(text.encode("utf-8", "surrogateescape"))  # byte for byte what was printed
            self._stream.buffer.flush()
        except BrokenPipeError:
            self._closed = True
            # What is still buffered would raise once more when Python flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
