"""`textclf pretrain NAME`: pretrain an encoder by masked language modelling."""

import argparse

from textclf_jax.cli.training import add_training_parser, train


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    add_training_parser(subparsers, "pretrain", "pretraining", "pretrain an encoder by masked language modelling")


def run(args: argparse.Namespace) -> int:
    return train("pretraining", args)
