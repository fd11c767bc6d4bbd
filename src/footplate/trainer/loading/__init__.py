"""The samples of each step, on the device: read when they are needed, or ahead in other processes."""
