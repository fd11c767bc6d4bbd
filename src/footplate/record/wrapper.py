"""Supervises one command: ``python -m footplate.record.wrapper RUN_DIR ATTEMPT``.

It starts what attempts/N/job.json says, writes the receipt while the job runs, passes on the signals that end it,
writes how it ended, and starts the next attempt when there is to be one. The standard library is all it needs, so that
it runs wherever there is a Python, also zipped.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from footplate.errors import FootplateError, RecordError
from footplate.record import exit_codes
from footplate.record.artifacts import write_artifacts
from footplate.record.cause import Cause, Ending, classify_ending
from footplate.record.checkpoints import get_folder, list_checkpoints
from footplate.record.clock import get_utc_text
from footplate.record.exit_files import RankExit, choose_exit, read_exits
from footplate.record.job import Job, copy_job
from footplate.record.journal_reader import find_last_step
from footplate.record.log_filter import LogFilter
from footplate.record.oom import find_oom_kills
from footplate.record.process import catches, find_start_time, list_by_variables, list_family
from footplate.record.receipt import Receipt, find_receipt, make_attempt, make_receipt, write_receipt
from footplate.record.redact import Redactor
from footplate.record.restart import End, Restarts
from footplate.record.rundir import Attempt, RunDir
from footplate.record.sidecars import Sidecars
from footplate.record.signals import PREEMPTION, STOP_SIGNALS, Signals

__all__ = ["main"]

_LOG_TAIL_BYTES = 65_536
_LEFTOVER_GRACE_S = 1.0  # helpers such as multiprocessing's resource tracker end by themselves just after their parent
_FINAL_TRIES = 5
_RESERVED_BYTES = 16_384  # for the last receipt and a note on a disk that the job has filled
_FULL_BYTES = 65_536  # with less than this free, what the job wrote last may be missing
_WAIT_BEAT_S = 5.0
_SHORT_GRACE_S = 2.0
_PREEMPTION_POLL_S = 0.1  # a worker that has just been started does not listen yet


def main(argv: list[str] | None = None) -> int:
    """Run the attempt named on the command line and return what to exit with."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 2 or not arguments[1].isdecimal():
        sys.stderr.write("usage: python -m footplate.record.wrapper RUN_DIR ATTEMPT\n")
        return 2
    try:
        run = RunDir.open(Path(arguments[0]))
    except FootplateError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return _run_attempts(run, run.get_attempt(int(arguments[1])))


def _run_attempts(run: RunDir, attempt: Attempt) -> int:
    """Supervise an attempt and those that follow it; return what to exit with after the last one."""
    signals, restarts = Signals(), Restarts()
    while True:
        wrapper = _Wrapper(run, attempt, signals, restarts)
        exit_code = wrapper.run()
        if wrapper.next is None:
            return exit_code
        attempt = wrapper.next


class _Wrapper:
    """One attempt from its start to its end."""

    def __init__(self, run: RunDir, attempt: Attempt, signals: Signals, restarts: Restarts) -> None:
        self._run, self._attempt, self._signals, self._restarts = run, attempt, signals, restarts
        self._receipt = _find_waiting(attempt) or make_receipt(run, attempt.number)
        self.next: Attempt | None = None
        """The attempt that follows this one, once it has ended."""
        self._asked_to_save: set[int] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._sidecars = Sidecars(attempt.path / "wrapper.log", self._note)
        self._shipper = Sidecars(attempt.path / "wrapper.log", self._note)
        self._filter: LogFilter | None = None
        self._environment: dict[str, str] = {}
        self._kill_at: float | None = None
        self._asked_by: set[int] = set()
        self._notes: list[str] = []
        self._reserve = attempt.path / ".reserve"

    def run(self) -> int:
        """Supervise the job and return what to exit with."""
        self._save()
        if not self._wait_for_start():
            return exit_codes.INTERRUPTED
        self._guard(lambda: self._reserve.write_bytes(os.urandom(_RESERVED_BYTES)))  # zeros might take no room
        try:
            job = Job.load(self._attempt.job_path)
            oom_kills = find_oom_kills() or 0
            failure = self._start(job)
        except Exception as error:  # noqa: BLE001 (whatever it is, the receipt must tell it)
            return self._end_unstarted(Cause.platform, f"the wrapper failed: {error}", exit_codes.FAILED)
        if failure is not None:
            return self._end_unstarted(*failure, exit_codes.NOT_STARTED)
        while not self._has_ended():
            try:
                self._supervise(job)
            except Exception as error:  # noqa: BLE001 (our mistake must not cost a healthy job its end)
                self._note(traceback.format_exc())
                self._notes = [f"the wrapper failed: {error}"]
                self._save(cause=Cause.platform, evidence=self._notes[-1])
                self._signals.sleep(1.0)
        exit_code = self._end(job, max(0, (find_oom_kills() or 0) - oom_kills))
        # Trackers are told the end that was just recorded; before a further attempt only what can be told at once.
        self._guard(lambda: self._shipper.revive(self._environment, holds_stop=True))
        self._guard(lambda: self._shipper.stop(job.ship_grace_s if self.next is None else _SHORT_GRACE_S))
        return exit_code

    def _wait_for_start(self) -> bool:
        """Wait until the attempt may start; False when it was cancelled meanwhile, which is then recorded."""
        while self._receipt.starts_at is not None:
            left_s = (datetime.fromisoformat(self._receipt.starts_at) - datetime.now(UTC)).total_seconds()
            if left_s <= 0:
                self._save(starts_at=None, started_at=get_utc_text(), evidence="")
            elif not self._signals.waiting:
                self._signals.sleep(min(left_s, _WAIT_BEAT_S))
                self._save()
            elif (number := self._signals.waiting.pop(0)) != PREEMPTION:  # nothing runs that could be saved
                name = signal.Signals(number).name
                evidence = f"cancelled by {name} before the attempt started"
                self._save(cancelled=True, exit_code=exit_codes.INTERRUPTED, evidence=evidence)
                self._save_end()
                return False
        return True

    def _start(self, job: Job) -> tuple[Cause, str] | None:
        """Start the command and its sidecars; return cause and evidence when the command cannot be started."""
        environment = {
            "PYTHONUNBUFFERED": "1",
            **os.environ,
            "FOOTPLATE_RUN_DIR": str(self._run.path),
            "FOOTPLATE_OUTPUT_DIR": str(self._run.artifacts),
            "FOOTPLATE_RUN_ID": self._run.id,
            "FOOTPLATE_ATTEMPT": str(self._attempt.number),
        }
        environment |= self._prepare(job, environment)
        self._environment = environment
        # The job holds the log itself: what it prints is kept even when this process is killed.
        with open(self._attempt.log_path(), "ab") as log:
            output = log.fileno()
            if job.redact:
                self._filter = LogFilter(self._attempt.job_path, self._attempt.log_path(), self._note)
                output = self._filter.target
            try:
                self._child = subprocess.Popen(
                    job.argv,
                    cwd=job.cwd,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=_ignore_preemption if job.ignores_preemption else None,  # noqa: PLW1509  # no threads
                )
            except (OSError, ValueError, IndexError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                where = getattr(error, "filename", None) or (job.argv[0] if job.argv else "no command")
                message = f"the command cannot be started: {where}: {reason}"
                if job.redact:
                    message = Redactor.from_json(job.redact).clean_text(message)
                log.write(f"footplate: {message}\n".encode(errors="surrogateescape"))
                busy = getattr(error, "errno", None) in {errno.EAGAIN, errno.ENOMEM}
                return (Cause.platform if busy else Cause.config_error), message
            finally:
                if self._filter is not None:
                    self._filter.close_target()
        self._save(pid=self._child.pid, pid_start=find_start_time(self._child.pid))
        for argv in job.sidecars:
            self._sidecars.start(argv, environment)
        if job.shipper:
            self._shipper.start(job.shipper, environment, holds_stop=True)
        return None

    def _prepare(self, job: Job, environment: Mapping[str, str]) -> dict[str, str]:
        """Return what the prelude adds to the environment; nothing when it fails, which is noted."""
        if not job.prelude:
            return {}
        try:
            done = subprocess.run(
                job.prelude, env=environment, capture_output=True, text=True, timeout=job.prelude_limit_s, check=False
            )
            if done.returncode == 0:
                return {str(name): str(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        except (OSError, subprocess.TimeoutExpired, ValueError, IndexError, AttributeError) as error:
            reason = str(error)
        self._note(f"the job starts without what its prelude prepares: {reason}")
        self._notes.append(f"it was started without its tracker: {reason[:200]}")
        return {}

    def _supervise(self, job: Job) -> None:
        """Wait until the job has ended; it is asked and then made to end when a signal says so."""
        beat_at = time.monotonic() + job.heartbeat_s
        while not self._has_ended():
            now = time.monotonic()
            if self._signals.waiting:
                self._pass_on(self._signals.waiting.pop(0), job, now)
                continue
            self._ask_to_save(job)
            if self._kill_at is not None and now >= self._kill_at:
                self._kill(f"did not stop within {job.stop_grace_s:g} s")
            if now >= beat_at:
                self._save(last_checkpoint=_find_last_checkpoint(self._run))
                self._sidecars.check()
                if self._filter is not None:
                    self._filter.check()
                self._shipper.revive(self._environment, holds_stop=True)
                beat_at = now + job.heartbeat_s
            until = beat_at if self._kill_at is None else min(beat_at, self._kill_at)
            if self._asked_to_save is not None:
                until = min(until, now + _PREEMPTION_POLL_S)
            self._signals.sleep(until - time.monotonic())

    def _has_ended(self) -> bool:
        return self._child is None or self._child.poll() is not None

    def _pass_on(self, number: int, job: Job, now: float) -> None:
        """Hand a signal on to the job's group; the second interrupt kills at once.

        The one that announces a preemption is no wish to end the run: it goes to whom it tells something.
        """
        if number == PREEMPTION:
            self._asked_to_save = set()
            return
        if self._receipt.cancelled and number == signal.SIGINT:
            self._kill("was interrupted again")
            return
        name = signal.Signals(number).name
        self._asked_by.add(number)
        if not self._receipt.cancelled:
            self._notes.append(f"{name} was passed on to the job")
            self._kill_at = now + job.stop_grace_s
            self._save(cancelled=True, evidence=self._notes[-1])
        if self._child is not None:
            self._signal_group(self._child.pid, number)

    def _ask_to_save(self, job: Job) -> None:
        """Tell every process of the job that handles it, and each only once, that the machine is to be left.

        Launchers do not handle the signal, and would die of it; their workers have sessions of their own.
        """
        if self._asked_to_save is None or self._child is None:
            return
        for pid in {self._child.pid, *list_family(self._child.pid)} - self._asked_to_save:
            known = catches(pid, PREEMPTION)
            if known or (known is None and (job.ignores_preemption or pid == self._child.pid)):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, PREEMPTION)
                    self._asked_to_save.add(pid)

    def _kill(self, reason: str) -> None:
        """Kill the job with its group and descendants: launchers give their workers sessions of their own."""
        if self._child is None:
            return
        self._kill_at = None
        self._notes.append(f"it was killed because it {reason}")
        family = list_family(self._child.pid)
        self._signal_group(self._child.pid, signal.SIGKILL)
        _kill_all(family)

    def _signal_group(self, group: int, number: int) -> None:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return  # it ended meanwhile
        except PermissionError as error:
            self._note(f"signal {number} cannot be sent to group {group}: {error}")

    def _end(self, job: Job, oom_kills: int) -> int:
        """Write down how the job ended and return what to exit with."""
        if self._child is None:
            raise RuntimeError("there is no job to end")
        code = self._child.wait()
        died_of = _name_signal(-code) if code < 0 else ""
        self._guard(lambda: self._end_leftovers(self._receipt.pid or 0))
        if self._filter is not None:
            self._guard(self._filter.finish)
        is_full = _is_disk_full(self._attempt.path)
        if is_full:
            self._notes.append("the disk of the run directory is full: what was written last may be missing")
        self._guard(lambda: self._reserve.unlink(missing_ok=True))
        exits = read_exits(self._attempt)
        exit_code, told = _find_exit(128 - code if code < 0 else code, exits, job.num_processes)
        if exit_code == exit_codes.CHECKPOINTED and self._asked_by == {signal.SIGTERM}:
            # Who ends machines and containers sends SIGTERM: the job has saved itself, and goes on elsewhere or later.
            self._save(cancelled=False)
        ending = Ending(
            exit_code=exit_code,
            signal=died_of,
            cancelled=self._receipt.cancelled,
            log_tail=_read_tail(self._attempt.log_path()),
            oom_kills=oom_kills,
            disk_full=is_full,
        )
        cause, evidence = classify_ending(ending)
        if self._asked_to_save is not None:
            self._notes.append(f"SIGUSR1 was passed on to {len(self._asked_to_save)} process(es) of the job")
        words = [_name_rank(evidence, told), *self._notes]
        # Known now, so written now: listing large artifacts takes a while.
        self._save(exit_code=exit_code, signal=died_of or None, cause=cause, evidence="; ".join(words))
        self._guard(self._sidecars.stop)
        self._guard(lambda: write_artifacts(self._run))
        self._save(last_checkpoint=_find_last_checkpoint(self._run))
        steps = [one.step for one in exits if one.step is not None]
        step = max(steps) if steps else find_last_step(self._attempt)
        is_asked = self._receipt.cancelled or bool(self._asked_by)
        end = End(exit_code=exit_code, cause=cause, evidence=evidence, step=step, cancelled=is_asked)
        self._guard(lambda: self._plan_next(job, end))
        self._save_end()
        return exit_codes.INTERRUPTED if self._receipt.cancelled else exit_code

    def _plan_next(self, job: Job, end: End) -> None:
        """Make the next attempt, waiting for its time, if there is to be one; it is there before this one has ended."""
        late = [number for number in self._signals.waiting if number in STOP_SIGNALS]  # asked while the job ended
        decision = self._restarts.decide(job.restart, replace(end, cancelled=end.cancelled or bool(late)))
        if decision.reason:
            self._save(evidence=f"{self._receipt.evidence}; {decision.reason}")
        if not decision.starts or job.restart is None:
            return
        starts_at = (datetime.now(UTC) + timedelta(seconds=job.restart.delay_s)).isoformat(timespec="milliseconds")
        waiting = replace(
            make_receipt(self._run, self._attempt.number + 1),
            starts_at=starts_at,
            evidence=f"attempt {self._attempt.number}: {self._receipt.evidence}",
            last_checkpoint=self._receipt.last_checkpoint,
        )
        following = make_attempt(self._run, waiting)
        if following is None:
            self._save(evidence=f"{self._receipt.evidence}; attempt {waiting.attempt} was started by another process")
            return
        copy_job(self._attempt, following)
        self.next = following

    def _end_unstarted(self, cause: Cause, evidence: str, exit_code: int) -> int:
        self._guard(lambda: self._reserve.unlink(missing_ok=True))
        self._note(evidence)
        self._save(exit_code=exit_code, cause=cause, evidence=evidence)
        self._guard(self._sidecars.stop)
        self._save_end()
        return exit_code

    def _end_leftovers(self, leader: int) -> None:
        """Kill what the job left running in its session, after a moment to end by itself."""
        limit = time.monotonic() + _LEFTOVER_GRACE_S
        while (left := self._list_left(leader)) and time.monotonic() < limit:
            self._signals.sleep(0.02)
        if not left:
            return
        names = ", ".join(f"{name} {pid}" for pid, name in list(left.items())[:5])
        self._notes.append(f"{len(left)} process(es) it left behind were killed ({names})")
        limit = time.monotonic() + _LEFTOVER_GRACE_S
        while left and time.monotonic() < limit:
            _kill_all(left)
            self._signals.sleep(0.02)
            left = self._list_left(leader)

    def _list_left(self, leader: int) -> dict[int, str]:
        """Return what is left of the job; workers of torchrun have sessions of their own and outlive its being killed.

        They would go on to write into the run beside the next attempt.
        """
        own = f"FOOTPLATE_RUN_DIR={self._run.path}", f"FOOTPLATE_ATTEMPT={self._attempt.number}"
        return list_family(leader) | list_by_variables(*own, "TORCHELASTIC_RUN_ID=")

    def _save(self, **changes: Any) -> bool:
        """Write the receipt with these changes and a new heartbeat; a full disk is noted and tried again later."""
        self._receipt = replace(self._receipt, heartbeat_at=get_utc_text(), **changes)
        try:
            write_receipt(self._attempt, self._receipt)
        except RecordError as error:
            self._note(str(error))
            return False
        return True

    def _save_end(self) -> None:
        ended_at = get_utc_text()
        for _ in range(_FINAL_TRIES):
            if self._save(ended_at=ended_at) or not self._attempt.path.exists():  # the job may have removed it
                return
            self._signals.sleep(1.0)

    def _guard(self, action: Callable[[], object]) -> None:
        """Do something that must not keep the end from being recorded."""
        try:
            action()
        except Exception:  # noqa: BLE001 (written to wrapper.log; the receipt matters more)
            self._note(traceback.format_exc())

    def _note(self, text: str) -> None:
        # There is nowhere left to say that even this cannot be written.
        with contextlib.suppress(OSError), open(self._attempt.path / "wrapper.log", "a", encoding="utf-8") as log:
            log.write(f"{get_utc_text()} {text.rstrip()}\n")


def _find_waiting(attempt: Attempt) -> Receipt | None:
    """Return the receipt of an attempt that this very process has made to start it later."""
    try:
        receipt = find_receipt(attempt)
    except RecordError:
        return None
    return receipt if receipt is not None and receipt.starts_at and receipt.wrapper_pid == os.getpid() else None


def _find_exit(code: int, exits: list[RankExit], num_processes: int) -> tuple[int, str]:
    """Return the exit code behind a launcher's, and what the process that has it says."""
    chosen = choose_exit(exits)
    if code == exit_codes.DONE or chosen is None:
        return code, ""
    silent = sorted({*range(num_processes)} - {one.rank for one in exits})
    if silent and chosen.exit_code == exit_codes.CHECKPOINTED != code:
        return code, f"rank {', '.join(map(str, silent))} ended without a word, and the others were stopped"
    told = f"rank {chosen.rank}: {chosen.reason}" if chosen.reason and num_processes > 1 else ""
    return (chosen.exit_code if code == exit_codes.FAILED else code), told


def _name_rank(evidence: str, told: str) -> str:
    """Return the evidence with what one process says, ``rank 1: why``, in it once."""
    reason = told.partition(": ")[2]
    if not told or told in evidence:
        return evidence
    if reason in evidence:
        return evidence.replace(reason, told, 1)
    return f"{evidence}; {told}"


def _find_last_checkpoint(run: RunDir) -> str | None:
    checkpoints = list_checkpoints(get_folder(run))
    return checkpoints[-1].name if checkpoints else None


def _ignore_preemption() -> None:
    signal.signal(PREEMPTION, signal.SIG_IGN)


def _kill_all(pids: Mapping[int, str]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _is_disk_full(folder: Path) -> bool:
    try:
        room = os.statvfs(folder)
    except OSError:  # the job may have removed it
        return False
    return room.f_bavail * room.f_frsize < _FULL_BYTES


def _read_tail(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            return file.read(_LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
