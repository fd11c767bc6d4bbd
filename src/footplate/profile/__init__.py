"""The profile: what was asked for, how it is written, checked, explained and completed."""
