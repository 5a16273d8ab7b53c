"""`python pretrain.py NAME [--set SECTION.KEY=VALUE ...]` trains the run experiments/pretraining/NAME/."""

import sys

from textclf_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["pretrain", *sys.argv[1:]]))
