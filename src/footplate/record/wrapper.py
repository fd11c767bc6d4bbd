"""Supervises one command: ``python -m footplate.record.wrapper RUN_DIR ATTEMPT``.

It starts what attempts/N/job.json says, writes the receipt while the job runs, passes on the signals that end it, and
writes how it ended. The standard library is all it needs, so that it runs wherever there is a Python, also zipped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from footplate.errors import FootplateError, RecordError
from footplate.record import exit_codes
from footplate.record.artifacts import write_artifacts
from footplate.record.cause import Cause, Ending, classify_ending
from footplate.record.clock import get_utc_text
from footplate.record.files import read_json
from footplate.record.oom import find_oom_kills
from footplate.record.process import find_start_time, get_boot_id, get_host, list_family
from footplate.record.receipt import Receipt, write_receipt
from footplate.record.rundir import Attempt, RunDir

__all__ = ["main"]

_LOG_TAIL_BYTES = 65_536
_SIDECAR_GRACE_S = 5.0
_LEFTOVER_GRACE_S = 1.0  # helpers such as multiprocessing's resource tracker end by themselves just after their parent
_FINAL_TRIES = 5
_RESERVED_BYTES = 16_384  # for the last receipt and a note on a disk that the job has filled
_FULL_BYTES = 65_536  # with less than this free, what the job wrote last may be missing
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    return _Wrapper(run, run.get_attempt(int(arguments[1]))).run()


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What job.json says."""

    argv: list[str]
    cwd: str
    sidecars: list[list[str]]
    heartbeat_s: float
    stop_grace_s: float

    @classmethod
    def load(cls, path: Path) -> _Job:
        value: Mapping[str, Any] = read_json(path)
        try:
            return cls(
                argv=[str(word) for word in value["argv"]],
                cwd=str(value["cwd"]),
                sidecars=[[str(word) for word in sidecar] for sidecar in value.get("sidecars", [])],
                heartbeat_s=float(value.get("heartbeat_s", 5.0)),
                stop_grace_s=float(value.get("stop_grace_s", 30.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{path}: not a job: {error!r}") from error


class _Wrapper:
    """One attempt from its start to its end."""

    def __init__(self, run: RunDir, attempt: Attempt) -> None:
        self._run, self._attempt = run, attempt
        now, pid = get_utc_text(), os.getpid()
        self._receipt = Receipt(
            run_id=run.id,
            attempt=attempt.number,
            host=get_host(),
            boot_id=get_boot_id(),
            wrapper_pid=pid,
            wrapper_start=find_start_time(pid) or 0.0,
            started_at=now,
            heartbeat_at=now,
        )
        self._signals: list[int] = []
        self._wakeup, self._wakeup_end = os.pipe()
        self._child: subprocess.Popen[bytes] | None = None
        self._sidecars: list[subprocess.Popen[bytes]] = []
        self._kill_at: float | None = None
        self._notes: list[str] = []
        self._reserve = attempt.path / ".reserve"

    def run(self) -> int:
        """Supervise the job and return what to exit with."""
        self._catch_signals()
        self._save()
        self._guard(lambda: self._reserve.write_bytes(os.urandom(_RESERVED_BYTES)))  # zeros might take no room
        try:
            job = _Job.load(self._attempt.job_path)
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
                self._sleep(1.0)
        return self._end(max(0, (find_oom_kills() or 0) - oom_kills))

    def _catch_signals(self) -> None:
        """Make signals, and the end of a child, wake the loop up at once."""
        for end in (self._wakeup, self._wakeup_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            # Under nohup a hang-up is meant to be ignored.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            signal.signal(number, lambda number, _: self._signals.append(number))

    def _start(self, job: _Job) -> tuple[Cause, str] | None:
        """Start the command and its sidecars; return cause and evidence when the command cannot be started."""
        environment = {
            "PYTHONUNBUFFERED": "1",
            **os.environ,
            "FOOTPLATE_RUN_DIR": str(self._run.path),
            "FOOTPLATE_OUTPUT_DIR": str(self._run.artifacts),
            "FOOTPLATE_RUN_ID": self._run.id,
            "FOOTPLATE_ATTEMPT": str(self._attempt.number),
        }
        # The job holds the log itself: what it prints is kept even when this process is killed.
        with open(self._attempt.log_path(), "ab") as log:
            try:
                self._child = subprocess.Popen(
                    job.argv, cwd=job.cwd, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            except (OSError, ValueError, IndexError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                where = getattr(error, "filename", None) or (job.argv[0] if job.argv else "no command")
                message = f"the command cannot be started: {where}: {reason}"
                log.write(f"footplate: {message}\n".encode(errors="surrogateescape"))
                busy = getattr(error, "errno", None) in {errno.EAGAIN, errno.ENOMEM}
                return (Cause.platform if busy else Cause.config_error), message
        self._save(pid=self._child.pid, pid_start=find_start_time(self._child.pid))
        for argv in job.sidecars:
            self._start_sidecar(argv, environment)
        return None

    def _start_sidecar(self, argv: list[str], environment: Mapping[str, str]) -> None:
        try:
            with open(self._attempt.path / "wrapper.log", "ab") as log:
                sidecar = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            self._sidecars.append(sidecar)
        except (OSError, ValueError, IndexError) as error:
            self._note(f"the sidecar {argv} cannot be started: {error}")

    def _supervise(self, job: _Job) -> None:
        """Wait until the job has ended; it is asked and then made to end when a signal says so."""
        beat_at = time.monotonic() + job.heartbeat_s
        while not self._has_ended():
            now = time.monotonic()
            if self._signals:
                self._pass_on(self._signals.pop(0), job, now)
                continue
            if self._kill_at is not None and now >= self._kill_at:
                self._kill(f"did not stop within {job.stop_grace_s:g} s")
            if now >= beat_at:
                self._save()
                self._check_sidecars()
                beat_at = now + job.heartbeat_s
            until = beat_at if self._kill_at is None else min(beat_at, self._kill_at)
            self._sleep(until - time.monotonic())

    def _has_ended(self) -> bool:
        return self._child is None or self._child.poll() is not None

    def _pass_on(self, number: int, job: _Job, now: float) -> None:
        """Hand a signal on to the job's group; the second interrupt kills at once."""
        if self._receipt.cancelled and number == signal.SIGINT:
            self._kill("was interrupted again")
            return
        name = signal.Signals(number).name
        if not self._receipt.cancelled:
            self._notes.append(f"{name} was passed on to the job")
            self._kill_at = now + job.stop_grace_s
            self._save(cancelled=True, evidence=self._notes[-1])
        if self._child is not None:
            self._signal_group(self._child.pid, number)

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

    def _check_sidecars(self) -> None:
        for sidecar in [one for one in self._sidecars if one.poll() is not None]:
            self._note(f"the sidecar {sidecar.args!r} ended with {sidecar.returncode}")
            self._sidecars.remove(sidecar)

    def _sleep(self, seconds: float) -> None:
        """Sleep until a signal comes or a child ends, at most for this time."""
        select.select([self._wakeup], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wakeup, 4096):
                pass

    def _end(self, oom_kills: int) -> int:
        """Write down how the job ended and return what to exit with."""
        if self._child is None:
            raise RuntimeError("there is no job to end")
        code = self._child.wait()
        died_of = _name_signal(-code) if code < 0 else ""
        exit_code = 128 - code if code < 0 else code
        self._guard(lambda: self._end_leftovers(self._receipt.pid or 0))
        is_full = _is_disk_full(self._attempt.path)
        if is_full:
            self._notes.append("the disk of the run directory is full: what was written last may be missing")
        self._guard(lambda: self._reserve.unlink(missing_ok=True))
        ending = Ending(
            exit_code=exit_code,
            signal=died_of,
            cancelled=self._receipt.cancelled,
            log_tail=_read_tail(self._attempt.log_path()),
            oom_kills=oom_kills,
            disk_full=is_full,
        )
        cause, evidence = classify_ending(ending)
        # Known now, so written now: listing large artifacts takes a while.
        self._save(
            exit_code=exit_code, signal=died_of or None, cause=cause, evidence="; ".join([evidence, *self._notes])
        )
        self._guard(self._stop_sidecars)
        self._guard(lambda: write_artifacts(self._run))
        self._save_end()
        return exit_codes.INTERRUPTED if self._receipt.cancelled else exit_code

    def _end_unstarted(self, cause: Cause, evidence: str, exit_code: int) -> int:
        self._guard(lambda: self._reserve.unlink(missing_ok=True))
        self._note(evidence)
        self._save(exit_code=exit_code, cause=cause, evidence=evidence)
        self._guard(self._stop_sidecars)
        self._save_end()
        return exit_code

    def _end_leftovers(self, leader: int) -> None:
        """Kill what the job left running in its session, after a moment to end by itself."""
        limit = time.monotonic() + _LEFTOVER_GRACE_S
        while (left := list_family(leader)) and time.monotonic() < limit:
            self._sleep(0.02)
        if not left:
            return
        names = ", ".join(f"{name} {pid}" for pid, name in list(left.items())[:5])
        self._notes.append(f"{len(left)} process(es) it left behind were killed ({names})")
        limit = time.monotonic() + _LEFTOVER_GRACE_S
        while left and time.monotonic() < limit:
            _kill_all(left)
            self._sleep(0.02)
            left = list_family(leader)

    def _stop_sidecars(self) -> None:
        self._check_sidecars()
        for sidecar in self._sidecars:
            sidecar.terminate()
        limit = time.monotonic() + _SIDECAR_GRACE_S
        for sidecar in self._sidecars:
            try:
                sidecar.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._note(f"the sidecar {sidecar.args!r} did not stop within {_SIDECAR_GRACE_S:.0f} s and was killed")
                sidecar.kill()
                sidecar.wait()

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
            self._sleep(1.0)

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
