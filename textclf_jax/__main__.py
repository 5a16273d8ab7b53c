"""`python -m textclf_jax` is the `textclf` command."""

import sys

from textclf_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
