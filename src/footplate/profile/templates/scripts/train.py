#!/usr/bin/env python3
"""Train from a profile: `python train.py --config my_training_config.yaml`, with any option of `footplate train`."""

import argparse
import os
import sys

parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
parser.add_argument("--config", default="footplate.yaml", help="the training profile (default: %(default)s)")
known, others = parser.parse_known_args()
command = [sys.executable, "-m", "footplate", "train", known.config, *others]
# In place of this process, so that signals and the exit code are the training's own.
os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
