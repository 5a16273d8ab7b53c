"""Makes a finetuning run: `generate_finetuning_experiment.py NAME PRETRAINING --data data/DATASET`."""

import argparse
import shlex
import sys

from textclf_jax.cli import script
from textclf_jax.cli.training import add_set_option
from textclf_jax.experiments.generate import generate_finetuning


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a finetuning run from configs/finetuning.yaml.")
    parser.add_argument("name", help="of the new run")
    parser.add_argument("pretrain_name", nargs="?", help="pretraining run that gives architecture and weights")
    parser.add_argument("--from-scratch", action="store_true", help="fresh weights instead of a pretraining run")
    parser.add_argument("--data", metavar="DIR", help="folder written by textclf prepare")
    add_set_option(parser)
    args = parser.parse_args()
    if (args.pretrain_name is None) != args.from_scratch:
        parser.error("give either a pretraining run or --from-scratch")
    path = generate_finetuning(args.name, args.pretrain_name, data=args.data, overrides=args.overrides)
    print(f"wrote {path}\nnext: python finetune.py {shlex.quote(args.name)}")
    return 0


if __name__ == "__main__":
    sys.exit(script(main))
