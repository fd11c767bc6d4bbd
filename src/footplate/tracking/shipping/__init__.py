"""Shippers: what a run has recorded, brought to the trackers that people look at, beside the run or later."""
