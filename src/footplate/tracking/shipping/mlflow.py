"""MLflow: one MLflow run for each run, over all its attempts, on any tracking URI.

MLflow takes a value of the same name, step, time and number once, so that a batch may be told twice. Sources: MLflow's
REST API reference ("Request limits"), ``mlflow.utils.validation``.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from footplate.record.clock import parse_utc
from footplate.record.journal_reader import read_events
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, Status, get_status
from footplate.tracking.params import read_params
from footplate.tracking.shipping.shipper import Context, Record

__all__ = ["MLflowShipper", "find_experiment"]

_MAX_METRICS, _MAX_PARAMS = 1000, 100
_AT_ONCE = 2
_MAX_PARAM, _MAX_TAG, _MAX_KEY = 6000, 5000, 250
_MAX_STEP = 1 << 63
_MAX_ARTIFACT_BYTES = 2_000_000_000
_STATUS = {
    RunState.queued: "SCHEDULED",
    RunState.starting: "RUNNING",
    RunState.running: "RUNNING",
    RunState.succeeded: "FINISHED",
    RunState.failed: "FAILED",
    RunState.cancelled: "KILLED",
    RunState.lost: "FAILED",
    RunState.unknown: "RUNNING",
}
_UNSAID = re.compile(r"[^\w./: -]")
"""What MLflow takes in no name."""
_SET_EXPERIMENT = re.compile(r"\bset_experiment\(\s*(?:experiment_name\s*=\s*)?([\"'])([^\"']+)\1")
_MAX_SOURCE_BYTES = 1_000_000
_RUN_TAG = "footplate.run_id"
_PAGES = (
    "report.md",
    "report.html",
    "report.pdf",
    "profile.yaml",
    "plan.json",
    "result.json",
    "data.json",
    "env.json",
    "provenance.json",
)
_IMPORT_LOCK = threading.Lock()
# A call of MLflow would else wait for seven times two minutes.
_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # an address may have a password in it
}


class MLflowShipper:
    """Tells MLflow the parameters, metrics, tags and artifacts of one run."""

    forgets_rewound: ClassVar[bool] = False

    def __init__(self) -> None:
        self._client: Any = None
        self._entities: Any = None
        self._context: Context | None = None
        self._id = ""
        self._environment: dict[str, str] = {}
        self._said: set[str] = set()

    def open(self, context: Context) -> str:
        """Make the MLflow run, or find it again by the run's id, and tell it the parameters."""
        mlflow = _import_mlflow()
        self._entities = mlflow.entities
        uri = _find_uri(context)
        self._client, self._context = mlflow.MlflowClient(tracking_uri=uri), context
        memory, place = context.memory, _hide_password(uri)
        if memory.get("place") != place:
            memory.clear()
        experiment_id = memory.get("experiment_id") or self._find_experiment_id(context)
        self._id = memory.get("run_id") or self._find_run(experiment_id, context) or self._make_run(experiment_id)
        memory.update(place=place, experiment_id=experiment_id, run_id=self._id)
        self._environment = {
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_EXPERIMENT_ID": experiment_id,
            "MLFLOW_RUN_ID": self._id,
        }
        if not get_status(context.run).state.is_final:
            self._client.update_run(self._id, status="RUNNING")  # a resume goes on with a run that had ended
        self._tell_params(read_params(context.run))
        if uri.startswith("http"):
            return f"{place.rstrip('/')}/#/experiments/{experiment_id}/runs/{self._id}"
        return f"mlflow ui --backend-store-uri {place}"

    def get_environment(self) -> Mapping[str, str]:
        """Return what lets MLflow calls of a job land in this MLflow run."""
        return self._environment

    def ship(self, records: Sequence[Record]) -> None:
        """Tell metrics with the journal's own times, at most a thousand a request; parameters of the user's own too."""
        metrics = list(self._list_metrics(records))
        pieces = [metrics[start : start + _MAX_METRICS] for start in range(0, len(metrics), _MAX_METRICS)]
        # One is made ready while another is stored; a store in a file takes one writer.
        is_server = self._environment["MLFLOW_TRACKING_URI"].startswith("http")
        with ThreadPoolExecutor(_AT_ONCE if is_server else 1) as pool:
            list(pool.map(self._tell_metrics, pieces))
        for record in records:
            if record.entry.kind == "params":
                self._tell_params(record.entry.data["values"])
            elif record.entry.kind == "table":
                name, step = record.entry.data["name"], record.entry.data["step"]
                self._client.log_dict(self._id, record.entry.data["value"], f"tables/{_clean(name)}-{step}.json")

    def close(self, status: Status | None) -> None:
        """Tell state and cause, the artifacts, and how the run has ended."""
        if status is None or self._context is None:
            return
        run = self._context.run
        tags = {"footplate.state": str(status.state), "footplate.cause": str(status.cause or "")}
        tags |= {
            "footplate.attempts": str(status.attempt),
            "footplate.evidence": self._context.clean_text("; ".join(status.evidence)),
        }
        self._set_tags(tags)
        for path, folder in _list_files(run):
            if path.stat().st_size > _MAX_ARTIFACT_BYTES:
                self._say(f"{path} is larger than {_MAX_ARTIFACT_BYTES:,} bytes: it stays in the run directory only")
                continue
            self._client.log_artifact(self._id, str(self._context.clean_file(path)), folder or None)
        if events := read_events(run):
            lines = [json.dumps({"t": one.time, **one.data}, ensure_ascii=False) for one in events]
            self._client.log_text(self._id, "\n".join(lines) + "\n", "events.jsonl")
        ended = status.ended_at or status.last_seen_at
        end_time = int(parse_utc(ended).timestamp() * 1000) if ended else None
        self._client.set_terminated(self._id, _STATUS[status.state], end_time=end_time)

    def _tell_metrics(self, metrics: Sequence[Any]) -> None:
        """Tell metrics; of those that MLflow refuses all but the very ones, so that no name holds up the others."""
        try:
            self._client.log_batch(self._id, metrics=metrics, synchronous=True)
        except Exception as error:
            # An answer that is not MLflow's own, such as a proxy's, refuses no value.
            is_own = hasattr(error, "json") or not self._environment["MLFLOW_TRACKING_URI"].startswith("http")
            if getattr(error, "error_code", "") != "INVALID_PARAMETER_VALUE" or not is_own:
                raise
            if len(metrics) == 1:
                self._say(f"MLflow refuses the metric {metrics[0].key!r}: {error}")
                return
            self._tell_metrics(metrics[: len(metrics) // 2])
            self._tell_metrics(metrics[len(metrics) // 2 :])

    def _cut(self, name: str, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        self._say(f"{name} has {len(text):,} characters: MLflow is told the first {limit:,}")
        return text[:limit]

    def _say(self, text: str) -> None:
        """Write a line to the log, once."""
        if text not in self._said and self._context is not None:
            self._said.add(text)
            self._context.note(text.partition("\n")[0][:500])

    def _find_experiment_id(self, context: Context) -> str:
        """Return the id of the experiment, which is made when it is not there."""
        if (given := os.environ.get("MLFLOW_EXPERIMENT_ID")) and not context.settings.get("experiment_name"):
            return given
        name = find_experiment(context)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except Exception:
            found = self._client.get_experiment_by_name(name)  # another run may have made it meanwhile
            if found is None:
                raise
            return str(found.experiment_id)

    def _find_run(self, experiment_id: str, context: Context) -> str:
        """Return the MLflow run that an earlier process made and could not write down; empty when there is none."""
        found = self._client.search_runs([experiment_id], f"tags.`{_RUN_TAG}` = '{context.info.id}'", max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _make_run(self, experiment_id: str) -> str:
        assert self._context is not None
        info = self._context.info
        code = self._context.run.find_json("code.json") or {}
        place = self._context.clean_text(str(self._context.run.path))
        tags = {
            "mlflow.source.name": " ".join(info.argv).replace("{run_dir}", place),
            "mlflow.source.type": "LOCAL",
            "mlflow.user": info.user,
            "mlflow.source.git.commit": code.get("git_commit", ""),
            _RUN_TAG: info.id,
            "footplate.run_dir": place,
            "footplate.host": info.host,
            "footplate.version": info.version,
            "footplate.code": code.get("tree_hash", ""),
            "footplate.parent": info.parent,
        }
        started = int(parse_utc(info.created_at).timestamp() * 1000)
        told = {name: text[:_MAX_TAG] for name, text in tags.items() if text}
        made = self._client.create_run(experiment_id, start_time=started, tags=told, run_name=info.id)
        return str(made.info.run_id)

    def _tell_params(self, values: Mapping[str, object]) -> None:
        """Tell parameters; one that a resume has changed becomes a tag, for MLflow changes none."""
        assert self._context is not None
        told: dict[str, str] = self._context.memory.setdefault("params", {})
        wanted = {_clean(name): self._cut(name, str(value), _MAX_PARAM) for name, value in values.items()}
        new = {name: value for name, value in wanted.items() if name not in told}
        changed = {f"param.{name}": value for name, value in wanted.items() if told.get(name, value) != value}
        there = self._client.get_run(self._id).data.params if new else {}  # an earlier process may have told them
        params = [self._entities.Param(name, value) for name, value in new.items() if name not in there]
        for start in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(self._id, params=params[start : start + _MAX_PARAMS], synchronous=True)
        self._set_tags(changed)
        told.update(new)

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        told = [self._entities.RunTag(name, self._cut(name, text, _MAX_TAG)) for name, text in tags.items() if text]
        if told:
            self._client.log_batch(self._id, tags=told, synchronous=True)

    def _list_metrics(self, records: Sequence[Record]) -> Iterator[Any]:
        for record in records:
            if record.entry.kind == "metrics":
                time_ms, step = int(record.entry.time * 1000), int(record.entry.data["step"])
                if not -_MAX_STEP <= step < _MAX_STEP:
                    self._say(f"step {step} has more than 64 bits: MLflow is not told of it")
                    continue
                for name, value in record.entry.data["values"].items():
                    yield self._entities.Metric(_clean(name), value, time_ms, step)


def find_experiment(context: Context) -> str:
    """Return the name of the experiment: the profile's, the command line's, else what your own code asks MLflow for.

    MLflow refuses a script that sets another experiment than that of the run it is told to use.
    """
    for name in (
        context.settings.get("experiment_name"),
        context.info.experiment,
        os.environ.get("MLFLOW_EXPERIMENT_NAME"),
    ):
        if name:
            return str(name)
    code = (context.run.find_json("code.json") or {}) if context.info.kind == "exec" else {}
    for path, size, _ in code.get("files", ()):
        if path.endswith(".py") and size <= _MAX_SOURCE_BYTES:
            try:
                text = Path(code["root"], path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if match := _SET_EXPERIMENT.search(text):
                return match[2]
    return "Default"


def _import_mlflow() -> Any:
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)
    with _IMPORT_LOCK:
        for name in ("alembic", "sqlalchemy"):  # a store in a file needs them: told before anything is made
            import_module(name)
        return import_module("mlflow")


def _find_uri(context: Context) -> str:
    """Return the tracking URI; by default a file in the directory that the run was started in, as MLflow's own is."""
    uri = str(context.settings.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or "")
    if not uri:
        uri = "sqlite:///mlflow.db"
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        uri = f"sqlite:///{Path(context.cwd, uri.removeprefix('sqlite:///'))}"
    return uri


def _clean(name: str) -> str:
    """Return a name as MLflow takes it; one that had to be changed ends in a hash, so that no two become one."""
    normal = posixpath.normpath(_UNSAID.sub("_", name)).lstrip("/")
    if normal.startswith("."):
        normal = f"_{normal}"
    if normal == name and len(name) <= _MAX_KEY:
        return name
    return f"{normal[: _MAX_KEY - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _hide_password(uri: str) -> str:
    """Return a tracking URI as it may be shown and written down."""
    return re.sub(r"://([^/@:]*):[^/@]*@", r"://\1:***@", uri)


def _list_files(run: RunDir) -> Iterator[tuple[Path, str]]:
    """Yield each file that MLflow is given, and the folder it is put in."""
    for name in _PAGES:
        if (run.path / name).is_file():
            yield run.path / name, ""
    for attempt in run.attempts():
        for log in sorted(attempt.path.glob("log.*.txt")):
            yield log, f"attempts/{attempt.number}"
    for one in run.find_json("artifacts.json") or ():
        path = run.artifacts / one["path"]
        if path.is_file():
            yield path, str(Path("artifacts", one["path"]).parent)
