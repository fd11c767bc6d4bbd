"""Shows how a training goes: a bar on a terminal, the run's own plain lines anywhere else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from footplate.cli.happenings import tell_event
from footplate.record.journal_reader import Entry
from footplate.runs.plan_text import wrap

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress"]

_WIDTH = 80
_KEPT_LINES = 100
_BESIDE_THE_BAR = {
    "train/loss": "loss {:.4g}",
    "val/loss": "val loss {:.4g}",
    "val/accuracy": "val acc {:.3f}",
    "train/samples_per_s": "{:,.0f} samples/s",
}
"""What stands beside the bar, in this order: all of it fits 80 columns with steps of five digits."""


class Progress:
    """Takes what a run prints and records, as it comes, and shows it on stderr.

    On a terminal a training that tells its steps gets a bar; until it does, and for code that never does, what is
    printed is shown as it is.
    """

    def __init__(self, *, quiet: bool = False, hides_log: bool = True) -> None:
        self._quiet = quiet
        self._on_terminal = sys.stderr.isatty()
        self._hides_log = hides_log and self._on_terminal
        self._bar: tqdm[Any] | None = None
        self._shown: dict[str, str] = {}
        self._last: list[str] = []

    @property
    def last_lines(self) -> tuple[str, ...]:
        """Return the end of what was printed but not shown."""
        return tuple(self._last[-_KEPT_LINES:]) if self._quiet or self._hides_log else ()

    def on_log(self, text: str) -> None:
        """Take what the run has printed."""
        if self._quiet or self._hides_log:
            self._last = [*self._last, *text.splitlines()][-_KEPT_LINES:]
        else:
            click.echo(text, nl=False, err=True)

    def on_entry(self, entry: Entry) -> None:
        """Take what the run has recorded."""
        if self._quiet or not self._hides_log:
            return
        name = entry.data.get("name") if entry.kind == "event" else ""
        if name == "data":
            for line in entry.data.get("found", ()):
                self._say(f"  {line}")
        elif name == "start":
            self._start(entry.data)
        elif told := tell_event(entry.data):
            for line in wrap(told.strip(), indent=len(told) - len(told.lstrip()), hang=2):
                self._say(line)
            if name == "resume":
                self._begin_at(int(entry.data.get("step", 0)))
        elif name in ("evaluation", "finish"):
            self._advance(int(entry.data.get("step", 0)), {})
        elif entry.kind == "metrics":
            self._advance(int(entry.data["step"]), entry.data["values"])

    def close(self) -> None:
        """Take the bar away, finished or not."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _start(self, data: Mapping[str, Any]) -> None:
        from tqdm import tqdm

        total = int(data.get("total_steps", 0))
        parts = [f"{total:,} steps"]
        if "num_parameters" in data:
            parts.append(f"{data['num_parameters']:,} parameters")
        if "device" in data:
            count = int(data.get("processes", 1))
            parts.append(f"on {data['device']}" + (f" in {count:,} processes" if count > 1 else ""))
        self._say("  " + " · ".join(parts))
        self.close()  # of the attempt before
        tqdm.monitor_interval = 0  # no thread of its own: the journal is looked at often enough
        self._bar = tqdm(
            total=total,
            file=sys.stderr,
            ncols=min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns),
            nrows=24,  # a terminal that says it has no rows would hide the bar
            bar_format="{bar:8} {n:,.0f}/{total:,.0f}, {remaining} left{postfix}",
            leave=True,
        )

    def _begin_at(self, step: int) -> None:
        """Count the speed from this step on: those before it were done by an earlier attempt."""
        if self._bar is not None:
            self._bar.initial = step
            self._bar.n = self._bar.last_print_n = step
            self._bar.refresh()

    def _advance(self, step: int, values: Mapping[str, float]) -> None:
        if self._bar is None:
            return
        self._shown |= {name: form.format(values[name]) for name, form in _BESIDE_THE_BAR.items() if name in values}
        if "val/accuracy" in self._shown:
            self._shown.pop("val/loss", None)  # one number of the validation is enough beside the bar
        told = [self._shown[name] for name in _BESIDE_THE_BAR if name in self._shown]
        self._bar.set_postfix_str(", ".join(told), refresh=False)
        self._bar.update(max(0, step - self._bar.n))
        self._bar.refresh()

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            click.echo(text, err=True)
