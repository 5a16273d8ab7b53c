"""Makes a pretraining run: `generate_pretraining_experiment.py NAME --data data/DATASET`."""

import argparse
import shlex
import sys

from textclf_jax.cli import script
from textclf_jax.cli.training import add_set_option
from textclf_jax.experiments.generate import generate_pretraining


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a pretraining run from configs/pretraining.yaml.")
    parser.add_argument("name", help="of the new run")
    parser.add_argument("--data", metavar="DIR", help="folder written by textclf prepare")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset", metavar="NAME", help="architecture and training of configs/presets/NAME.yaml")
    start.add_argument("--resume-from", metavar="RUN", help="earlier pretraining run: take over its config and weights")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--weights-only", action="store_true", help="with --resume-from: its weights (the default)")
    extent.add_argument("--everything", action="store_true", help="... its optimizer state and position too")
    add_set_option(parser)
    args = parser.parse_args()
    if (args.weights_only or args.everything) and not args.resume_from:
        parser.error("--weights-only and --everything go with --resume-from")
    path = generate_pretraining(
        args.name,
        data=args.data,
        preset=args.preset,
        resume_from=args.resume_from,
        weights_only=not args.everything,
        overrides=args.overrides,
    )
    print(f"wrote {path}\nnext: python pretrain.py {shlex.quote(args.name)}")
    return 0


if __name__ == "__main__":
    sys.exit(script(main))
