"""`python finetune.py NAME [--set SECTION.KEY=VALUE ...]` trains the run experiments/finetuning/NAME/."""

import sys

from textclf_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
