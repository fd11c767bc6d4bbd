#!/usr/bin/env python3
"""Check a training profile: `python tools/validate_config.py my_training_config.yaml`."""

import runpy
import sys

sys.argv = ["footplate", "validate", *sys.argv[1:]]
runpy.run_module("footplate", run_name="__main__", alter_sys=True)
