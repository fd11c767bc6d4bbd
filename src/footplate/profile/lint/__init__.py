"""The lint: finds what is wrong or doubtful about a profile before it costs anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from footplate.profile.facts import Facts
from footplate.profile.findings import Finding, Severity
from footplate.profile.inactive import find_inactive
from footplate.profile.lint import (
    data,
    distributed,
    environment,
    guidelines,
    horizon,
    metrics,
    model,
    resources,
    security,
    spellings,
    training,
    transfer,
)
from footplate.profile.lint.rule import NEEDS, Hit, Rule
from footplate.profile.model import Profile

__all__ = ["RULES", "LintResult", "Rule", "lint"]

RULES: tuple[Rule, ...] = (
    *data.RULES,
    *model.RULES,
    *training.RULES,
    *transfer.RULES,
    *horizon.RULES,
    *metrics.RULES,
    *resources.RULES,
    *distributed.RULES,
    *spellings.RULES,
    *security.RULES,
    *environment.RULES,
    *guidelines.RULES,
)
"""Every rule but ``inactive``, which ``footplate.profile.inactive`` finds: a key whose feature is not built yet."""

_SEEN_BEFORE_START = ("data", "model", "training")
"""Rules that report what inspecting has found; another rule on the same key says it better."""


@dataclass(frozen=True, kw_only=True)
class LintResult:
    """What the lint says."""

    findings: tuple[Finding, ...]
    """What was found, errors first, then by line."""
    not_checked: tuple[str, ...]
    """What could not be checked, each with its reason."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings that stop a training."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.error)


def lint(profile: Profile, facts: Facts) -> LintResult:
    """Apply every rule to a profile and to what was seen.

    A rule whose facts are missing is named in ``not_checked``, when the profile has a key it is about.
    """
    findings: list[Finding] = []
    missing: dict[str, list[str]] = defaultdict(list)
    for rule in RULES:
        if rule.built_in_only and profile.entrypoint.is_set:
            continue
        lacking = [name for name in rule.needs if not NEEDS[name][0](profile, facts)]
        if not lacking:
            findings.extend(_make_finding(rule, hit, profile) for hit in rule.check(profile, facts))
        elif not rule.keys or any(profile.is_set(path) for path in rule.keys):
            missing[lacking[0]].append(rule.code)
    findings.extend(find_inactive(profile))
    kept = sorted(_drop_doubles(findings), key=lambda finding: (finding.severity.rank, finding.line))
    not_checked = [f"{', '.join(codes)}: {NEEDS[name][1]}" for name, codes in missing.items()]
    return LintResult(findings=tuple(kept), not_checked=tuple(not_checked))


def _make_finding(rule: Rule, hit: Hit, profile: Profile) -> Finding:
    line = _get_line(profile, hit.at) or _get_line(profile, hit.path)
    lines = {line, *(_get_line(profile, path) for path in hit.also)} - {0}
    return Finding(
        code=rule.code,
        severity=hit.severity or rule.severity,
        path=hit.path,
        line=line,
        message=hit.message,
        fix=hit.fix,
        lines=tuple(sorted(lines)),
    )


def _get_line(profile: Profile, path: str) -> int:
    """Return the line of a key in the profile's own file; 0 when it is a default, an override or extended."""
    place = profile.where(path) if path else None
    return place.line if place is not None and place.file == profile.file else 0


def _drop_doubles(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Leave out what another finding on the same key says better.

    A key that cannot work as it is needs no second line that its feature is not built; and what the data or the
    network refused when they were looked at is said by the rule that knows the fix.
    """
    errors = {finding.path for finding in findings if finding.severity is Severity.error}
    explained = {f.path for f in findings if f.severity is Severity.error and f.code not in _SEEN_BEFORE_START}
    for finding in findings:
        if finding.code == "inactive" and finding.severity is not Severity.error and finding.path in errors:
            continue
        if finding.code in _SEEN_BEFORE_START and any(
            path == finding.path or path.startswith(f"{finding.path}.") for path in explained
        ):
            continue
        yield finding
