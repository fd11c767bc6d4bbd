"""Writes the page about a run: what came out, from what, how, and where it lies; from the run directory alone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from footplate.errors import ProfileError, RecordError
from footplate.profile.load import load_profile
from footplate.profile.model import Profile
from footplate.quantities import format_duration, format_size
from footplate.record.checkpoints import get_folder, list_checkpoints
from footplate.record.journal_reader import Entry, Point, read_events, read_metrics
from footplate.record.receipt import find_receipt
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import Status, get_status
from footplate.runs.report_machine import describe_machine

__all__ = ["NAME", "format_value", "render_report", "write_report"]

NAME = "report.md"
"""The page's name in the run directory."""

_MAX_CLASSES = 20  # a larger confusion matrix is shown as its most frequent mistakes
_MAX_EVENTS = 40
_MAX_FILES = 20
_COUNTED = {"sequence": "positions", "segmentation": "pixels"}
"""What a confusion matrix counts, by task; samples otherwise."""
_QUIET_EVENTS = ("data", "start", "evaluation")
_FREQUENT_EVENTS = ("best", "checkpoint")
"""Of these the last one is told."""
_JOURNALS = {"journal.rank0": "every metric and event of the training", "journal.system": "what the machine did"}
_BARS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 32


def write_report(run: RunDir) -> Path:
    """Write the page anew and return its path."""
    path = run.path / NAME
    try:
        path.write_text(render_report(run), encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{path}: the report cannot be written: {error.strerror}", hint="is the disk full?"
        ) from error
    return path


def render_report(run: RunDir) -> str:
    """Return the page as markdown; what the run has not recorded is left out."""
    seen = _read(run)
    parts = (
        _render_head(seen),
        _render_result(seen),
        _render_gates(seen),
        _render_curves(seen),
        _render_machine(seen),
        _render_confusion(seen),
        _render_data(seen),
        _render_findings(seen),
        _render_profile(seen),
        _render_environment(seen),
        _render_attempts(seen),
        _render_events(seen),
        _render_files(seen),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What lies in a run directory; a file that is not there is empty."""

    run: RunDir
    info: RunInfo
    status: Status
    result: Mapping[str, Any]
    plan: Mapping[str, Any]
    data: Mapping[str, Any]
    code: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Sequence[Point]]
    events: Sequence[Entry]


def _read(run: RunDir) -> _Seen:
    return _Seen(
        run=run,
        info=read_run_info(run),
        status=get_status(run),
        result=run.find_json("result.json") or {},
        plan=run.find_json("plan.json") or {},
        data=run.find_json("data.json") or {},
        code=run.find_json("code.json") or {},
        environment=run.find_json("env.json") or {},
        metrics=read_metrics(run),
        events=read_events(run),
    )


def _render_head(seen: _Seen) -> list[str]:
    status, info = seen.status, seen.info
    facts = [f"**{status.state}**" + (f" ({status.cause})" if status.cause else "")]
    if status.started_at and status.ended_at:
        facts.append(format_duration(_to_seconds(status.ended_at) - _to_seconds(status.started_at)))
    elif status.started_at and status.last_seen_at:  # its end is not recorded
        seconds = max(_to_seconds(status.last_seen_at) - _to_seconds(status.started_at), 0.0)
        facts.append(f"at least {format_duration(seconds)}")
    if status.attempt and status.attempt > 1:
        facts[-1] += f" (attempt {status.attempt})"
    facts += [f"on {status.host or info.host}", f"started {_show_time(status.started_at or info.created_at)}"]
    lines = [f"# Run {info.id}", "", " · ".join(facts), ""]
    if status.evidence and status.state != "succeeded":
        lines += [f"Known from: {'; '.join(status.evidence)}", ""]
    if info.parent:
        lines += [f"Repeats run {info.parent}.", ""]
    lines += ["```", _join_command(info.argv), "```", f"in `{info.cwd}`", ""]
    return lines


def _join_command(argv: Iterable[str]) -> str:
    return " ".join(f"'{word}'" if re.search(r"\s", word) or not word else word for word in argv)


def _render_result(seen: _Seen) -> list[str]:
    result = seen.result
    metrics: Mapping[str, Any] = result.get("metrics") or {}
    if not metrics:
        return []
    order = sorted(metrics, key=lambda name: (_rank_split(name), name))
    lines = ["## Result", "", *_table(("metric", "value"), ((name, format_value(metrics[name])) for name in order)), ""]
    best = result.get("best") or {}
    if best:
        lines.append(f"Best weights: step {best.get('step')}, {best.get('metric')} {format_value(best.get('value'))}.")
    profile = _find_profile(seen.run)
    if profile is not None and profile.training.ema.enabled:
        lines.append(f"Judged and kept is the mean of the weights (`training.ema`, {profile.training.ema.decay:g}).")
    for split in ("test", "val"):
        perplexity = metrics.get(f"{split}/perplexity")
        if perplexity is not None:
            value = format_value(perplexity)
            lines.append(f"Perplexity {value} ({split}): as hard as to choose among {value} equally likely tokens.")
            break
    if "steps" in result:
        words = [f"{result['steps']:,} steps", f"{_format_epochs(result.get('epochs'))} epochs"]
        if result.get("train_s"):
            words.append(f"{format_duration(result['train_s'])} of training")
        if result.get("samples_per_s"):
            words.append(f"{result['samples_per_s']:,.0f} samples/s")
        stopped = f"; ended by {result['stopped_by']}" if result.get("stopped_by") else ""
        lines.append(f"Length: {', '.join(words)}{stopped}.")
    return [*lines, ""]


def _rank_split(name: str) -> int:
    split = name.partition("/")[0]
    return ("test", "val", "train").index(split) if split in ("test", "val", "train") else 3


def _format_epochs(epochs: object) -> str:
    return f"{epochs:.4g}" if isinstance(epochs, int | float) else "?"


def _render_gates(seen: _Seen) -> list[str]:
    gates: Sequence[Mapping[str, Any]] = seen.result.get("gates") or ()
    if not gates:
        return []
    rows = (
        (gate["name"], format_value(gate["limit"]), format_value(gate["value"]), "yes" if gate["passed"] else "**no**")
        for gate in gates
    )
    return ["## Gates", "", *_table(("gate", "limit", "value", "passed"), rows), ""]


def _render_curves(seen: _Seen) -> list[str]:
    shown = {
        name: points for name, points in seen.metrics.items() if name.startswith(("train/", "val/")) and len(points) > 1
    }
    if not shown:
        return []
    rows = []
    for name, points in shown.items():
        values = [point.value for point in points]
        finite = [value for value in values if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (math.nan, math.nan)
        rows.append((name, *(format_value(value) for value in (values[0], values[-1], low, high)), draw_curve(values)))
    last = max(points[-1].step for points in shown.values())
    head = ("metric", "first", "last", "lowest", "highest", "course")
    return ["## Curves", "", *_table(head, rows), "", f"From left to right: step 0 to {last:,}.", ""]


def draw_curve(values: Sequence[float], width: int = _CURVE_WIDTH) -> str:
    """Return the course of a metric as one line of bars; × stands for what is not finite."""
    if len(values) > width:
        edges = [round(index * len(values) / width) for index in range(width + 1)]
        values = [_mean(values[start:end]) for start, end in pairwise(edges)]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "×" * len(values)
    low, span = min(finite), max(finite) - min(finite)
    return "".join(
        _BARS[round((value - low) / span * (len(_BARS) - 1)) if span else 0] if math.isfinite(value) else "×"
        for value in values
    )


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _render_machine(seen: _Seen) -> list[str]:
    lines = describe_machine(seen.metrics, seen.events, seen.result)
    return ["## Speed and memory", "", *(f"- {line}" for line in lines), ""] if lines else []


def _render_confusion(seen: _Seen) -> list[str]:
    profile = _find_profile(seen.run)
    if profile is not None and not profile.post_training.report.include_confusion_matrix:
        return []
    tables = seen.result.get("tables") or {}
    counts: Sequence[Sequence[int]] = tables.get("confusion") or ()
    if not counts:
        return []
    names = [str(name) for name in tables.get("classes") or range(len(counts))]
    wrong = sorted(
        ((count, row, column) for row, line in enumerate(counts) for column, count in enumerate(line) if row != column),
        reverse=True,
    )
    lines = ["## Confusion matrix", ""]
    if len(names) <= _MAX_CLASSES:
        rows = ((f"**{names[row]}**", *(str(count or "·") for count in line)) for row, line in enumerate(counts))
        counted = _COUNTED.get(str(seen.result.get("task")), "samples")
        told = f"Rows: what it is. Columns: what the model says. Counted are {counted}."
        lines += [told, "", *_table(("", *names), rows), ""]
    mistakes = [f"{names[row]} taken for {names[column]} ({count}×)" for count, row, column in wrong[:5] if count]
    lines += [f"Most frequent mistakes: {', '.join(mistakes)}." if mistakes else "No mistakes on the test data.", ""]
    return lines


def _find_profile(run: RunDir) -> Profile | None:
    """Return the run's profile; None where it has none, or one that this version cannot read."""
    try:
        return load_profile(run.path / "profile.yaml")
    except ProfileError:
        return None


def _render_data(seen: _Seen) -> list[str]:
    found = [line for entry in seen.events if entry.data.get("name") == "data" for line in entry.data.get("found", ())]
    horizon = (seen.plan.get("horizon") or {}).get("text")
    count = seen.plan.get("num_parameters")
    files = _list_data_files(seen)
    if not found and not horizon and not files:
        return []
    lines = ["## Data and length", ""]
    if found:
        lines += ["```", *dict.fromkeys(str(line) for line in found), "```"]
    if files:
        hashed = "" if seen.data.get("hashed") == "content" else f" of {seen.data.get('hashed')}"
        lines += ["", *_table(("set", "file", "size", f"sha256{hashed}"), files[:_MAX_FILES]), ""]
        lines += [f"{len(files) - _MAX_FILES:,} more are in `data.json`.", ""] if files[_MAX_FILES:] else []
    if horizon:
        lines += [f"Planned: {horizon}."]
    if count is not None:
        lines += [f"Parameters: {count:,}."]
    return [*lines, ""]


def _list_data_files(seen: _Seen) -> list[tuple[str, str, str, str]]:
    """Return set, file, size and the first digits of the hash of all data that were recorded."""
    rows = []
    for key, data_set in (seen.data.get("sets") or {}).items():
        if data_set.get("version"):
            rows.append((key, f"{data_set['source']}, {data_set['version']}", "", ""))
        found: Sequence[Mapping[str, Any]] = data_set.get("files") or ()
        if len(found) > _MAX_FILES:
            rows += [(key, *row) for row in _list_folders(found)]
            continue
        for file in found:
            rows.append((key, f"`{file['path']}`", format_size(file["size"]), f"`{file['sha256'][:12]}`"))
    return rows


def _list_folders(files: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return many files as their folders; the hash of each file is in ``data.json``."""
    sizes: dict[str, list[int]] = {}
    for file in files:
        sizes.setdefault(str(Path(file["path"]).parent), []).append(file["size"])
    return [
        (f"`{folder}/`: {len(each):,} files", format_size(sum(each)), "`data.json`") for folder, each in sizes.items()
    ]


def _render_findings(seen: _Seen) -> list[str]:
    findings: Sequence[Mapping[str, Any]] = seen.plan.get("findings") or ()
    if not findings:
        return []
    allowed = set(seen.plan.get("allowed") or ())
    rows = (
        (
            finding["severity"] + (" (allowed)" if finding["code"] in allowed else ""),
            f"`{finding['code']}`",
            f"`{finding['path']}`" if finding["path"] else "",
            finding["message"],
        )
        for finding in findings
    )
    return ["## What lint said before the start", "", *_table(("", "code", "key", "reason"), rows), ""]


def _render_profile(seen: _Seen) -> list[str]:
    file = seen.run.path / "profile.yaml"
    if not file.exists():
        return []
    marks: dict[str, list[str]] = {}
    for finding in seen.plan.get("findings") or ():
        marks.setdefault(finding["path"], []).append(f"{finding['severity']}: {finding['code']}")
    text = file.read_text(encoding="utf-8", errors="replace")
    return ["## Profile", "", "```yaml", *_mark_lines(text, marks), "```", ""]


def _mark_lines(text: str, marks: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a resolved profile, with a comment at each key that lint had something to say about."""
    stack: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"( *)([^\s:#-][^:#]*):(?: |$)", line)
        if match is None:
            yield line
            continue
        indent = len(match[1])
        stack = [part for part in stack if part[0] < indent] + [(indent, match[2].strip("'\""))]
        found = marks.get(".".join(name for _, name in stack), ())
        yield line + (f"  # ← {', '.join(found)}" if found else "")


def _render_environment(seen: _Seen) -> list[str]:
    plan, code = seen.plan, seen.code
    rows = [("Footplate", seen.info.version)]
    rows += [(name, str(version)) for name, version in (plan.get("versions") or {}).items()]
    start = next((entry.data for entry in reversed(seen.events) if entry.data.get("name") == "start"), {})
    if start.get("device"):
        count = int(start.get("processes", 1))
        rows.append(("device", str(start["device"]) + (f", {count} processes" if count > 1 else "")))
    for name in ("platform", "cpu"):
        if isinstance(seen.environment.get(name), str):
            rows.append((name, seen.environment[name]))
    machine = plan.get("machine") or {}
    if machine:
        rows.append(("machine", f"{machine['num_cpus']} cores, {format_size(machine['memory_gb'] * 1e9)} of memory"))
        rows += [("GPU", f"{gpu['name']}, {format_size(gpu['memory_gb'] * 1e9)}") for gpu in machine["gpus"]]
    if code.get("git_commit"):
        rows.append(
            ("git", code["git_commit"] + (" with changes, all of them captured" if code.get("git_dirty") else ""))
        )
    if code.get("archive"):
        rows.append(("code", f"{code['archive']}"))
    return ["## Environment", "", *_table(("", ""), rows), "", "All packages: `env.json`.", ""]


def _render_attempts(seen: _Seen) -> list[str]:
    rows = []
    for attempt in seen.run.attempts():
        receipt = find_receipt(attempt)
        if receipt is None:
            rows.append((str(attempt.number), "", "", "", "no receipt"))
            continue
        end = receipt.signal or ("" if receipt.exit_code is None else f"exit code {receipt.exit_code}")
        why = " ".join(filter(None, (str(receipt.cause or ""), receipt.evidence)))
        times = (_show_time(receipt.started_at), _show_time(receipt.ended_at or ""))
        rows.append((str(attempt.number), *times, end or ("waiting" if receipt.starts_at else "still running"), why))
    return ["## Attempts", "", *_table(("", "started", "ended", "end", "cause"), rows), ""] if rows else []


def _render_events(seen: _Seen) -> list[str]:
    last = {entry.data.get("name"): entry for entry in seen.events}
    counts = Counter(entry.data.get("name") for entry in seen.events)
    told = [
        entry
        for entry in seen.events
        if (name := entry.data.get("name")) not in _QUIET_EVENTS
        and (name not in _FREQUENT_EVENTS or entry is last[name])
    ]
    if not told:
        return []
    left_out = len(told) - _MAX_EVENTS
    rows = (
        (_show_clock(entry.time), str(entry.data.get("name")), _show_fields(entry.data))
        for entry in told[-_MAX_EVENTS:]
    )
    lines = ["## Events", "", *_table(("time (UTC)", "event", ""), rows), ""]
    often = [f"{counts[name]:,} × `{name}`" for name in _FREQUENT_EVENTS if counts[name] > 1]
    if often:
        lines += [f"Of {' and '.join(often)} the last is shown; all are in the journal.", ""]
    return [*lines, f"{left_out:,} earlier events are in the journal.", ""] if left_out > 0 else lines


def _show_fields(data: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in data.items() if name != "name" and not isinstance(value, list | dict)}
    return ", ".join(f"{name} {format_value(value)}" for name, value in fields.items())


def _render_files(seen: _Seen) -> list[str]:
    root = seen.run.path
    files = sorted(path for path in seen.run.artifacts.rglob("*") if path.is_file())
    rows = [(f"`{path.relative_to(root)}`", format_size(path.stat().st_size)) for path in files]
    for name, text in (
        ("profile.yaml", "what was asked for"),
        ("plan.json", "what was planned"),
        ("result.json", "what came out"),
        ("data.json", "which data it read"),
        ("env.json", "packages and machine"),
    ):
        if (root / name).exists():
            rows.append((f"`{name}`", text))
    kept = list_checkpoints(get_folder(seen.run))
    if kept:
        told = f"the newest of {len(kept)} checkpoints" if len(kept) > 1 else "a checkpoint"
        rows.append((f"`{kept[-1].path.relative_to(root)}`", f"{told}, to go on from"))
    for attempt in seen.run.attempts():
        rows += [(f"`{path.relative_to(root)}`", "what it printed") for path in sorted(attempt.path.glob("log.*.txt"))]
        rows += [(f"`{path.relative_to(root)}`", _JOURNALS.get(path.stem, "metrics")) for path in attempt.journals()]
    return ["## Files", "", f"In `{root}`:", "", *_table(("file", ""), rows)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines]


def _escape(cell: str) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def format_value(value: object) -> str:
    """Return a metric's value with the digits that matter: ``0.9889``, ``12,345``, ``3.2e-05``, ``NaN``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    text = f"{value:.4g}"
    return f"{value:.6g}" if float(text).is_integer() else text  # 0.99997 is not 1


def _to_seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _show_time(text: str) -> str:
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _show_clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")
