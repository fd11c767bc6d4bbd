"""Brings runs of MLflow here: each becomes a run directory like all others, once, however often it is asked for."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from base64 import b32encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import footplate
from footplate.errors import FootplateError, InputError, MissingExtraError, RecordError, RunFailedError
from footplate.record.artifacts import write_artifacts
from footplate.record.cause import Cause
from footplate.record.journal import format_entry
from footplate.record.receipt import make_receipt, write_receipt
from footplate.record.run_info import RunInfo, write_run_info
from footplate.record.rundir import RunDir, make_id
from footplate.runs.store import Store

__all__ = ["ORIGIN", "Imported", "count", "import_mlflow"]

ORIGIN = "imported.json"
"""In the run directory: where the run comes from."""
_ENDED = {"FINISHED": 0, "FAILED": 1, "KILLED": 130}
_PAGE = 500
_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What has become of one MLflow run."""

    mlflow_id: str
    name: str
    run: RunDir | None
    """None where it was not imported."""
    is_new: bool
    """False: it is here already, or was not imported."""
    reason: str = ""
    """Why it was not imported."""
    has_failed: bool = False
    """Whether that is a failure; a run that goes on is none."""


def import_mlflow(
    uri: str, output_dir: Path, *, experiments: Sequence[str] = (), with_artifacts: bool = False
) -> Iterator[Imported]:
    """Yield what becomes of each run of these experiments, of all when none is named, as it is done.

    Parameters, the whole history of metrics with their times, tags, state and, when asked for, artifacts. A run that
    goes on is left for later, one that Footplate has told MLflow itself is left where it is. Raises InputError for an
    experiment that is not there, RunFailedError when MLflow does not answer, RecordError when nothing can be written.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    with _limits(), Store() as store:
        client = _connect(uri)
        for found, experiment in _list_runs(client, uri, experiments):
            yield _import_one(client, found, experiment, uri, output_dir, store, with_artifacts=with_artifacts)


@contextmanager
def _limits() -> Iterator[None]:
    """Let each call of MLflow end in time; it would else wait for a quarter of an hour."""
    new = {name: value for name, value in _LIMITS.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _connect(uri: str) -> Any:
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "mlflow", "mlflow") from error
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise InputError(f"there is no file {uri.removeprefix('sqlite:///')}", hint="MLflow would make an empty one")
    return mlflow.MlflowClient(tracking_uri=uri)


def _list_runs(client: Any, uri: str, names: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """Yield each MLflow run with the name of its experiment, the oldest of each first."""
    with _asking(uri):
        known = {one.name: one.experiment_id for one in _page(client.search_experiments)}
    if missing := [name for name in names if name not in known]:
        raise InputError(
            f"{_hide(uri)} has no experiment {', '.join(missing)}", hint=f"it has {', '.join(sorted(known)[:10])}"
        )
    for name in names or sorted(known):
        with _asking(uri):
            runs = list(_page(client.search_runs, [known[name]], order_by=["attributes.start_time ASC"]))
        yield from ((one, name) for one in runs)


@contextmanager
def _asking(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever MLflow's client raises
        raise RunFailedError(f"{_hide(uri)} does not answer: {_shorten(error)}") from error


def _page(search: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
    token = None
    while True:
        found = search(*arguments, max_results=_PAGE, page_token=token, **options)
        yield from found
        token = found.token
        if not token:
            return


def _import_one(
    client: Any, found: Any, experiment: str, uri: str, output_dir: Path, store: Store, *, with_artifacts: bool
) -> Imported:
    info, tags = found.info, found.data.tags
    told = Imported(mlflow_id=info.run_id, name=info.run_name or info.run_id, run=None, is_new=False)
    if info.status not in _ENDED:
        return replace(told, reason=f"it is {info.status.lower()}: import it when it has ended")
    if ours := tags.get("footplate.run_id"):
        with suppress(FootplateError):
            return replace(told, run=store.find(ours))
    run = RunDir(path=output_dir / make_id(told.name, _make_tail(info.run_id)))
    if run.path.exists():
        return replace(told, run=run)
    half_made = RunDir(path=output_dir / f".importing-{run.id}")
    shutil.rmtree(half_made.path, ignore_errors=True)
    try:
        described = _describe(run, found, experiment)
        _write(half_made, client, found, described)
        origin = {"from": "mlflow", "uri": _hide(uri), "run_id": info.run_id, "experiment": experiment}
        half_made.write_json(ORIGIN, {**origin, "tags": dict(tags)})
        if with_artifacts:
            client.download_artifacts(info.run_id, "", str(half_made.artifacts))
        write_artifacts(half_made)
        os.rename(half_made.path, run.path)
    except OSError as error:
        raise RecordError(f"{error.filename or run.path}: cannot be written: {error.strerror}") from error
    except FootplateError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever MLflow's client raises: the others are imported all the same
        return replace(told, reason=_shorten(error), has_failed=True)
    finally:
        shutil.rmtree(half_made.path, ignore_errors=True)
    store.add(run, described)
    return replace(told, run=run, is_new=True)


def _describe(run: RunDir, found: Any, experiment: str) -> RunInfo:
    tags = found.data.tags
    return RunInfo(
        id=run.id,
        name=found.info.run_name or found.info.run_id,
        kind="exec",
        created_at=_to_text(found.info.start_time),
        argv=(tags.get("mlflow.source.name") or "mlflow",),
        cwd=str(run.path.parent),
        host=tags.get("footplate.host", ""),
        user=tags.get("mlflow.user", ""),
        version=footplate.__version__,
        experiment=experiment,
    )


def _write(run: RunDir, client: Any, found: Any, described: RunInfo) -> None:
    info = found.info
    run.artifacts.mkdir(parents=True)
    write_run_info(run, described)
    attempt = run.new_attempt()
    started, ended = info.start_time, info.end_time or info.start_time
    receipt = replace(
        make_receipt(run, attempt.number),
        run_id=described.id,
        host=described.host or "mlflow",
        started_at=_to_text(started),
        heartbeat_at=_to_text(ended),
        ended_at=_to_text(ended),
        exit_code=_ENDED[info.status],
        cancelled=info.status == "KILLED",
        cause=Cause.user_error if info.status == "FAILED" else None,
        evidence=f"MLflow says {info.status}",
    )
    write_receipt(attempt, receipt)
    with attempt.journal_path().open("wb") as journal:
        if found.data.params:
            journal.write(format_entry("params", {"values": dict(found.data.params)}, at=started / 1000))
        for (time_ms, step), values in _gather_metrics(client, found):
            journal.write(format_entry("metrics", {"step": step, "values": values}, at=time_ms / 1000))
    attempt.log_path().touch()
    run.write_json("result.json", {"metrics": dict(found.data.metrics)})


def _gather_metrics(client: Any, found: Any) -> list[tuple[tuple[int, int], dict[str, float]]]:
    """Return the values of each moment and step, in the order of their times."""
    rows: dict[tuple[int, int], dict[str, float]] = {}
    for name in found.data.metrics:
        for point in client.get_metric_history(found.info.run_id, name):
            rows.setdefault((point.timestamp, point.step), {})[name] = point.value
    return sorted(rows.items())


def _make_tail(mlflow_id: str) -> str:
    """Return what is the same each time: an import that is repeated finds what is here."""
    return b32encode(hashlib.sha256(mlflow_id.encode()).digest()).decode().lower()[:6]


def _to_text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _hide(uri: str) -> str:
    """Return a URI as it may be shown and written down."""
    return re.sub(r"://[^/@]*@", "://***@", uri)


def _shorten(error: Exception) -> str:
    return f"{type(error).__name__}: {_hide(str(error)).strip().partition(chr(10))[0][:300]}"


def count(imported: Sequence[Imported]) -> Mapping[str, int]:
    """Return how many were imported, were here already, and were left."""
    return {
        "new": sum(one.is_new for one in imported),
        "known": sum(one.run is not None and not one.is_new for one in imported),
        "left": sum(one.run is None for one in imported),
    }
