"""Starts a run and follows it: the only place with the side effect of running something."""

from __future__ import annotations

import difflib
import getpass
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import footplate
from footplate.errors import CommandError, FootplateError, InputError, RecordError
from footplate.quantities import format_count, format_size
from footplate.record.clock import get_utc_text
from footplate.record.environment import capture_environment
from footplate.record.journal_reader import Entry
from footplate.record.process import get_host
from footplate.record.receipt import find_receipt, make_receipt, write_receipt
from footplate.record.redact import Redactor
from footplate.record.restart import RestartPolicy
from footplate.record.run_info import RunInfo, write_run_info
from footplate.record.rundir import Attempt, RunDir
from footplate.record.snapshot import Snapshot, take_snapshot
from footplate.record.state import Status, get_status
from footplate.runs.start import EarlySignals, record_failure
from footplate.runs.store import Store
from footplate.runs.tail import JournalTail, LogTail

__all__ = [
    "RUN_DIR_TOKEN",
    "JobSpec",
    "Launched",
    "PlaceCode",
    "PlacedCode",
    "check_command",
    "follow",
    "get_environment",
    "launch",
    "make_shipping",
    "take_code",
]

RUN_DIR_TOKEN = "{run_dir}"  # noqa: S105  # an argument of this name becomes the path of the run directory

_FIRST_POLL_S = 0.02
_LAST_POLL_S = 0.2
_END_LIMIT_S = 60.0  # after the receipt has its end, the wrapper has this long to leave
_BACKGROUND_LIMIT_S = 30.0
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What is to be run, before it has a run directory."""

    name: str
    kind: Literal["train", "exec"]
    argv: tuple[str, ...]
    cwd: Path
    output_dir: Path
    """The directory in which the run directory is made."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's environment; ``${env:NAME}`` and ``${file:PATH}`` are resolved at launch, in memory."""
    experiment: str = ""
    parent: str = ""
    """The id of the run that this one repeats."""
    profile_yaml: str = ""
    plan: Mapping[str, object] = field(default_factory=dict)
    sidecar_interval_s: float | None = 10.0
    """Seconds between two looks at the machine; None for none."""
    sampler_without: tuple[str, ...] = ()
    redact: Mapping[str, object] = field(default_factory=dict)
    """What personal data are found by, which are then taken out of all that is written; empty: nothing is."""
    trackers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Trackers that the run is shipped to: name → settings; secrets are references."""
    heartbeat_s: float = 5.0
    stop_grace_s: float = 30.0
    """How long the command may take to end after it was asked to."""
    num_processes: int = 1
    """Processes that it trains in."""
    restart: RestartPolicy | None = None
    """After what the wrapper starts it again; None: never."""
    resume_args: tuple[str, ...] = ()
    """Added to the command of every attempt after the first."""


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A run that was started by this process."""

    run: RunDir
    attempt: Attempt
    process: subprocess.Popen[bytes]
    notes: tuple[str, ...] = ()
    """What the person should know: what code was captured, what was left out."""


@dataclass(frozen=True, kw_only=True)
class PlacedCode:
    """The code of a run, recorded; and where the command is to be run."""

    cwd: Path
    notes: tuple[str, ...] = ()


PlaceCode = Callable[[RunDir, JobSpec], PlacedCode]


def launch(job: JobSpec, *, place_code: PlaceCode | None = None) -> Launched:
    """Make a run directory with everything in it and start the job's wrapper in a session of its own.

    ``place_code`` records the code in the run directory and says where to run; by default the code below the job's
    working directory is captured and the job runs there. Raises InputError before anything is made when the
    job cannot be started; when it fails later the run directory says so.
    """
    environment = get_environment(job.env, job.cwd)
    if place_code is None:  # else the code that the command may be part of is not there yet
        check_command(job.argv, job.cwd, environment.get("PATH"))
    _make_output_dir(job.output_dir)
    run = RunDir.create(job.output_dir, job.name)
    try:
        with EarlySignals() as early:
            return _fill_and_start(run, job, place_code or take_code, environment, early)
    except BaseException as error:
        record_failure(run, run.get_attempt(1), error)
        if isinstance(error, OSError):
            raise RecordError(
                f"run {run.id} could not be started: {error.strerror or error}", hint=f"what there is of it: {run.path}"
            ) from error
        raise


def follow(
    launched: Launched,
    on_log: Callable[[str], None] | None = None,
    on_entry: Callable[[Entry], None] | None = None,
    *,
    on_attempt: Callable[[Attempt], None] | None = None,
    timeout_s: float | None = None,
) -> Status:
    """Follow a run until it has ended; what it prints goes to ``on_log``, its journal's entries to ``on_entry``.

    It goes over all attempts that follow one another: ``on_attempt`` is told of each further one before its log comes.
    Bytes that are no UTF-8 come as ``os.fsdecode`` gives them.
    SIGINT, SIGTERM and SIGHUP are passed on to the wrapper, which stops the job and records that; a second SIGINT
    ends the job at once. SIGUSR1 is passed on too: the job saves a checkpoint and ends, and the run goes on later.
    Nothing that was written before the end is lost. After ``timeout_s`` seconds it is left to itself, and goes on.
    """
    tail = _Tail(launched.attempt, on_log, on_entry)
    with _forward_signals(launched.process):
        for ended in _wait(launched, timeout_s):
            while (following := launched.run.get_attempt(tail.attempt.number + 1)).receipt_path.exists():
                tail.read(final=True)
                tail = _Tail(following, on_log, on_entry)
                if on_attempt is not None:
                    on_attempt(following)
            tail.read(final=ended)
    return get_status(launched.run)


def take_code(run: RunDir, job: JobSpec) -> PlacedCode:
    """Capture the code below the job's working directory; the job runs there."""
    snapshot = take_snapshot(job.cwd, run)
    return PlacedCode(cwd=job.cwd, notes=_describe_code(snapshot))


def check_command(argv: Sequence[str], cwd: Path, path: str | None = None) -> None:
    """Raise a CommandError with a suggestion when a command cannot be started in ``cwd``."""
    if not argv or not argv[0]:
        raise CommandError("there is no command to run", hint="write it after two dashes: -- python train.py")
    name = argv[0]
    if os.sep in name:
        _check_file(name, cwd)
    elif shutil.which(name, path=path) is None:
        raise CommandError(f"there is no command {name!r}", hint=_suggest(name, cwd, path))


def get_environment(env: Mapping[str, str], base_dir: Path) -> dict[str, str]:
    """Return this process's environment with that of a job, secrets resolved; InputError when one cannot be."""
    environment = dict(os.environ)
    if env:
        from footplate.profile.secrets import resolve_secrets  # pydantic is not loaded for a plain command

        environment.update(resolve_secrets(env, key="entrypoint.env", base_dir=base_dir))
    return environment


def _check_file(name: str, cwd: Path) -> None:
    file = cwd / name
    if not file.exists():
        raise CommandError(f"there is no file {name}", hint=f"looked in {cwd}")
    if not file.is_file():
        raise CommandError(f"{name} is not a file", hint="give a program or a script")
    if not os.access(file, os.X_OK):
        starter = "python" if name.endswith(".py") else "bash"
        raise CommandError(f"{name} is not executable", hint=f"{starter} {name}, or: chmod +x {name}")


def _suggest(name: str, cwd: Path, path: str | None) -> str:
    if name == "python" and shutil.which("python3", path=path):
        return "python3 is there: write python3"
    if (cwd / name).is_file():
        return f"write python {name}" if name.endswith(".py") else f"it is a file here: write ./{name}"
    known: set[str] = set()
    for folder in (path if path is not None else os.environ.get("PATH", os.defpath)).split(os.pathsep):
        if os.path.isdir(folder) and os.access(folder, os.R_OK):
            known.update(os.listdir(folder))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else "is it installed, and on the PATH?"


def _make_output_dir(path: Path) -> None:
    hint = "choose another one: --output-dir, or resources.output_dir in the profile"
    if path.exists() and not path.is_dir():
        raise InputError(f"the output directory {path} is a file", hint=hint)
    if path.is_dir():
        if not os.access(path, os.W_OK | os.X_OK):
            raise InputError(f"the output directory {path} is not writable", hint=hint)
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Runs are not code: they do not belong into the git repository they lie in.
        (path / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot make the output directory {path}: {error.strerror}", hint=hint) from error


def _fill_and_start(
    run: RunDir, job: JobSpec, place_code: PlaceCode, environment: Mapping[str, str], early: EarlySignals
) -> Launched:
    info = _make_info(run, job)
    attempt = run.new_attempt()
    # From here on it can be seen who starts the run, and that nobody does when this process is killed half way.
    write_receipt(attempt, make_receipt(run, attempt.number))
    write_run_info(run, info)
    environment_capture = _Background(capture_environment)
    notes = _index(run, info)
    if job.profile_yaml:
        (run.path / "profile.yaml").write_text(job.profile_yaml, encoding="utf-8")
    clean = Redactor.from_json(job.redact).clean if job.redact else dict
    if job.plan:
        run.write_json("plan.json", clean(job.plan))
    placed = place_code(run, job)
    run.write_json("env.json", clean(environment_capture.get()))
    run.write_json(str(attempt.job_path.relative_to(run.path)), _make_job(run, attempt, job, placed.cwd))
    process = early.start_wrapper(run, attempt, environment, with_stdin=job.kind == "exec")
    return Launched(run=run, attempt=attempt, process=process, notes=(*placed.notes, *notes))


def _make_info(run: RunDir, job: JobSpec) -> RunInfo:
    return RunInfo(
        id=run.id,
        name=job.name,
        kind=job.kind,
        created_at=get_utc_text(),
        argv=job.argv,
        cwd=str(job.cwd),
        experiment=job.experiment,
        parent=job.parent,
        host=get_host(),
        user=_get_user(),
        version=footplate.__version__,
    )


def _get_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return str(os.getuid())


def _index(run: RunDir, info: RunInfo) -> tuple[str, ...]:
    """Put the run into the store; that it cannot be indexed does not stop it."""
    try:
        with Store() as store:
            store.add(run, info)
    except FootplateError as error:
        return (f"the run is recorded, but not in the index: {error.message}; name it by its path: {run.path}",)
    return ()


def _make_job(run: RunDir, attempt: Attempt, job: JobSpec, cwd: Path) -> dict[str, object]:
    sidecars = []
    if job.sidecar_interval_s is not None:
        sampler = [sys.executable, "-m", "footplate.tracking.sampler", str(attempt.path), str(job.sidecar_interval_s)]
        sidecars.append(sampler + (["--without", ",".join(job.sampler_without)] if job.sampler_without else []))
    return {
        "argv": [str(run.path) if word == RUN_DIR_TOKEN else word for word in job.argv],
        "cwd": str(cwd),
        "sidecars": sidecars,
        "heartbeat_s": job.heartbeat_s,
        "stop_grace_s": job.stop_grace_s,
        "num_processes": job.num_processes,
        # A shell could not trap what it was started with as ignored; our workers take it over, their launcher lives on.
        "ignores_preemption": job.kind == "train",
        "restart": None if job.restart is None else job.restart.to_json(),
        "resume_args": list(job.resume_args),
        **make_shipping(run, job.kind, job.trackers),
        "redact": dict(job.redact),
        # The wrapper does not need these; a rerun does. References to secrets stay references.
        "env": dict(job.env),
        "sidecar_interval_s": job.sidecar_interval_s,
        "sampler_without": list(job.sampler_without),
    }


def make_shipping(
    run: RunDir,
    kind: str,
    trackers: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, object]:
    """Return what a job says of the trackers that the run is shipped to; ``before``: what an earlier attempt's says.

    A command of the user's may call MLflow itself: the MLflow run is made before it starts, so that it is the same one.
    """
    settings = {name: dict(one) for name, one in trackers.items()}
    if "mlflow" in settings and not settings["mlflow"].get("tracking_uri"):
        # Written down now: a sync from elsewhere, with another environment, must tell the same place.
        known = (before or {}).get("mlflow", {}).get("tracking_uri")
        settings["mlflow"]["tracking_uri"] = known or _get_tracking_uri()
    shipper = [sys.executable, "-m", "footplate.tracking.shipping", str(run.path)] if settings else []
    prelude = [*shipper, "--open", "mlflow"] if kind == "exec" and "mlflow" in settings else []
    return {"trackers": settings, "shipper": shipper, "prelude": prelude}


def _get_tracking_uri() -> str:
    """Return the environment's; one with a password in it as a reference to the variable."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return ""
    from footplate.profile.secrets import looks_like_credential  # as above: not loaded for a plain command

    return "${env:MLFLOW_TRACKING_URI}" if looks_like_credential(uri) else uri


class _Background:
    """Does one thing in a thread while others are done: asking for the environment waits mostly."""

    def __init__(self, work: Callable[[], dict[str, object]]) -> None:
        self._result: dict[str, object] = {}
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name="capture-environment", daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], dict[str, object]]) -> None:
        try:
            self._result = work()
        except Exception as error:  # noqa: BLE001  # raised again where the result is asked for
            self._error = error

    def get(self) -> dict[str, object]:
        self._thread.join(_BACKGROUND_LIMIT_S)
        if self._thread.is_alive():
            raise RecordError(f"this machine did not tell its environment within {_BACKGROUND_LIMIT_S:.0f} s")
        if self._error is not None:
            raise self._error
        return self._result


class _Tail:
    """Passes on what one attempt prints and records."""

    def __init__(
        self, attempt: Attempt, on_log: Callable[[str], None] | None, on_entry: Callable[[Entry], None] | None
    ) -> None:
        self.attempt = attempt
        self._on_log, self._on_entry = on_log, on_entry
        self._log, self._journal = LogTail(attempt.log_path()), JournalTail(attempt.journal_path())

    def read(self, *, final: bool) -> None:
        """Pass on what is new."""
        if self._on_log is not None:
            for text in self._log.read(final=final):
                self._on_log(text)
        if self._on_entry is not None:
            for entry in self._journal.read():
                self._on_entry(entry)


def _wait(launched: Launched, timeout_s: float | None) -> Iterator[bool]:
    """Yield False while the run goes on, at growing intervals; then, or when the time is over, True, once."""
    poll_s = _FIRST_POLL_S
    latest = None if timeout_s is None else time.monotonic() + timeout_s
    deadline: float | None = None
    while True:
        try:
            launched.process.wait(poll_s)
        except subprocess.TimeoutExpired:
            pass
        else:
            break
        yield False
        poll_s = min(poll_s * 1.2, _LAST_POLL_S)
        now = time.monotonic()
        if poll_s == _LAST_POLL_S:
            newest = (launched.run.attempts() or [launched.attempt])[-1]
            deadline = (deadline or now + _END_LIMIT_S) if _has_ended(newest) else None
        if (deadline is not None and now > deadline) or (latest is not None and now > latest):
            break
    yield True


def _has_ended(attempt: Attempt) -> bool:
    try:
        receipt = find_receipt(attempt)
    except RecordError:
        return False
    return receipt is not None and receipt.ended_at is not None


@contextmanager
def _forward_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass SIGINT, SIGTERM, SIGHUP and SIGUSR1 on to a process; outside the main thread Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        # The wrapper is asked once for each kind of stop; a second Ctrl-C says something new, and a later preemption.
        if number in seen and number not in (signal.SIGINT, signal.SIGUSR1):
            return
        seen.append(number)
        process.send_signal(number)

    # What is ignored (SIGHUP under nohup) stays ignored.
    caught = [number for number in _FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe_code(snapshot: Snapshot) -> tuple[str, ...]:
    """Return in words what was captured; then, a line for each reason, what was not."""
    num_bytes = sum(size for _, size, _ in snapshot.files)
    text = f"code: {format_count(len(snapshot.files), 'file')}, {format_size(num_bytes)}"
    if not snapshot.left_out:
        return (text,)
    reasons: dict[str, list[str]] = {}
    for name, _, reason in snapshot.left_out:
        reasons.setdefault(reason, []).append(name)
    lines = [f"left out {', '.join(names[:3])}{' …' if names[3:] else ''}: {why}" for why, names in reasons.items()]
    return (f"{text}; left out: {len(snapshot.left_out):,}", *lines)
