"""``metadata``: who wrote the profile, for what."""

from __future__ import annotations

from footplate.profile.fields import Section, Text, key

__all__ = ["Metadata"]


class Metadata(Section):
    """What the profile says of itself; recorded with the run."""

    profile_name: Text = key("", recorded=True)
    """Name of the profile; the run's name when none is given."""
    version: Text = key("", recorded=True)
    """Version of the profile."""
    created: Text = key("", recorded=True)
    """Date on which the profile was written."""
    author: Text = key("", recorded=True)
    """Who answers for the profile."""
    description: Text = key("", recorded=True)
    """What is trained, in a sentence."""
    target_platform: Text = key("")
    """Kind of machine meant (`hpc`, `workstation`, `embedded` …): chooses the guideline `validate` compares with."""
    gpu_type: Text = key("")
    """GPU meant (`A100-80GB`, `RTX 4090` …): compared with the machine's where it can be seen."""
