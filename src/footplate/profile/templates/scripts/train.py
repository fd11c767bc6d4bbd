#!/usr/bin/env python3
"""Train from a profile: `python train.py --config my_training_config.yaml`, with any option of `footplate train`."""

import argparse
import runpy
import sys

parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
parser.add_argument("--config", default="footplate.yaml", help="the training profile (default: %(default)s)")
known, others = parser.parse_known_args()
sys.argv = ["footplate", "train", known.config, *others]
runpy.run_module("footplate", run_name="__main__", alter_sys=True)
