"""Times as the record writes them: UTC, ISO 8601, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["get_utc_text", "parse_utc"]


def get_utc_text() -> str:
    """Return the present time, such as ``2026-11-21T06:09:09.123+00:00``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def parse_utc(text: str) -> datetime:
    """Read a time of the record; one without a zone is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
