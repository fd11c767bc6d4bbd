"""What stands on the page about a run, section by section; what the run has not recorded is left out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from footplate.quantities import format_duration, format_size
from footplate.record.checkpoints import get_folder, list_checkpoints
from footplate.record.receipt import find_receipt
from footplate.tracking.report.blocks import Block, Code, Figures, Heading, Items, Table, Text
from footplate.tracking.report.figures import (
    draw_curves,
    draw_layers,
    draw_machine,
    draw_result,
)
from footplate.tracking.report.machine import describe_machine
from footplate.tracking.report.seen import Seen
from footplate.tracking.report.values import draw_curve, format_value, show_clock, show_time, to_seconds

__all__ = ["describe_run"]

_MAX_CLASSES = 20  # a larger confusion matrix is shown as its most frequent mistakes
_MAX_EVENTS = 40
_MAX_FILES = 20
_COUNTED = {"sequence": "positions", "segmentation": "pixels"}
"""What a confusion matrix counts, by task; samples otherwise."""
_QUIET_EVENTS = ("data", "start", "evaluation")
_FREQUENT_EVENTS = ("best", "checkpoint")
"""Of these the last one is told."""
_JOURNALS = {"journal.rank0": "every metric and event of the training", "journal.system": "what the machine did"}


def describe_run(seen: Seen) -> list[Block]:
    """Return the page about a run."""
    parts = (
        _describe_head(seen),
        _describe_result(seen),
        _describe_gates(seen),
        _describe_curves(seen),
        _describe_machine(seen),
        _describe_confusion(seen),
        _describe_data(seen),
        _describe_findings(seen),
        _describe_profile(seen),
        _describe_environment(seen),
        _describe_attempts(seen),
        _describe_events(seen),
        _describe_files(seen),
    )
    return [block for part in parts for block in part]


def _describe_head(seen: Seen) -> Iterator[Block]:
    status, info = seen.status, seen.info
    facts = [f"**{status.state}**" + (f" ({status.cause})" if status.cause else "")]
    if status.started_at and status.ended_at:
        facts.append(format_duration(to_seconds(status.ended_at) - to_seconds(status.started_at)))
    elif status.started_at and status.last_seen_at:  # its end is not recorded
        seconds = max(to_seconds(status.last_seen_at) - to_seconds(status.started_at), 0.0)
        facts.append(f"at least {format_duration(seconds)}")
    if status.attempt and status.attempt > 1:
        facts[-1] += f" (attempt {status.attempt})"
    facts += [f"on {status.host or info.host}", f"started {show_time(status.started_at or info.created_at)}"]
    yield Heading(f"Run {info.id}", level=1)
    yield Text(" · ".join(facts))
    if status.evidence and status.state != "succeeded":
        yield Text(f"Known from: {'; '.join(status.evidence)}")
    if info.parent:
        yield Text(f"Repeats run {info.parent}.")
    yield Code(_join_command(info.argv).replace("{run_dir}", str(seen.run.path)))
    yield Text(f"in `{info.cwd}`")


def _join_command(argv: Iterable[str]) -> str:
    return " ".join(f"'{word}'" if re.search(r"\s", word) or not word else word for word in argv)


def _describe_result(seen: Seen) -> Iterator[Block]:
    result = seen.result
    metrics: Mapping[str, Any] = result.get("metrics") or {}
    if not metrics:
        return
    order = sorted(metrics, key=lambda name: (_rank_split(name), name))
    yield Heading("Result")
    yield Table(("metric", "value"), [(name, format_value(metrics[name])) for name in order])
    lines = []
    best = result.get("best") or {}
    if best:
        lines.append(f"Best weights: step {best.get('step')}, {best.get('metric')} {format_value(best.get('value'))}.")
    if seen.profile is not None and seen.profile.training.ema.enabled:
        decay = seen.profile.training.ema.decay
        lines.append(f"Judged and kept is the mean of the weights (`training.ema`, {decay:g}).")
    for split in ("test", "val"):
        perplexity = metrics.get(f"{split}/perplexity")
        if perplexity is not None:
            value = format_value(perplexity)
            lines.append(f"Perplexity {value} ({split}): as hard as to choose among {value} equally likely tokens.")
            break
    if "steps" in result:
        lines.append(_describe_length(result))
    if lines:
        yield Text("\n".join(lines))


def _describe_length(result: Mapping[str, Any]) -> str:
    words = [f"{result['steps']:,} steps", f"{_format_epochs(result.get('epochs'))} epochs"]
    if result.get("train_s"):
        words.append(f"{format_duration(result['train_s'])} of training")
    if result.get("samples_per_s"):
        words.append(f"{result['samples_per_s']:,.0f} samples/s")
    stopped = f"; ended by {result['stopped_by']}" if result.get("stopped_by") else ""
    return f"Length: {', '.join(words)}{stopped}."


def _rank_split(name: str) -> int:
    split = name.partition("/")[0]
    return ("test", "val", "train").index(split) if split in ("test", "val", "train") else 3


def _format_epochs(epochs: object) -> str:
    return f"{epochs:.4g}" if isinstance(epochs, int | float) else "?"


def _describe_gates(seen: Seen) -> Iterator[Block]:
    gates: Sequence[Mapping[str, Any]] = seen.result.get("gates") or ()
    if gates:
        yield Heading("Gates")
        yield Table(
            ("gate", "limit", "value", "passed"),
            [
                (one["name"], format_value(one["limit"]), format_value(one["value"]), _say_passed(one["passed"]))
                for one in gates
            ],
        )


def _say_passed(passed: object) -> str:
    return "yes" if passed else "**no**"


def _describe_curves(seen: Seen) -> Iterator[Block]:
    shown = {
        name: points for name, points in seen.metrics.items() if name.startswith(("train/", "val/")) and len(points) > 1
    }
    charts = draw_curves(seen)
    if not shown and not charts:
        return
    yield Heading("Curves")
    if charts:
        yield Figures(charts)
    if not shown:
        return
    rows = []
    for name, points in shown.items():
        values = [point.value for point in points]
        finite = [value for value in values if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (math.nan, math.nan)
        rows.append((name, *(format_value(value) for value in (values[0], values[-1], low, high)), draw_curve(values)))
    last = max(points[-1].step for points in shown.values())
    yield Table(("metric", "first", "last", "lowest", "highest", "course"), rows)
    yield Text(f"From left to right: step 0 to {last:,}.")


def _describe_machine(seen: Seen) -> Iterator[Block]:
    lines = describe_machine(seen.metrics, seen.events, seen.result)
    machine, layers = draw_machine(seen), draw_layers(seen)
    if lines or machine:
        yield Heading("Speed and memory")
        if lines:
            yield Items(lines)
        if machine:
            yield Figures(machine)
    if layers:
        yield Heading("Layers")
        yield Figures(layers)


def _describe_confusion(seen: Seen) -> Iterator[Block]:
    charts = draw_result(seen)
    others = [chart for chart in charts if chart.title != "Confusion matrix"]
    if others:
        yield Heading("Predictions on the test data")
        yield Figures(others)
    if seen.profile is not None and not seen.profile.post_training.report.include_confusion_matrix:
        return
    tables = seen.result.get("tables") or {}
    counts: Sequence[Sequence[int]] = tables.get("confusion") or ()
    if not counts:
        return
    names = [str(name) for name in tables.get("classes") or range(len(counts))]
    wrong = sorted(
        ((count, row, column) for row, line in enumerate(counts) for column, count in enumerate(line) if row != column),
        reverse=True,
    )
    yield Heading("Confusion matrix")
    if len(others) < len(charts):
        yield Figures([chart for chart in charts if chart.title == "Confusion matrix"])
    if len(names) <= _MAX_CLASSES:
        counted = _COUNTED.get(str(seen.result.get("task")), "samples")
        yield Text(f"Rows: what it is. Columns: what the model says. Counted are {counted}.")
        rows = [(f"**{names[row]}**", *(str(count or "·") for count in line)) for row, line in enumerate(counts)]
        yield Table(("", *names), rows, is_drawn=True)
    mistakes = [f"{names[row]} taken for {names[column]} ({count}×)" for count, row, column in wrong[:5] if count]
    yield Text(f"Most frequent mistakes: {', '.join(mistakes)}." if mistakes else "No mistakes on the test data.")


def _describe_data(seen: Seen) -> Iterator[Block]:
    found = [line for entry in seen.events if entry.data.get("name") == "data" for line in entry.data.get("found", ())]
    horizon = (seen.plan.get("horizon") or {}).get("text")
    count = seen.plan.get("num_parameters")
    files = _list_data_files(seen)
    if not found and not horizon and not files:
        return
    yield Heading("Data and length")
    if found:
        yield Code("\n".join(dict.fromkeys(str(line) for line in found)))
    if files:
        hashed = "" if seen.data.get("hashed") == "content" else f" of {seen.data.get('hashed')}"
        yield Table(("set", "file", "size", f"sha256{hashed}"), files[:_MAX_FILES])
        if files[_MAX_FILES:]:
            yield Text(f"{len(files) - _MAX_FILES:,} more are in `data.json`.")
    lines = [f"Planned: {horizon}."] if horizon else []
    lines += [f"Parameters: {count:,}."] if count is not None else []
    if lines:
        yield Text("\n".join(lines))


def _list_data_files(seen: Seen) -> list[tuple[str, str, str, str]]:
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


def _describe_findings(seen: Seen) -> Iterator[Block]:
    findings: Sequence[Mapping[str, Any]] = seen.plan.get("findings") or ()
    if not findings:
        return
    allowed = set(seen.plan.get("allowed") or ())
    rows = [
        (
            finding["severity"] + (" (allowed)" if finding["code"] in allowed else ""),
            f"`{finding['code']}`",
            f"`{finding['path']}`" if finding["path"] else "",
            finding["message"],
        )
        for finding in findings
    ]
    yield Heading("What lint said before the start")
    yield Table(("", "code", "key", "reason"), rows)


def _describe_profile(seen: Seen) -> Iterator[Block]:
    file = seen.run.path / "profile.yaml"
    if not file.exists():
        return
    marks: dict[str, list[str]] = {}
    for finding in seen.plan.get("findings") or ():
        marks.setdefault(finding["path"], []).append(f"{finding['severity']}: {finding['code']}")
    text = file.read_text(encoding="utf-8", errors="replace")
    yield Heading("Profile")
    yield Code("\n".join(_mark_lines(text, marks)), "yaml")


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


def _describe_environment(seen: Seen) -> Iterator[Block]:
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
    yield Heading("Environment")
    yield Table(("", ""), rows)
    yield Text("All packages: `env.json`.")


def _describe_attempts(seen: Seen) -> Iterator[Block]:
    rows = []
    for attempt in seen.run.attempts():
        receipt = find_receipt(attempt)
        if receipt is None:
            rows.append((str(attempt.number), "", "", "", "no receipt"))
            continue
        end = receipt.signal or ("" if receipt.exit_code is None else f"exit code {receipt.exit_code}")
        why = " ".join(filter(None, (str(receipt.cause or ""), receipt.evidence)))
        times = (show_time(receipt.started_at), show_time(receipt.ended_at or ""))
        rows.append((str(attempt.number), *times, end or ("waiting" if receipt.starts_at else "still running"), why))
    if rows:
        yield Heading("Attempts")
        yield Table(("", "started", "ended", "end", "cause"), rows)


def _describe_events(seen: Seen) -> Iterator[Block]:
    last = {entry.data.get("name"): entry for entry in seen.events}
    counts = Counter(entry.data.get("name") for entry in seen.events)
    told = [
        entry
        for entry in seen.events
        if (name := entry.data.get("name")) not in _QUIET_EVENTS
        and (name not in _FREQUENT_EVENTS or entry is last[name])
    ]
    if not told:
        return
    left_out = len(told) - _MAX_EVENTS
    rows = [
        (show_clock(entry.time), str(entry.data.get("name")), _show_fields(entry.data)) for entry in told[-_MAX_EVENTS:]
    ]
    yield Heading("Events")
    yield Table(("time (UTC)", "event", ""), rows)
    often = [f"{counts[name]:,} × `{name}`" for name in _FREQUENT_EVENTS if counts[name] > 1]
    if often:
        yield Text(f"Of {' and '.join(often)} the last is shown; all are in the journal.")
    if left_out > 0:
        yield Text(f"{left_out:,} earlier events are in the journal.")


def _show_fields(data: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in data.items() if name != "name" and not isinstance(value, list | dict)}
    return ", ".join(f"{name} {format_value(value)}" for name, value in fields.items())


def _describe_files(seen: Seen) -> Iterator[Block]:
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
    yield Heading("Files")
    yield Text(f"In `{root}`:")
    yield Table(("file", ""), rows)
