"""Writes a plan and its findings for a reader: at most 80 columns, every number with its arithmetic."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from footplate.quantities import format_count, format_duration, format_size

__all__ = ["WIDTH", "count_findings", "render_findings", "render_not_checked", "render_plan", "wrap"]

WIDTH = 80
_INDENT = 12
_STEADY_RATIO = 1.5  # a quiet machine stays below it
_SEVERITIES = ("error", "warning", "advice")


def render_plan(plan: Mapping[str, Any]) -> str:
    """Return the plan (as ``Plan.to_json`` gives it) as text."""
    lines = [f"Plan for {plan['name']}", ""]
    for title, texts in _list_sections(plan):
        lines += _render_section(title, texts)
    findings = plan["findings"]
    lines += ["", f"Findings: {count_findings(findings)}"]
    lines += render_findings(findings, allowed=plan["allowed"])
    lines += render_not_checked(plan["not_checked"])
    return "\n".join(lines)


def _list_sections(plan: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    if not _is_own_code(plan):
        yield "Data", _describe_data(plan["data"])
        yield "Length", _describe_length(plan["horizon"])
        yield "Model", _describe_model(plan)
        memory = plan["memory"]
        yield "Memory", ("not known",) if memory is None else (memory["text"],)
    yield "Machine", _describe_machine(plan["machine"])
    yield "Time", _describe_time(plan)
    yield "Verdict", tuple(plan["verdict"]["reasons"])
    command = plan["command"]
    yield "Command", (shlex.join(_shorten_command(command["argv"])), f"in {command['cwd']}")
    yield "Record", (f"{_shorten_path(plan['output_dir'], command['cwd'])}/{plan['name']}-…",)


def _is_own_code(plan: Mapping[str, Any]) -> bool:
    return "footplate.worker" not in plan["command"]["argv"]


def _describe_data(data: Mapping[str, Any] | None) -> tuple[str, ...]:
    if data is None:
        return ("not known: see below",)
    sets = " · ".join(
        f"{data[f'num_{name}']:,} {word}"
        for name, word in (("train", "to train"), ("val", "to validate"), ("test", "to test"))
    )
    inputs = f"inputs {data['input_shape']} {data['input_dtype']}"
    return data["source"], sets, f"{inputs} → {_describe_targets(data)}"


def _describe_targets(data: Mapping[str, Any]) -> str:
    task, classes = data["task"], data["classes"]
    if task == "language_model":
        return f"the next of {data['vocab_size']:,} tokens"
    if not classes:
        return f"targets {data['target_shape'] or 'one number'} {data['target_dtype']}"
    if task == "multi_label":
        return f"{format_count(len(classes), 'label')}, any number of them"
    many = format_count(len(classes), "class", "classes")
    if task in ("sequence", "segmentation"):
        return f"{many}, one for each {'position' if task == 'sequence' else 'pixel'}"
    counts = data["class_counts"]
    return many + (f" ({_describe_range(counts)} each)" if counts else "")


def _describe_range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,} to {high:,} samples" if low < high else format_count(low, "sample")


def _describe_length(horizon: Mapping[str, Any] | None) -> tuple[str, ...]:
    if horizon is None:
        return ("not known: the data could not be looked at",)
    interval, count = horizon["evaluation_interval"], horizon["num_evaluations"]
    if interval is None:
        return horizon["text"], "evaluations by the clock (`validation.strategy: time_interval`)"
    if not count:
        return horizon["text"], "no evaluation: there are no validation data"
    return horizon["text"], f"validation every {format_count(interval, 'step')}: {format_count(count, 'evaluation')}"


def _describe_model(plan: Mapping[str, Any]) -> tuple[str, ...]:
    count = plan["num_parameters"]
    if count is None:
        return ("parameters not known: see below",)
    weights = plan["weights"]
    total = weights["num_files"] * weights["bytes_each"]
    each = f"{count:,} × 4 bytes = {format_size(weights['bytes_each'])}"
    return (f"{count:,} parameters", f"weights kept: best and last, each {each}; {format_size(total)} on disk")


def _describe_machine(machine: Mapping[str, Any] | None) -> tuple[str, ...]:
    if machine is None:
        return ("not looked at",)
    parts = [
        machine["host"],
        format_count(machine["num_cpus"], "core"),
        f"{format_size(machine['memory_gb'] * 1e9)} memory",
    ]
    gpus = [f"{gpu['name']} {format_size(gpu['memory_gb'] * 1e9)}" for gpu in machine["gpus"]]
    parts.append(", ".join(gpus) if gpus else "no GPU")
    if machine["disk_free_gb"] is not None:
        parts.append(f"{format_size(machine['disk_free_gb'] * 1e9)} disk free")
    return (" · ".join(parts),)


def _describe_time(plan: Mapping[str, Any]) -> tuple[str, ...]:
    probe, horizon, verdict = plan["measurement"], plan["horizon"], plan["verdict"]
    if plan["estimated_s"] is None or horizon is None:
        why = [text.removeprefix("time: ") for text in verdict["not_known"] if text.startswith("time: ")]
        return (f"not known: {why[0]}",) if why else ("not known",)
    step_s = plan["estimated_s"] / horizon["total_steps"]
    total = f"{horizon['total_steps']:,} steps × {format_duration(step_s)} = {format_duration(plan['estimated_s'])}"
    if probe is None:
        return (total,)
    seen = f"measured here over {probe['num_steps']} steps: {probe['samples_per_s']:,.0f} samples/s"
    low_s, high_s = probe["step_s_range"]
    if high_s > _STEADY_RATIO * low_s:
        seen += f"; 8 of 10 steps took {format_duration(low_s)} to {format_duration(high_s)}: the machine is busy"
    return f"{total}, evaluations not counted", seen, _describe_energy(probe, horizon["total_steps"])


def _describe_energy(probe: Mapping[str, Any], total_steps: int) -> str:
    joules = probe["energy_j_per_step"]
    if joules is None:
        return f"energy not known: {probe['energy_note']}"
    watt_hours = joules * total_steps / 3600
    return f"energy: {joules:.3g} J a step × {total_steps:,} = {watt_hours:.3g} Wh ({probe['energy_note']})"


def _shorten_command(argv: Sequence[str]) -> list[str]:
    return ["python", *argv[1:]] if argv and Path(argv[0]).name.startswith("python") else list(argv)


def _shorten_path(path: str, cwd: str) -> str:
    """Return the path as it would be typed in ``cwd``."""
    return path[len(cwd) + 1 :] if path.startswith(cwd.rstrip("/") + "/") else path


def count_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return ``none`` or ``1 error, 2 warnings, 1 advice``."""
    counts = {name: sum(f["severity"] == name for f in findings) for name in _SEVERITIES}
    words = [
        format_count(count, name, "advice" if name == "advice" else name + "s")
        for name, count in counts.items()
        if count
    ]
    return ", ".join(words) or "none"


def render_findings(findings: Sequence[Mapping[str, Any]], *, allowed: Sequence[str] = ()) -> list[str]:
    """Return findings (as ``Finding.to_json`` gives them) as lines, the gravest first, each with its fix.

    Findings that say the same of several keys are shown once.
    """
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for finding in findings:
        alike.setdefault(tuple(finding[name] for name in ("severity", "code", "message", "fix")), []).append(finding)
    lines: list[str] = []
    for (severity, code, message, fix), group in sorted(alike.items(), key=lambda item: _SEVERITIES.index(item[0][0])):
        mark = " (allowed)" if code in allowed else ""
        places = ", ".join(str(finding["line"]) for finding in group if finding["line"])
        keys = [finding["path"] for finding in group if finding["path"]]
        head = [severity + mark, code, f"line{'s' if ',' in places else ''} {places}" if places else ""]
        lines += ["", *wrap(" · ".join(filter(None, [*head, ", ".join(keys)])), indent=2, hang=2)]
        lines += wrap(message, indent=4)
        lines += wrap("→ " + fix, indent=4, hang=2) if fix else []
    return lines


def render_not_checked(texts: Sequence[str]) -> list[str]:
    """Return what could not be checked as lines; none when all could."""
    return ["", "Not checked", *(line for text in texts for line in wrap(text, indent=2, hang=2))] if texts else []


def _render_section(title: str, texts: Sequence[str]) -> list[str]:
    lines = [line for text in texts for line in wrap(text, indent=_INDENT)]
    return [f"{title:<{_INDENT}}{lines[0].strip()}", *lines[1:]] if lines else []


def wrap(text: str, *, indent: int = 0, hang: int = 0) -> list[str]:
    """Return text as lines of at most 80 columns; what is one word, such as a path, is not broken."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_on_hyphens=False,
        break_long_words=False,
    )
