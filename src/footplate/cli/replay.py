"""``footplate replay``: do one step of a run again, looked at closely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import click

from footplate.cli.names import complete_run, find_run
from footplate.cli.output import format_fact, json_option, print_json, print_table, print_text, say
from footplate.cli.profile_options import with_examples

__all__ = ["command"]

_MAX_ROWS = 12


@click.command("replay")
@click.option("--step", type=click.IntRange(min=1), required=True, metavar="N", help="Which step, from 1.")
@click.option("--pdb", "debug", is_flag=True, help="Stop in the debugger before the forward pass.")
@json_option
@click.argument("name", metavar="RUN", shell_complete=complete_run)
@with_examples("footplate replay q3 --step 812", "footplate replay q3 --step 812 --pdb")
def command(name: str, step: int, debug: bool, as_json: bool) -> None:
    """Do step N of a training again: its code, its state before that step, its very batch.

    It goes on from the newest checkpoint before the step, tells what goes in, what each module gives and what the
    gradients are, names what is not finite first, and compares the loss with the record.
    In the debugger batch, model and loss_function are at hand.
    """
    from footplate.runs.replay import replay

    run = find_run(name)
    if not as_json:
        say(f"replaying {run.id} up to step {step:,}")
    seen = replay(run, step, debug=debug)
    if as_json:
        print_json(_to_plain(seen))
    elif "loss" in seen:
        _show(seen)


def _to_plain(value: Any) -> Any:
    """Return a value as JSON can hold it: a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(seen: Mapping[str, Any]) -> None:
    print_text(f"step {seen['step']:,} of {seen['run_id']}: loss {seen['loss']:.6g}, gradient {seen['grad_norm']:.4g}")
    print_text(format_fact("not finite", f"first: {seen['first_wrong']}" if seen["first_wrong"] else "nothing"))
    start = f"{seen['checkpoint']}" if seen["checkpoint"] else "the start: there is no checkpoint before this step"
    print_text(format_fact("from", start))
    if seen["num_processes"] > 1:
        told = f"the batches of all {seen['num_processes']} processes, in this one: the same samples, equal to rounding"
        print_text(format_fact("processes", told))
    print_text(format_fact("record", _describe_record(seen["recorded"])))
    for number, batch in enumerate(seen["batches"], start=1):
        for what in ("inputs", "targets"):
            print_text(format_fact(f"batch {number}", f"{what} {_describe_tensor(batch[what])}"))
    shown = ", ".join(str(index) for index in seen["indices"][:_MAX_ROWS])
    print_text(format_fact("samples", shown + (" …" if len(seen["indices"]) > _MAX_ROWS else "")))
    print_text("")
    rows = [
        [one["name"], one["kind"], str(one["batch"]), _describe_tensor(one["output"])]
        for one in _choose(seen["modules"])
        if one["output"]
    ]
    print_table(["MODULE", "KIND", "BATCH", "OUTPUT"], rows)
    largest = sorted(seen["gradients"].items(), key=lambda item: (item[1] == item[1], -item[1]))[:_MAX_ROWS]
    print_text("")
    print_table(["GRADIENT OF", "NORM"], [[name, f"{norm:.4g}"] for name, norm in largest])


def _choose(modules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the modules to show: those that are not finite first, then the others in their order."""
    wrong = [one for one in modules if one["output"]["num_not_finite"]]
    return (wrong + [one for one in modules if one not in wrong])[:_MAX_ROWS]


def _describe_record(recorded: Mapping[str, Any]) -> str:
    if recorded.get("replayed") is None:
        loss = recorded.get("loss")
        return recorded["note"] if loss is None else f"loss {loss:.6g}; {recorded['note']}"
    word = "the same" if recorded["same"] else f"NOT the same, {recorded['difference']:.3g} apart"
    note = f" ({recorded['note']})" if recorded["note"] else ""
    return f"loss {recorded['loss']:.6g}, replayed {recorded['replayed']:.6g}{note}: {word}"


def _describe_tensor(described: Mapping[str, Any]) -> str:
    shape = "×".join(str(size) for size in described["shape"]) or "one value"
    words = f"{shape} {described['dtype']}"
    if "min" in described:
        words += f", {described['min']:.4g} … {described['max']:.4g}, mean {described['mean']:.4g}"
    wrong = described["num_not_finite"]
    return words + (f", {wrong:,} not finite" if wrong else "")
