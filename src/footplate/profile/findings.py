"""Findings: what is wrong, doubtful or worth knowing about a profile, each with its reason and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity", "get_page"]


class Severity(StrEnum):
    """How much a finding matters: an error stops `train`, a warning is a likely mistake, advice is a guideline."""

    error = "error"
    warning = "warning"
    advice = "advice"

    @property
    def rank(self) -> int:
        """Return 0 for an error, 1 for a warning, 2 for advice: the order in which findings are shown."""
        return list(Severity).index(self)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found in a profile."""

    code: str
    """Stable name of the rule; `--allow CODE` lets it pass."""
    severity: Severity
    """How much it matters."""
    path: str
    """Dotted key it is about, empty for the profile as a whole."""
    line: int
    """Line of that key in the profile's own file; 0 when it stands in none."""
    message: str
    """The reason, with its numbers."""
    fix: str
    """What to do."""
    lines: tuple[int, ...] = ()
    """Every line involved, when there is more than one."""

    @property
    def page(self) -> str:
        """Return the documentation page of its code, as it is found in the repository."""
        return get_page(self.code)

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON form."""
        return {
            "code": self.code,
            "severity": str(self.severity),
            "path": self.path,
            "line": self.line,
            "message": self.message,
            "fix": self.fix,
            "page": self.page,
        }


def get_page(code: str) -> str:
    """Return the documentation page of a finding's code, as it is found in the repository."""
    return f"docs/lint/{code}.md"
