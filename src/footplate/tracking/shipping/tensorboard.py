"""TensorBoard: event files, written by its own writer, without TensorFlow.

The size of the files after each batch is remembered: what a killed process has written beyond it is cut off and written
again, so that nothing stands there twice. A rewind becomes a session start, at which TensorBoard drops the later steps.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from footplate.record.clock import parse_utc
from footplate.record.journal_reader import find_last_step
from footplate.record.state import Status
from footplate.tracking.shipping.shipper import Context, Record

__all__ = ["TensorBoardShipper"]

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_MAX_IMAGE_BYTES = 10_000_000
_FIRST = "rank0"
"""The journal whose events lie in the run's directory itself. Others have directories below it: a rewind drops later
steps of all in a directory, and each journal has its own; the machine's steps are seconds."""


class TensorBoardShipper:
    """Writes scalars, and on request histograms and pictures, of one run."""

    forgets_rewound: ClassVar[bool] = True

    def __init__(self) -> None:
        self._files: dict[str, _EventFile] = {}
        self._with_histograms = self._with_images = False
        self._context: Context | None = None
        self._folder = Path()

    def open(self, context: Context) -> str:
        """Make the directory; the files are made when there is something to write."""
        import tensorboard.compat.proto.event_pb2  # noqa: F401  # that it is missing is told at once

        given = str(context.settings.get("log_dir") or "")
        self._folder = Path(context.cwd, given, context.info.id) if given else context.run.path / "tensorboard"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._with_histograms = bool(context.settings.get("log_histograms"))
        self._with_images = bool(context.settings.get("log_images"))
        if context.memory.get("place") != str(self._folder):
            context.memory.clear()
        context.memory["place"] = str(self._folder)
        self._context, self._files = context, {}
        return f"tensorboard --logdir {self._folder.parent if given else self._folder}"

    def ship(self, records: Sequence[Record]) -> None:
        """Write the records, and make them last."""
        for record in records:
            kind, data = record.entry.kind, record.entry.data
            file = self._get_file("" if record.source == _FIRST else record.source)
            if kind == "metrics":
                file.write_scalars(record.entry.time, data["step"], data["values"])
            elif kind == "table" and self._with_histograms and data["name"] in ("weights", "updates"):
                file.write_histograms(record.entry.time, data["step"], data["name"], data["value"])
            elif kind == "rewind":
                file.write_rewind(record.entry.time, data["step"])
        assert self._context is not None
        for name, file in self._files.items():
            self._context.memory.setdefault("sizes", {})[name] = file.flush()

    def close(self, status: Status | None) -> None:
        """Write the pictures that the run has made, once it has ended, and close the files."""
        if status is not None and self._with_images:
            self._write_images()
        for file in self._files.values():
            file.close()
        self._files = {}

    def _write_images(self) -> None:
        """Write each PNG among the artifacts that was not written before, or has changed since."""
        assert self._context is not None
        run, memory = self._context.run, self._context.memory
        told = dict(memory.get("images", {}))
        found = {one["path"]: one["sha256"] for one in run.find_json("artifacts.json") or ()}
        new = {path: digest for path, digest in found.items() if path.endswith(".png") and told.get(path) != digest}
        attempts = run.attempts()
        step = (find_last_step(attempts[-1]) if attempts else None) or 0
        for path, digest in new.items():
            file = run.artifacts / path
            if file.is_file() and file.stat().st_size <= _MAX_IMAGE_BYTES:
                self._get_file("").write_image(file.stat().st_mtime, step, path, file.read_bytes())
                told[path] = digest
        if new:
            sizes = {**memory.get("sizes", {}), "": self._get_file("").flush()}
            memory.update(images=told, sizes=sizes)

    def _get_file(self, name: str) -> _EventFile:
        if name not in self._files:
            assert self._context is not None
            folder = self._folder / name
            folder.mkdir(exist_ok=True)
            started = int(parse_utc(self._context.info.created_at).timestamp())
            path = folder / f"events.out.tfevents.{started}.{self._context.info.id}"
            self._files[name] = _EventFile(path, self._context.memory.get("sizes", {}).get(name, 0), started)
        return self._files[name]


class _EventFile:
    """One file of events, from a known size on."""

    def __init__(self, path: Path, size: int, started: float) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._events, self._summaries = event_pb2, summary_pb2
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
        there = self._file.seek(0, os.SEEK_END)
        # A file that is shorter than it was known to be has been replaced: what it has is kept.
        self._file.truncate(min(size, there))
        self._file.seek(0, os.SEEK_END)
        self._writer: Any = RecordWriter(self._file)
        if self._file.tell() == 0:
            self._write(event_pb2.Event(wall_time=started, file_version="brain.Event:2"))

    def write_scalars(self, time: float, step: int, values: dict[str, float]) -> None:
        summary = self._summaries.Summary()
        for name, value in values.items():
            summary.value.add(tag=name, simple_value=value)
        self._write(self._events.Event(wall_time=time, step=step, summary=summary))

    def write_histograms(self, time: float, step: int, front: str, layers: dict[str, Any]) -> None:
        summary = self._summaries.Summary()
        for name, one in layers.items():
            if not one["counts"]:  # no value of the layer was finite
                continue
            counts, low, high = one["counts"], float(one["low"]), float(one["high"])
            width = (high - low) / len(counts)
            middles = [low + width * (index + 0.5) for index in range(len(counts))]
            histogram = self._summaries.HistogramProto(
                min=low,
                max=high,
                num=sum(counts),
                sum=sum(middle * count for middle, count in zip(middles, counts, strict=True)),
                sum_squares=sum(middle**2 * count for middle, count in zip(middles, counts, strict=True)),
                bucket_limit=[low + width * (index + 1) for index in range(len(counts))],
                bucket=counts,
            )
            summary.value.add(tag=f"{front}/{name}", histo=histogram)
        self._write(self._events.Event(wall_time=time, step=step, summary=summary))

    def write_image(self, time: float, step: int, name: str, data: bytes) -> None:
        if not data.startswith(_PNG):
            return
        width, height = struct.unpack(">II", data[16:24])  # the first block of a PNG begins with them
        image = self._summaries.Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=data)
        summary = self._summaries.Summary()
        summary.value.add(tag=name.removesuffix(".png"), image=image)
        self._write(self._events.Event(wall_time=time, step=step, summary=summary))

    def write_rewind(self, time: float, step: int) -> None:
        session = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(self._events.Event(wall_time=time, step=step + 1, session_log=session))

    def flush(self) -> int:
        """Make what was written last, and return the size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())
