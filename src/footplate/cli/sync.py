"""footplate sync: tell trackers what they have not been told yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from footplate.cli.names import complete_run
from footplate.cli.output import EXIT_FAILED, EXIT_OK, json_option, print_json, say
from footplate.cli.profile_options import with_examples
from footplate.cli.trackers import describe_tracker
from footplate.errors import RunFailedError
from footplate.quantities import format_count, format_size
from footplate.record.rundir import RunDir
from footplate.runs.store import Store
from footplate.runs.sync import Delivered, list_trackers, sync

__all__ = ["command"]


@click.command("sync")
@click.argument("names", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=3600.0, show_default=True, help="Seconds for a run."
)
@json_option
@with_examples("footplate sync", "footplate sync q3 q7")
def command(names: tuple[str, ...], timeout_s: float, as_json: bool) -> int:
    """Tell trackers what they have not been told yet.

    Without RUN: of every run that has something left. What was recorded while a tracker was down, or on a machine
    without a network, is told once, in its order, however often this is called.
    """
    told: list[dict[str, object]] = []
    waiting = 0
    for run in _choose(names):
        delivered, failure = _sync(run, timeout_s)
        told.append({"run_id": run.id, "trackers": [asdict(one) for one in delivered], "failure": failure})
        for line in [describe_tracker(run, one) for one in delivered] + ([failure] if failure else []):
            say(f"{run.id}  {line}")
        waiting += bool(failure) or any(one.error or (one.waiting_bytes and not one.is_shipping) for one in delivered)
    if as_json:
        print_json({"runs": told, "waiting": waiting})
    elif not told:
        say("nothing waits to be told")
    if waiting:
        say(f"{format_count(waiting, 'run')} could not be told in full; footplate sync tries again")
    return EXIT_FAILED if waiting else EXIT_OK


def _choose(names: tuple[str, ...]) -> list[RunDir]:
    with Store() as store:
        if names:
            return list({run.id: run for run in (store.find(name) for name in names)}.values())
        runs = [RunDir(path=stored.path) for stored in store.list() if stored.exists]
    return [run for run in runs if not all(one.is_closed or one.is_shipping for one in list_trackers(run))]


def _sync(run: RunDir, timeout_s: float) -> tuple[Sequence[Delivered], str]:
    """Ship one run; return what its trackers know then, and what failed."""
    shown = [-1]

    def show(delivered: Sequence[Delivered]) -> None:
        shipped = sum(one.shipped for one in delivered)
        if shipped != shown[0]:
            shown[0] = shipped
            left = format_size(max((one.waiting_bytes for one in delivered), default=0))
            click.echo(f"\r{run.id}  {shipped:,} told, {left} left ", nl=False, err=True)

    before = list_trackers(run)
    if not before:
        return [], f"run {run.id} has no tracker: logging.mlflow or logging.tensorboard switches one on"
    try:
        delivered = sync(run, timeout_s=timeout_s, on_progress=show)
    except RunFailedError as error:
        return list_trackers(run), f"{error.message}; {error.hint}"
    finally:
        if shown[0] >= 0:
            click.echo(err=True)
    return delivered, ""
