"""The record: what happened to a run, in files, written and read with the standard library only."""
