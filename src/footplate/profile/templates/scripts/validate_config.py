#!/usr/bin/env python3
"""Check a training profile: `python tools/validate_config.py my_training_config.yaml`."""

import subprocess
import sys

sys.exit(subprocess.run([sys.executable, "-m", "footplate", "validate", *sys.argv[1:]], check=False).returncode)
