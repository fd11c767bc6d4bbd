"""Weights & Biases: a log as wandb's offline mode writes it, and wandb's own tool that uploads it, live or later.

The size of the log after each batch is remembered: what a killed process has written beyond it is cut off and written
again. Lines are numbered from its start, and the server keeps one line of a number: an upload can come twice. Sources:
``wandb_internal.proto`` of wandb; the form of the log is LevelDB's (doc/log_format.md), after a head of seven bytes.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from zlib import crc32

from footplate.errors import RunFailedError
from footplate.record.clock import parse_utc
from footplate.record.files import link_or_copy
from footplate.record.state import RunState, Status, get_status
from footplate.tracking.params import read_profile_values
from footplate.tracking.shipping.shipper import Context, Record

__all__ = ["WandBShipper"]

_UPLOAD_LIMIT_S, _LIVE_LIMIT_S = 600.0, 60.0
_WORDS = "upload.txt"
_HEAD = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK, _FRONT = 32_768, 7
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_STEPS = {"": "footplate/step", "system": "footplate/second"}
"""Source of an entry → what its step is called: ``_step`` is W&B's own, and has to grow from line to line."""
_SIZE, _ROWS, _CONFIG = "size", "num_rows", "config"
_ENDS_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"  # PR_SET_PDEATHSIG
)
"""An upload to a server that is down would go on trying for days after the process that began it."""
_PLACE = re.compile(r"View run .* at (\S+)")


class WandBShipper:
    """Tells W&B the parameters, metrics, histograms and artifacts of one run."""

    forgets_rewound: ClassVar[bool] = False

    def __init__(self) -> None:
        self._context: Context | None = None
        self._folder = Path()
        self._log: _Log | None = None
        self._started = 0.0
        self._last: dict[str, str] = {}
        self._num_rows = 0
        self._config: dict[str, str] = {}
        self._live: subprocess.Popen[bytes] | None = None

    def open(self, context: Context) -> str:
        """Find the run's log again, or begin it; nothing goes over a network here."""
        from wandb.proto import wandb_internal_pb2

        info, memory = context.info, context.memory
        started = parse_utc(info.created_at)
        self._context, self._started = context, started.timestamp()
        self._folder = context.run.path / "wandb" / f"offline-run-{started:%Y%m%d_%H%M%S}-{info.id}"
        place = "/".join(str(context.settings.get(key) or "") for key in ("entity", "project"))
        if memory.get("place") != place:
            memory.clear()
        memory["place"] = place
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "files").mkdir(exist_ok=True)
        # An end that was written is taken back: the run goes on, or ends once more.
        size = memory.pop("size_before_end", memory.get(_SIZE, 0))
        self._log = _Log(self._folder / f"run-{info.id}.wandb", size, wandb_internal_pb2)
        self._num_rows, self._config = (memory.get(_ROWS, 0), dict(memory.get(_CONFIG, {}))) if size else (0, {})
        if size == 0:
            self._begin()
        self._tell_config(read_profile_values(context.run))
        self._flush()
        if _is_online() and not get_status(context.run).state.is_final:
            self._live = self._start_live()
        return str(memory.get("url") or f"wandb sync {self._folder}")

    def ship(self, records: Sequence[Record]) -> None:
        """Write a line for each entry, then the last value of each metric, and make them last."""
        log = self._get_log()
        for record in records:
            kind, data = record.entry.kind, record.entry.data
            if kind == "metrics":
                self._write_row(record, {name: json.dumps(value) for name, value in data["values"].items()})
            elif kind == "table" and data["name"] in ("weights", "updates"):
                self._write_row(record, dict(_make_histograms(data["name"], data["value"])))
            elif kind == "params":
                self._tell_config(data["values"])
        if self._last:
            updates = [{"nested_key": [name], "value_json": text} for name, text in self._last.items()]
            log.write(summary={"update": updates})
            self._last = {}
        self._flush()

    def close(self, status: Status | None) -> None:
        """Write the end, with the artifacts beside the log; where W&B is to be reached, upload all of it."""
        context, log = self._get_context(), self._get_log()
        if status is None:
            log.close()
            self._stop_live()
            return
        context.memory["size_before_end"] = context.memory[_SIZE]
        files = self._gather_files()
        if files:
            log.write(files={"files": [{"path": path, "type": 0} for path in files]})
        ended = status.ended_at or status.last_seen_at
        runtime_s = max(0, int(parse_utc(ended).timestamp() - self._started)) if ended else 0
        code = 0 if status.state is RunState.succeeded else status.exit_code or 1
        log.write(exit={"exit_code": code, "runtime": runtime_s})
        self._flush()
        log.close()
        if _is_online():
            context.memory["url"] = self._finish_live() or self._upload()

    def _begin(self) -> None:
        """Write what a log begins with: the run, and by what its metrics are drawn."""
        context, log = self._get_context(), self._get_log()
        import wandb

        info, settings = context.info, context.settings
        log.write(header={"version_info": {"producer": wandb.__version__, "min_consumer": "0.70.0"}})
        seconds = int(self._started)
        run = {
            "run_id": info.id,
            "display_name": info.id,
            "project": str(settings.get("project") or info.experiment or ""),
            "entity": str(settings.get("entity") or ""),
            "tags": [str(tag) for tag in settings.get("tags") or ()],
            "host": info.host,
            "start_time": {"seconds": seconds, "nanos": int((self._started - seconds) * 1e9)},
        }
        log.write(run=run)
        for source, name in _STEPS.items():
            log.write(metric={"name": name, "options": {"hidden": True, "defined": True}})
            glob = f"{source}/*" if source else "*"
            log.write(metric={"glob_name": glob, "step_metric": name, "options": {"step_sync": True, "defined": True}})

    def _tell_config(self, values: Mapping[str, Any]) -> None:
        """Write the parameters that are new or have changed."""
        texts = {str(name): json.dumps(value, default=str) for name, value in values.items()}
        new = {name: text for name, text in texts.items() if self._config.get(name) != text}
        if new:
            updates = [{"key": name, "value_json": text} for name, text in new.items()]
            self._get_log().write(config={"update": updates})
            self._config |= new

    def _write_row(self, record: Record, values: Mapping[str, str]) -> None:
        number, self._num_rows = self._num_rows, self._num_rows + 1
        entry = record.entry
        own = {
            _STEPS.get(record.source, _STEPS[""]): json.dumps(entry.data["step"]),
            "_timestamp": json.dumps(entry.time),
            "_runtime": json.dumps(entry.time - self._started),
            "_step": json.dumps(number),
        }
        items = [{"nested_key": [name], "value_json": text} for name, text in {**values, **own}.items()]
        self._get_log().write(history={"item": items, "step": {"num": number}})
        self._last |= {**values, **own}

    def _flush(self) -> None:
        """Make the log last; what is remembered is as it stands there."""
        size = self._get_log().flush()
        self._get_context().memory.update({_SIZE: size, _ROWS: self._num_rows, _CONFIG: self._config})

    def _gather_files(self) -> list[str]:
        """Put the artifacts beside the log, as further names of the same files where that works; return their paths."""
        run, target = self._get_context().run, self._folder / "files"
        wanted = {one["path"]: run.artifacts / one["path"] for one in run.find_json("artifacts.json") or ()}
        wanted |= {
            f"footplate/{name}": run.path / name
            for name in ("profile.yaml", "result.json", "plan.json", "provenance.json")
        }
        found = []
        for path, file in wanted.items():
            if file.is_file():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).unlink(missing_ok=True)
                link_or_copy(self._get_context().clean_file(file), target / path)
                found.append(path)
        return found

    def _start_live(self) -> subprocess.Popen[bytes]:
        """Let wandb's own tool upload the log while it is written; its words go to a file beside it."""
        with (self._folder / _WORDS).open("wb") as words:
            return subprocess.Popen(
                self._make_command("beta", "sync", "--live"), stdin=subprocess.DEVNULL, stdout=words, stderr=words
            )

    def _finish_live(self) -> str:
        """Wait until that has uploaded the end, and return where the run can be seen; empty when it has not."""
        if self._live is None:
            return ""
        try:
            self._live.wait(_LIVE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._stop_live()
            return ""
        self._live = None
        return _find_place((self._folder / _WORDS).read_text(encoding="utf-8", errors="replace"))

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.kill()
            self._live.wait()
            self._live = None

    def _upload(self) -> str:
        """Upload the log with wandb's own tool and return where the run can be seen; it is done whole or raises."""
        try:
            done = subprocess.run(
                self._make_command("sync", "--include-synced"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_UPLOAD_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RunFailedError(f"wandb sync did not end within {_UPLOAD_LIMIT_S:.0f} s") from error
        place = _find_place(done.stdout)
        if done.returncode != 0 or not place:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            raise RunFailedError(f"wandb sync: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")
        return place

    def _make_command(self, *words: str) -> list[str]:
        command = [sys.executable, "-P", "-m", "wandb", *words, "--yes", str(self._folder)]
        return [sys.executable, "-c", _ENDS_WITH_PARENT, *command] if sys.platform == "linux" else command

    def _get_context(self) -> Context:
        assert self._context is not None
        return self._context

    def _get_log(self) -> _Log:
        assert self._log is not None
        return self._log


class _Log:
    """A log of wandb's records, from a known size on."""

    def __init__(self, path: Path, size: int, messages: Any) -> None:
        self._messages = messages
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
        there = self._file.seek(0, os.SEEK_END)
        self._at = min(size, there)
        self._file.truncate(self._at)
        self._file.seek(self._at)
        if self._at == 0:
            self._put(_HEAD)

    def write(self, **content: Mapping[str, Any]) -> None:
        """Append a record that has one field."""
        data = self._messages.Record(**content).SerializeToString()
        start = 0
        while start < len(data) or start == 0:
            left = _BLOCK - self._at % _BLOCK
            if left < _FRONT:
                self._put(bytes(left))
                left = _BLOCK
            part = data[start : start + left - _FRONT]
            is_first, is_last = start == 0, start + len(part) == len(data)
            kind = (_WHOLE if is_last else _FIRST) if is_first else (_LAST if is_last else _MIDDLE)
            self._put(struct.pack("<IHB", crc32(bytes([kind]) + part), len(part), kind) + part)
            start += len(part)
            if is_last:
                return

    def flush(self) -> int:
        """Make what was written last, and return the size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._at

    def close(self) -> None:
        self._file.close()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)


def _make_histograms(front: str, layers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the histograms of layers in W&B's form: counts, and the edges between them."""
    made = []
    for name, one in layers.items():
        counts, low, high = one["counts"], float(one["low"]), float(one["high"])
        if counts:  # else no value of the layer was finite
            edges = [low + (high - low) * number / len(counts) for number in range(len(counts) + 1)]
            text = json.dumps({"_type": "histogram", "values": counts, "bins": edges})
            made.append((f"{front}/{name}", text))
    return made


def _find_place(words: str) -> str:
    """Return where wandb says that a run can be seen; empty when it has not uploaded all of it."""
    match = _PLACE.search(words)
    return match[1] if match and "Finished syncing" in words else ""


def _is_online() -> bool:
    """Tell whether the log is to be uploaded: as WANDB_MODE says, else where there is a key."""
    mode = os.environ.get("WANDB_MODE", "")
    return mode in ("online", "run", "shared") if mode else bool(os.environ.get("WANDB_API_KEY"))
