"""`python finetune.py NAME [--set SECTION.KEY=VALUE ...]` trains the run experiments/finetuning/NAME/."""

import sys

from textclf_jax.cli import command_line

if __name__ == "__main__":
    sys.exit(command_line(["finetune", *sys.argv[1:]]))
