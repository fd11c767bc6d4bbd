"""``federated``: training across sites whose data stay where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

from footplate.profile.fields import Section, key

__all__ = ["Federated"]

_LATER = "federated training is not built yet; the training runs here, on the data that the profile names"


class Federated(Section):
    """Federation."""

    model_config = ConfigDict(extra="allow")

    enabled: bool = key(False, inactive=_LATER)
    """Switches it on."""
    privacy: Mapping[str, Any] = key(
        {}, inactive="this protection is not built yet and must not be declared as if it were on", protection=True
    )
    """Differential privacy and secure aggregation."""
