"""Proves that a training survives being killed: trains it whole, trains it with kills, and compares every bit."""

from __future__ import annotations

import json
import random
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from footplate.errors import InputError, RunFailedError
from footplate.profile.load import load_profile_text
from footplate.profile.model import Profile
from footplate.quantities import format_count
from footplate.record.checkpoints import get_folder, list_checkpoints
from footplate.record.clock import parse_utc
from footplate.record.journal_reader import Entry, read_journal, read_metrics
from footplate.record.receipt import find_receipt
from footplate.record.rundir import Attempt, RunDir
from footplate.record.state import RunState, Status
from footplate.runs.compare_states import StateDifference, find_difference
from footplate.runs.inspect import inspect
from footplate.runs.interval import get_checkpoint_interval
from footplate.runs.launch import JobSpec, follow, launch
from footplate.runs.measure import measure
from footplate.runs.plan import Plan, plan
from footplate.runs.resume import resume
from footplate.runs.store import Store

__all__ = ["EXPERIMENT", "DrillResult", "Kill", "choose_course", "drill"]

EXPERIMENT = "drill"
_VARIABLE = "FOOTPLATE_DRILL"
_SIGNALS = ("SIGKILL", "SIGUSR1")
_TRAIN_S = 15.0
"""About so long one training of the drill takes, starts not counted, when no number of steps is given."""
_MIN_STEPS = 8
_MIN_KILLS = 2
_SHOWN_LINES = 8
_NUM_CHECKPOINTS = 8
_LEAD_FACTOR = 3.0
"""The machine may be slower, and the state larger, when a preemption comes than it was here."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One interruption, and how the training went on after it."""

    step: int
    """Optimiser steps done when the signal was sent."""
    signal: str
    """``SIGKILL``, or ``SIGUSR1``: the preemption."""
    resumed_from: int
    """The step that the next attempt went on from; 0 = it began anew."""
    ended_after_s: float | None
    """From the preemption to the end of the attempt, in seconds; None for SIGKILL."""


@dataclass(frozen=True, kw_only=True)
class DrillResult:
    """What the drill has shown."""

    steps: int
    seed: int
    """Of the steps at which it was killed."""
    kills: tuple[Kill, ...]
    difference: StateDifference | None
    """The first tensor that is not the same; None: every bit is."""
    compared: tuple[str, ...]
    """What was compared."""
    step_s: float
    """Time of one step, in seconds."""
    checkpoint_stall_s: float | None
    """What one checkpoint costs the training, in seconds (median); None when the journal does not tell."""
    checkpoint_write_s: float | None
    """How long one checkpoint takes until it is on the disk, in seconds (median)."""
    checkpoint_bytes: int | None
    advised_interval_s: float | None
    """Time between two checkpoints that loses least, in seconds."""
    mean_time_between_failures_s: float
    lead_time_s: float | None
    """How long before the end of an allocation the preemption signal must come, in seconds, with a reserve."""
    runs: tuple[str, ...]
    """Ids of the two runs, when they are kept."""

    @property
    def reason(self) -> str:
        """Return what the place of the difference tells about its reason."""
        if self.difference is None:
            return ""
        # What was done up to there was done without any checkpoint: anew, or before the first kill.
        first = next((kill.resumed_from for kill in self.kills if kill.resumed_from), self.steps)
        if self.difference.step <= first:
            return (
                f"it differs before anything was resumed (from step {first:,} on): the training cannot be repeated at "
                "all, killed or not; a clock, a generator that is not seeded, or reproducibility.deterministic: false?"
            )
        return "something that the training depends on is not in the checkpoint: an own generator, a counter, a cache?"

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return self.difference is None

    @property
    def advised_steps(self) -> int | None:
        """Return the advised interval in steps, at least 1."""
        if self.advised_interval_s is None or self.step_s <= 0:
            return None
        return max(1, round(self.advised_interval_s / self.step_s))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; the keys are stable."""
        value = asdict(self) | {
            "equal": self.equal,
            "reason": self.reason,
            "advised_interval_steps": self.advised_steps,
        }
        value["difference"] = None if self.difference is None else self.difference.to_json()
        return value | {"kills": [asdict(kill) for kill in self.kills], "compared": list(self.compared)}


def drill(
    profile: Profile,
    *,
    num_steps: int | None = None,
    num_kills: int = 3,
    seed: int | None = None,
    mean_time_between_failures_s: float = 86_400.0,
    keep: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> DrillResult:
    """Train a profile whole and again with kills at random steps, and compare weights, optimiser and generators.

    The training is shortened to ``num_steps`` optimiser steps, by default so many that each of the two takes about a
    quarter of a minute. ``seed`` chooses the steps. Unless ``keep``, both runs are removed. InputError when the profile
    has code of its own, RunFailedError when a training ends otherwise than it was made to.
    """
    if profile.entrypoint.is_set:
        raise InputError("only the built-in training can be drilled", hint="leave entrypoint out of the profile")
    if num_kills < _MIN_KILLS:
        raise InputError("a drill needs at least two kills: the second resume is where others fail")
    seed = random.SystemRandom().randrange(10_000) if seed is None else seed
    planned = plan(profile, inspect(profile))
    planned.check()
    num_steps = _choose_length(planned, num_steps, num_kills)
    course = choose_course(num_steps, num_kills, seed)
    tell(f"seed {seed}: {', '.join(f'{name} at step {step:,}' for step, name in course)}")
    job = replace(_shorten(planned, num_steps).job, experiment=EXPERIMENT, restart=None, sidecar_interval_s=None)
    with _removed_at_the_end(keep=keep) as made:
        whole = _train_whole(job, num_steps, made, tell)
        killed, kills = _train_with_kills(job, course, made, tell)
        tell("comparing")
        stops = [kill.resumed_from for kill in kills if kill.signal == "SIGUSR1"]
        compared, difference = find_difference(whole, killed, without=stops)
        costs = {name: _find_median(whole, f"checkpoint/{name}") for name in ("stall_s", "write_s", "bytes")}
        result = whole.read_json("result.json")
    waits = [kill.ended_after_s for kill in kills if kill.ended_after_s is not None]
    stall_s = costs["stall_s"]
    return DrillResult(
        steps=num_steps,
        seed=seed,
        kills=tuple(kills),
        difference=difference,
        compared=compared,
        step_s=float(result["train_s"]) / num_steps,
        checkpoint_stall_s=stall_s,
        checkpoint_write_s=costs["write_s"],
        checkpoint_bytes=None if costs["bytes"] is None else int(costs["bytes"]),
        advised_interval_s=None if stall_s is None else get_checkpoint_interval(stall_s, mean_time_between_failures_s),
        mean_time_between_failures_s=mean_time_between_failures_s,
        lead_time_s=max(waits) * _LEAD_FACTOR if waits else None,
        runs=(whole.id, killed.id) if keep else (),
    )


def choose_course(num_steps: int, num_kills: int, seed: int) -> tuple[tuple[int, str], ...]:
    """Return at which steps the training is killed, and by which signal: each comes at least once."""
    # Several processes need some steps to agree on a stop: none comes just before the end.
    last = max(num_kills + 1, num_steps - num_steps // 10)
    # The first one comes when there is a checkpoint to go on from, where the training is long enough for that.
    first = min(_get_interval(num_steps) + 2, last - num_kills)
    steps = sorted(random.Random(seed).sample(range(first, last), num_kills))  # no secret
    return tuple((step, _SIGNALS[number % len(_SIGNALS)]) for number, step in enumerate(steps))


def _choose_length(planned: Plan, asked: int | None, num_kills: int) -> int:
    """Return the number of steps, which is a whole number of checkpoint intervals."""
    total = planned.horizon.total_steps if planned.horizon is not None else 0
    least = max(_MIN_STEPS, num_kills + 1)
    if asked is not None:
        if not least <= asked <= total:
            raise InputError(
                f"--steps {asked}: this training has {format_count(total, 'step')}, a drill needs {least} or more"
            )
        return asked
    if total < least:
        raise InputError(f"a training of {format_count(total, 'step')} is too short for a drill of {least}")
    wanted = int(_TRAIN_S / max(measure(planned.profile).step_s, 1e-6))
    return max(least, min(wanted, total))


def _shorten(planned: Plan, num_steps: int) -> Plan:
    """Return the plan of a training of so many steps that saves so often that kills find something to go on from."""
    profile, every = planned.profile, _get_interval(num_steps)
    overrides = {
        "training.max_steps": num_steps,
        "training.save_frequency": every,
        "training.checkpointing.enabled": True,
        "training.checkpointing.frequency": every,
        "training.checkpointing.keep_last_n": num_steps,
        "training.checkpointing.save_optimizer_state": True,
        "training.checkpointing.save_best_only": False,
        "fault_tolerance.resume_from_checkpoint": True,
        "fault_tolerance.checkpoint_path": None,
        "post_training.final_evaluation.enabled": False,
        "post_training.report.enabled": False,
    }
    words = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    short = load_profile_text(profile.to_yaml(), name=profile.file, base_dir=profile.base_dir, overrides=words)
    codes = {finding.code for finding in planned.findings}
    return plan(short, planned.facts, name=f"{planned.name}-drill", allow=sorted(codes))


def _get_interval(num_steps: int) -> int:
    """Return the steps between two checkpoints."""
    return max(1, num_steps // _NUM_CHECKPOINTS)


@contextmanager
def _removed_at_the_end(*, keep: bool) -> Iterator[list[RunDir]]:
    made: list[RunDir] = []
    try:
        yield made
    finally:
        for run in () if keep else made:
            shutil.rmtree(run.path, ignore_errors=True)
            with Store() as store:
                store.remove(run.id)


def _train_whole(job: JobSpec, num_steps: int, made: list[RunDir], tell: Callable[[str], None]) -> RunDir:
    tell(f"training {format_count(num_steps, 'step')} without an interruption")
    launched = launch(job)
    made.append(launched.run)
    status = follow(launched)
    _check_end(launched.run, status, RunState.succeeded)
    done = int(launched.run.read_json("result.json")["steps"])
    if done != num_steps:
        raise RunFailedError(
            f"the training ended after {format_count(done, 'step')} of {num_steps:,}: early stopping?",
            hint=f"drill it with --steps {done}",
        )
    return launched.run


def _train_with_kills(
    job: JobSpec, course: Sequence[tuple[int, str]], made: list[RunDir], tell: Callable[[str], None]
) -> tuple[RunDir, list[Kill]]:
    """Train it again, killed in each attempt but the last; return the run and what happened."""
    launched = launch(replace(job, env={**job.env, _VARIABLE: _make_order(*course[0])}))
    made.append(launched.run)
    kills = []
    step = course[0][0]
    for number, (_, name) in enumerate(course, start=1):
        status = follow(launched)
        ended = launched
        if status.state is RunState.cancelled:
            raise KeyboardInterrupt
        moment = _find_event(ended.attempt, "drill")
        if status.state is RunState.succeeded:
            raise RunFailedError(
                f"the training had ended before it was stopped by {name} at step {step:,}",
                hint="drill it over more steps, or with another --seed",
            )
        if moment is None:
            _check_end(launched.run, status, None)
        killed_at, following = step, ""
        if number < len(course):
            # Several processes need some steps to agree on a stop: it may have come later than it was sent.
            reached = max((one.step for one in list_checkpoints(get_folder(launched.run))), default=0)
            step = max(course[number][0], reached + 1)
            following = _make_order(step, course[number][1])
        launched = resume(launched.run, env={_VARIABLE: following})
        waited = None if name == "SIGKILL" or moment is None else _get_wait(ended.attempt, moment)
        tell(f"killed by {name} at step {killed_at:,}: {launched.notes[0]}")
        kills.append((Kill(step=killed_at, signal=name, resumed_from=0, ended_after_s=waited), launched.attempt))
    status = follow(launched)
    _check_end(launched.run, status, RunState.succeeded)
    found = []
    for kill, attempt in kills:
        event = _find_event(attempt, "resume")
        found.append(kill if event is None else replace(kill, resumed_from=int(event.data["step"])))
    return launched.run, found


def _make_order(step: int, name: str) -> str:
    return f"{name}@{step}"


def _check_end(run: RunDir, status: Status, wanted: RunState | None) -> None:
    """Raise a RunFailedError with the last lines of the log when a training ended otherwise than it was made to."""
    if status.state is RunState.cancelled:
        raise KeyboardInterrupt
    if status.state is wanted:
        return
    path = run.get_attempt(status.attempt).log_path()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:] if path.exists() else []
    told = f"attempt {status.attempt} {status.state}: {'; '.join(status.evidence)}"
    raise RunFailedError("\n".join([f"the drill cannot go on: {told}", *(f"  {line}" for line in lines)]))


def _find_event(attempt: Attempt, name: str) -> Entry | None:
    for entry in read_journal(attempt.journal_path()):
        if entry.kind == "event" and entry.data.get("name") == name:
            return entry
    return None


def _get_wait(attempt: Attempt, moment: Entry) -> float | None:
    receipt = find_receipt(attempt)
    if receipt is None or receipt.ended_at is None:
        return None
    return max(0.0, parse_utc(receipt.ended_at).timestamp() - moment.time)


def _find_median(run: RunDir, name: str) -> float | None:
    points = read_metrics(run).get(name)
    return statistics.median(point.value for point in points) if points else None
