"""`python experiments/generate_pretraining_experiment.py NAME --data DATASET` makes a pretraining run."""

import sys
from pathlib import Path

# the package beside this folder, whether or not it is installed
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from textclf_jax.cli import command_line

if __name__ == "__main__":
    sys.exit(command_line(["new", "pretraining", *sys.argv[1:]]))
