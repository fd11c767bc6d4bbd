"""The platform from Python: the same steps as the command line, in this process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from footplate.errors import NotFoundError
from footplate.profile.facts import Facts
from footplate.profile.model import Profile
from footplate.record.journal_reader import Point, read_metrics
from footplate.record.rundir import RunDir
from footplate.record.state import Status, get_status
from footplate.runs.compare import Comparison, compare
from footplate.runs.import_mlflow import Imported, import_mlflow
from footplate.runs.inspect import inspect
from footplate.runs.launch import Launched, follow, launch
from footplate.runs.measure import measure
from footplate.runs.plan import Measurement, Plan, plan
from footplate.runs.query import parse_query
from footplate.runs.replay import replay
from footplate.runs.resume import Code, resume
from footplate.runs.store import Store, StoredRun
from footplate.runs.summary import Summary, summarize
from footplate.runs.sync import Delivered, list_trackers, sync
from footplate.runs.table import select
from footplate.tracking.report.write import Format, write_report

__all__ = ["WAIT_LIMIT_S", "Client"]

WAIT_LIMIT_S = 7 * 24 * 3600.0
"""Longest wait for a run when no other is asked for: a week."""


class Client:
    """Inspects, plans, launches and observes trainings.

    >>> profile = load_profile("footplate.yaml", overrides=["training.max_epochs=3"])
    >>> client = Client()
    >>> plan = client.plan(profile, client.inspect(profile))   # runs nothing; print(plan) shows everything
    >>> run = client.launch(plan)                              # the only step with a side effect
    >>> client.wait(run).state, client.get_result(run)["metrics"]
    """

    def __init__(self) -> None:
        self._launched: dict[str, Launched] = {}

    def inspect(self, profile: Profile, *, timeout_s: float = 60.0) -> Facts:
        """Return what there is to know before planning: data, network, machine; bounded in time."""
        return inspect(profile, timeout_s=timeout_s)

    def measure(self, profile: Profile, *, timeout_s: float = 300.0) -> Measurement:
        """Run 50 real steps and return what they took; RunFailedError when they fail."""
        return measure(profile, timeout_s=timeout_s)

    def plan(self, profile: Profile, facts: Facts, *, name: str = "", allow: Sequence[str] = ()) -> Plan:
        """Return what would run. Pure: nothing is started, opened or asked."""
        return plan(profile, facts, name=name, allow=allow)

    def launch(self, plan: Plan) -> RunDir:
        """Start what the plan says, in the background, and return its run; PlanError when lint errors stop it."""
        plan.check()
        launched = launch(plan.job)
        self._launched[launched.run.id] = launched
        return launched.run

    def resume(self, run: RunDir, *, overrides: Sequence[str] = (), code: Code = "recorded") -> RunDir:
        """Go on with a run that has ended before its time, as a further attempt, in the background.

        InputError when it is alive or has succeeded; see `footplate.runs.resume`.
        """
        launched = resume(run, overrides=overrides, code=code)
        self._launched[run.id] = launched
        return launched.run

    def replay(self, run: RunDir, step: int) -> Mapping[str, Any]:
        """Do one step of a training again and return what was seen: batch, modules, gradients, loss."""
        return replay(run, step)

    def find(self, text: str) -> RunDir:
        """Return the run that a unique prefix of its id, or a path, means; NotFoundError names the candidates."""
        with Store() as store:
            return store.find(text)

    def list_runs(self, *, limit: int | None = None) -> Sequence[StoredRun]:
        """Return the runs, newest first."""
        with Store() as store:
            return store.list(limit=limit)

    def status(self, run: RunDir) -> Status:
        """Return the state of a run and how it is known."""
        return get_status(run)

    def wait(self, run: RunDir, *, timeout_s: float = WAIT_LIMIT_S) -> Status:
        """Wait until a run that this client launched has ended, and return its state.

        After ``timeout_s`` seconds the state is returned as it is then; the run goes on and can be waited for again.
        Ctrl-C is passed on to the run, which ends in good order.
        """
        launched = self._launched.get(run.id)
        if launched is None:
            raise NotFoundError(f"run {run.id} was not launched by this client", hint="ask for its status instead")
        return follow(launched, timeout_s=timeout_s)

    def get_logs(self, run: RunDir, *, attempt: int | None = None, rank: int = 0) -> str:
        """Return what a rank has printed in an attempt (the last one, when none is named)."""
        attempts = run.attempts()
        if not attempts:
            return ""
        path = (attempts[-1] if attempt is None else run.get_attempt(attempt)).log_path(rank)
        if not path.exists():
            raise NotFoundError(f"run {run.id} has no log of rank {rank} in attempt {attempt or attempts[-1].number}")
        return path.read_text(encoding="utf-8", errors="replace")

    def get_metrics(self, run: RunDir) -> Mapping[str, Sequence[Point]]:
        """Return the points of every metric, by step, over all attempts."""
        return read_metrics(run)

    def get_result(self, run: RunDir) -> Mapping[str, Any]:
        """Return what came out (`result.json`); NotFoundError when the run has not finished."""
        result: Mapping[str, Any] = run.read_json("result.json")
        return result

    def compare(self, runs: Sequence[RunDir]) -> Comparison:
        """Return what differs between runs: result, profile, code, data, environment."""
        return compare(runs)

    def query(self, where: str, *, sort: str = "", descending: bool = False) -> Sequence[Summary]:
        """Return the runs that meet a condition, such as ``metrics.val/loss < 0.1 and state = succeeded``."""
        with Store() as store:
            runs = [RunDir(path=stored.path) for stored in store.list() if stored.exists]
        condition = parse_query(where, now=time.time())
        return select([summarize(run) for run in runs], condition, sort=sort, descending=descending).summaries

    def import_mlflow(
        self, uri: str, *, experiments: Sequence[str] = (), output_dir: Path | None = None, with_artifacts: bool = False
    ) -> Sequence[Imported]:
        """Bring runs of MLflow here, as run directories; those that are here already are left as they are."""
        folder = output_dir or Path("runs")
        return list(import_mlflow(uri, folder.resolve(), experiments=experiments, with_artifacts=with_artifacts))

    def report(self, run: RunDir, *, form: Format = "markdown", path: Path | None = None) -> Path:
        """Write the page about a run anew, as markdown, HTML or PDF, and return its path."""
        return write_report(run, form=form, path=path)

    def list_trackers(self, run: RunDir) -> Sequence[Delivered]:
        """Return what each tracker of a run has been told by now, and where it can be seen."""
        return list_trackers(run)

    def sync(self, run: RunDir, *, timeout_s: float = 3600.0) -> Sequence[Delivered]:
        """Tell the trackers of a run what they have not been told yet; ``error`` says what could not be told.

        RunFailedError when it takes longer than ``timeout_s`` seconds.
        """
        return sync(run, timeout_s=timeout_s)
