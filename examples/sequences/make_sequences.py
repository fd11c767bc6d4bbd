"""Writes noisy sequences that hide a wave of one of ten frequencies."""

import numpy as np

NUM_SEQUENCES, LENGTH, NUM_FEATURES, NUM_CLASSES = 600, 100, 32, 10

rng = np.random.default_rng(1)
y = rng.integers(0, NUM_CLASSES, NUM_SEQUENCES)
steps = np.arange(LENGTH) / LENGTH
phases = rng.uniform(0, 2 * np.pi, (NUM_SEQUENCES, 1, NUM_FEATURES))
waves = np.sin(2 * np.pi * (y[:, None, None] + 1) * steps[None, :, None] + phases)
x = (waves + rng.normal(0, 0.3, waves.shape)).astype(np.float32)
np.savez("sequences.npz", x=x, y=y)
print(f"wrote sequences.npz: x {x.shape} {x.dtype}, y {y.shape} {y.dtype}")
