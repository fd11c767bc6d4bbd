"""Tracking: what is measured beside a run and where it is told."""
