"""Footplate trains machine-learning models: one file describes a training, one command runs it."""
