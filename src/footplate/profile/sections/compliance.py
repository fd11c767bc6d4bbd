"""``compliance``: protections that act, and declarations that are recorded."""

from __future__ import annotations

from footplate.profile.fields import Section, Text, key

__all__ = ["Compliance"]


class Compliance(Section):
    """A protection that is declared is on, or the profile is refused."""

    anonymize_logs: bool = key(False, protection=True)
    """Takes names, addresses (IP, e-mail, home directories), machine names and secrets out of all that is logged,
    recorded and shipped, before it is written."""
    remove_pii: bool = key(False, protection=True)
    """Takes personal data (names, e-mail and IP addresses, numbers of telephones, cards, accounts and identity cards)
    and secrets out of all that is logged, recorded and shipped, before it is written."""
    known_names: tuple[Text, ...] = key(())
    """Further names of people, machines or projects that are taken out; the user's, the machine's and
    `metadata.author` are known."""
    track_data_lineage: bool = key(False, protection=True)
    """Writes where the data came from, with hashes, into `provenance.json` of the run (W3C PROV)."""
    track_model_provenance: bool = key(False, protection=True)
    """Writes what the model was made from, by whom, when and with what, into `provenance.json` (W3C PROV)."""
    easa_ai_compliant: bool = key(False, recorded=True)
    """Declared by you: recorded with the run, not checked."""
    do_178c_level: Text | None = key(None, recorded=True)
    """Declared by you: recorded with the run, not checked."""
