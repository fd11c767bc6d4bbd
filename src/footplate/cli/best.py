"""footplate best: the best run of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from footplate.cli.output import format_fact, format_path, json_option, print_json, print_text, say
from footplate.cli.profile_options import with_examples
from footplate.errors import InputError
from footplate.record.rundir import RunDir
from footplate.runs.store import Store

if TYPE_CHECKING:
    from footplate.runs.compare import Choice
    from footplate.runs.summary import Summary

__all__ = ["command"]

_MAX_NEXT = 4


@click.command("best")
@click.argument("experiment", metavar="[EXPERIMENT]", required=False)
@click.option("--by", "metric", help="Metric to go by; by default the one that chose the best weights.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which way is better; by default the metric's own.")
@json_option
@with_examples("footplate best wings --by val/loss")
def command(experiment: str | None, metric: str | None, mode: str | None, as_json: bool) -> None:
    """Name the best run of EXPERIMENT, by its final metric; of all runs when none is named.

    Equal runs stand with the newer first. Runs without the metric are counted.
    """
    from footplate.runs.compare import choose_best

    summaries = _read(experiment)
    chosen = metric or _find_metric(summaries)
    choice = choose_best(summaries, chosen, mode=mode or "")
    best = next(summary for summary in summaries if summary.run.id == choice.ranking[0][0])
    weights = best.run.artifacts / "model.safetensors"
    if as_json:
        print_json(
            {
                "run_id": best.run.id,
                "run_dir": str(best.run.path),
                "metric": choice.metric,
                "mode": "min" if choice.smaller_is_better else "max",
                "value": choice.ranking[0][1],
                "weights": str(weights) if weights.exists() else None,
                "ranking": [{"run_id": run_id, "value": value} for run_id, value in choice.ranking],
                "left_out": list(choice.left_out),
            }
        )
        return
    _print(choice, best)


def _read(experiment: str | None) -> list[Summary]:
    from footplate.runs.summary import summarize

    with Store() as store:
        stored = [one for one in store.list() if one.exists]
    found = [one for one in stored if experiment is None or one.experiment == experiment]
    if not found:
        known = sorted({one.experiment for one in stored if one.experiment})
        hint = f"there are {', '.join(known[:8])}" if known else "footplate train with logging.mlflow.experiment_name"
        raise InputError(
            f"there is no run of experiment {experiment!r}" if experiment else "there are no runs", hint=hint
        )
    return [summarize(RunDir(path=one.path)) for one in found]


def _find_metric(summaries: list[Summary]) -> str:
    """Return the metric that the newest run has chosen its best weights by."""
    for summary in summaries:
        name = (summary.result.get("best") or {}).get("metric")
        if name:
            return str(name)
    raise InputError("no run says what it is judged by", hint="footplate best --by val/loss")


def _print(choice: Choice, best: Summary) -> None:
    count = len(choice.ranking)
    way = "smallest" if choice.smaller_is_better else "largest"
    print_text(f"{best.run.id}  {choice.metric} {choice.ranking[0][1]:.6g}, the {way} of {count}")
    step = (best.result.get("best") or {}).get("step")
    if step is not None:
        print_text(format_fact("weights of", f"step {step:,}"))
    weights = best.run.artifacts / "model.safetensors"
    if weights.exists():
        print_text(format_fact("weights", format_path(weights)))
    print_text(format_fact("run", format_path(best.run.path)))
    for run_id, value in choice.ranking[1 : 1 + _MAX_NEXT]:
        print_text(format_fact("then", f"{run_id}  {value:.6g}"))
    if choice.left_out:
        say(f"without {choice.metric}: {', '.join(choice.left_out[:5])}{' …' if choice.left_out[5:] else ''}")
    say(f"next: footplate report {best.run.id[-6:]}")
