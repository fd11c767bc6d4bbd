"""footplate import: bring runs that were recorded by another tool."""

from __future__ import annotations

from pathlib import Path

import click

from footplate.cli.output import EXIT_FAILED, EXIT_OK, json_option, print_json, print_text, say
from footplate.cli.profile_options import with_examples
from footplate.quantities import format_count

__all__ = ["command"]


@click.command("import")
@click.argument("source", type=click.Choice(["mlflow"]))
@click.argument("uri")
@click.option(
    "--experiment", "experiments", multiple=True, help="Name of an experiment; again for more.  [default: all]"
)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    help="Where the run directories are made.  [default: runs]",
)
@click.option("--artifacts", "with_artifacts", is_flag=True, help="Bring the artifacts too.")
@json_option
@with_examples(
    "footplate import mlflow http://tracking:5000", "footplate import mlflow sqlite:///mlflow.db --experiment wings"
)
def command(
    source: str, uri: str, experiments: tuple[str, ...], output_dir: Path, with_artifacts: bool, as_json: bool
) -> int:
    """Bring runs of MLflow here, as runs like all others.

    Each MLflow run at the tracking URI becomes a run directory with its parameters, all values of its metrics, its tags
    and how it ended. A run that is here already is left as it is, so that this can be typed again and again.
    """
    from footplate.runs.import_mlflow import count, import_mlflow

    imported = []
    for one in import_mlflow(uri, output_dir.resolve(), experiments=experiments, with_artifacts=with_artifacts):
        imported.append(one)
        if as_json:
            continue
        if one.run is None:
            say(f"{one.name}: not imported: {one.reason}")
        elif one.is_new:
            print_text(f"{one.run.id}  {one.name}")
    told = count(imported)
    if as_json:
        runs = [
            {
                "mlflow_id": one.mlflow_id,
                "name": one.name,
                "run_id": None if one.run is None else one.run.id,
                "is_new": one.is_new,
                "reason": one.reason,
            }
            for one in imported
        ]
        print_json({"source": source, **told, "runs": runs})
    else:
        left = f", {format_count(told['left'], 'run')} left out" if told["left"] else ""
        say(f"{format_count(told['new'], 'run')} imported, {told['known']} known already{left}")
        if told["new"]:
            say("next: footplate runs, footplate compare")
    return EXIT_FAILED if any(one.has_failed for one in imported) else EXIT_OK
