"""`python pretrain.py NAME [--set SECTION.KEY=VALUE ...]` trains the run experiments/pretraining/NAME/."""

import sys

from textclf_jax.cli import command_line

if __name__ == "__main__":
    sys.exit(command_line(["pretrain", *sys.argv[1:]]))
