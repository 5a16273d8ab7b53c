"""`python -m textclf_jax` is the `textclf` command."""

import sys

from textclf_jax.cli import command_line

if __name__ == "__main__":
    sys.exit(command_line())
