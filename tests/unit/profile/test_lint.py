"""Every rule finds what it is for, at its line and with its numbers, and leaves its near miss alone."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint import RULES, lint
from footplate.profile.load import load_profile_text

ROOT = Path(__file__).resolve().parents[3]


def _load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_lint_docs", ROOT / "tools" / "write_lint_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


docs = _load_tool()
CASES = {case.code: case for case in docs.read_cases()}
CODES = [rule.code for rule in RULES]


def test_every_rule_has_a_case_and_a_code_of_its_own() -> None:
    assert len(set(CODES)) == len(CODES)
    assert set(CASES) == {*CODES, "inactive"}
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in CODES)


@pytest.mark.parametrize("code", CASES)
def test_a_profile_with_the_fault_gives_exactly_this_finding(code: str) -> None:
    case = CASES[code]
    findings = case.lint().findings
    assert {finding.code for finding in findings} - {"inactive"} == {code} - {"inactive"}
    finding = next(finding for finding in findings if finding.code == code)
    assert finding.line == case.line
    if code != "inactive":
        assert finding.lines == case.lines
    for text in case.says:
        assert text in f"{finding.message}", finding.message
    assert finding.fix


@pytest.mark.parametrize("code", CASES)
def test_a_near_miss_is_left_alone(code: str) -> None:
    assert code not in {finding.code for finding in CASES[code].lint_clean().findings}


@pytest.mark.parametrize("code", [rule.code for rule in RULES])
def test_the_severity_is_that_of_the_rule(code: str) -> None:
    rule = next(rule for rule in RULES if rule.code == code)
    finding = next(finding for finding in CASES[code].lint().findings if finding.code == code)
    assert finding.severity is rule.severity


_NOT_BY_ONE_KEY = {"no-validation-data": "the number of validation samples is a fact"}


def _get_typed(code: str) -> list[str]:
    """Return the fixes of a case as overrides, when all of them have the form `set KEY: VALUE`."""
    fixes = [finding.fix for finding in CASES[code].lint().findings if finding.code == code]
    found = [re.match(r"set ([\w.]+): (\[[^\]]*\]|[\w./-]+)(?=$|,| \(| or| and)", fix) for fix in fixes]
    return [f"{match[1]}={match[2]}" for match in found if match] if all(found) else []


@pytest.mark.parametrize("code", [code for code in CASES if code not in _NOT_BY_ONE_KEY and _get_typed(code)])
def test_a_fix_that_is_typed_mends_the_fault(code: str) -> None:
    case = CASES[code]
    data = [] if "train_data" in case.profile else ["data.train_data=sklearn:digits"]
    profile = load_profile_text(case.profile, overrides=[*data, *_get_typed(code)])
    assert code not in {finding.code for finding in lint(profile, case.facts).findings}


def test_the_pages_are_up_to_date() -> None:
    there = {file.name: file.read_text(encoding="utf-8") for file in docs.PAGES.glob("*.md")}
    assert there == docs.render_pages(), "run tools/write_lint_docs.py"


def test_errors_come_first_then_lines() -> None:
    text = "\n".join(
        [
            "training:",
            "  optimizer: adam",
            "  weight_decay: 0.1",
            "  dropout: 0.1",
            "model: {dropout: 0.2, architecture: transformer, hidden_size: 10}",
            "data: {train_data: x.npz}",
            "device: cuda",
            "resources: {num_gpus: 0}",
        ]
    )
    findings = lint(load_profile_text(text), Facts()).findings
    assert [(finding.severity, finding.line) for finding in findings] == [
        (Severity.error, 0),
        (Severity.error, 7),
        (Severity.warning, 2),
        (Severity.warning, 4),
        (Severity.advice, 0),
    ]


def test_what_could_not_be_checked_is_said_only_where_it_matters() -> None:
    plain = lint(load_profile_text("data: {train_data: x.npz}"), Facts())
    assert not any("wall-time" in text or "decay-unreachable" in text for text in plain.not_checked)
    asked = lint(
        load_profile_text("data: {train_data: x.npz}\ntraining: {scheduler: {type: linear, T_max: 9}}"), Facts()
    )
    assert any("decay-unreachable" in text and "data could not be looked at" in text for text in asked.not_checked)


def test_a_time_that_was_not_measured_is_said() -> None:
    profile = load_profile_text("data: {train_data: x.npz}\nresources: {wall_time: 00:10:00}")
    assert (
        "wall-time: the time of a step is not known (footplate plan --measure)"
        in lint(profile, docs.make_facts({})).not_checked
    )


def test_an_entrypoint_is_not_judged_by_the_built_in_training() -> None:
    text = "entrypoint: {script: train.py}\nmodel: {num_attention_heads: 2}\nvalidation: {metrics: [mae]}"
    (finding,) = lint(load_profile_text(text), docs.make_facts({"data": None})).findings
    assert (finding.code, finding.severity) == ("own-code", "advice")


def test_an_override_has_no_line() -> None:
    profile = load_profile_text("data: {train_data: x.npz}", overrides=["resources.num_cpus=64"])
    (finding,) = lint(profile, docs.make_facts({})).findings
    assert (finding.code, finding.line, finding.lines) == ("machine-too-small", 0, ())


def test_a_secret_is_found_and_never_repeated() -> None:
    secret = "https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/abcdefghijklmnopqrstuvwx"
    text = f"data: {{train_data: x.npz}}\nnotes: see {secret}"
    findings = lint(load_profile_text(text), Facts()).findings
    assert [finding.code for finding in findings] == ["credential"]
    assert "abcdefgh" not in str(findings[0].to_json())


def test_what_another_rule_explains_is_not_said_twice() -> None:
    facts = docs.make_facts(
        {"data": {"input_shape": [13]}, "problems": [["model.architecture", "no image", "use mlp"]]}
    )
    profile = load_profile_text("data: {train_data: x.npz}\nmodel: {architecture: cnn}")
    assert [finding.code for finding in lint(profile, facts).findings] == ["architecture-shape"]


def test_an_empty_profile_has_one_finding() -> None:
    findings = lint(load_profile_text("training: {}"), Facts()).findings
    assert [finding.code for finding in findings] == ["nothing-to-train"]
