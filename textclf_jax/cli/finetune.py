"""`textclf finetune NAME`: finetune a pretrained encoder to classify texts."""

import argparse

from textclf_jax.cli.training import add_training_parser, train


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    add_training_parser(subparsers, "finetune", "finetuning", "finetune a pretrained encoder to classify texts")


def run(args: argparse.Namespace) -> int:
    return train("finetuning", args)
