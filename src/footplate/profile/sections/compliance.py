"""``compliance``: protections that act, and declarations that are recorded."""

from __future__ import annotations

from footplate.profile.fields import Section, Text, key

__all__ = ["Compliance"]

_LATER = "this protection is not built yet and must not be declared as if it were on"


class Compliance(Section):
    """A protection that is declared is on, or the profile is refused."""

    anonymize_logs: bool = key(False, inactive=_LATER, protection=True)
    """Takes names, addresses and machine names out of logs and tracked parameters."""
    remove_pii: bool = key(False, inactive=_LATER, protection=True)
    """Takes personal data out of logs and tracked parameters."""
    track_data_lineage: bool = key(False, inactive=_LATER, protection=True)
    """Writes where the data came from into the run."""
    track_model_provenance: bool = key(False, inactive=_LATER, protection=True)
    """Writes what the model was made from into the run."""
    easa_ai_compliant: bool = key(False, recorded=True)
    """Declared by you: recorded with the run, not checked."""
    do_178c_level: Text | None = key(None, recorded=True)
    """Declared by you: recorded with the run, not checked."""
