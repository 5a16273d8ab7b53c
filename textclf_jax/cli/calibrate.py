"""`textclf calibrate NAME`: probabilities to rely on, and "don't know" where a label would be too uncertain."""

import argparse
from pathlib import Path

from textclf_jax.cli.training import enter_project
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import find_model


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "calibrate",
        help="fit a model's probabilities, and let it say don't know",
        description="Fit the temperature of a classifier on its validation split, and choose when it says that it does "
        "not know; by default every text gets a label. Both are kept in model.ckpt, which `textclf predict` obeys.",
    )
    parser.add_argument("name", help="a finetuning run, or the path of its folder or model.ckpt")
    add_max_error(parser)
    parser.add_argument(
        "--data", type=Path, metavar="FILE.pt", help="labelled rows to choose by, instead of the validation split"
    )


def add_max_error(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Adds the flag that says how many texts may get a wrong label."""
    parser.add_argument(
        "--max-error",
        type=float,
        metavar="SHARE",
        help="the share of all texts that may get a wrong label, such as 0.05; where the model is not sure enough, it "
        "gives none",
    )


def check_max_error(limit: float | None) -> None:
    """Raises UserError where no share of texts can be so large."""
    if limit is not None and not 0 < limit < 1:
        raise UserError(f"--max-error {limit:g} must be above 0 and below 1")


def run(args: argparse.Namespace) -> int:
    """Writes the temperature and the limit into the model, and prints what they do."""
    check_max_error(args.max_error)
    args.model = find_model(args.name, ("finetuning",))
    enter_project(args, "model", "data")
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.training.evaluating import calibrate

    found = calibrate(args.model, args.max_error, file=args.data)
    for line in found.remarks():
        print(line)
    print(f"wrote {args.model}: textclf predict obeys it")
    return 0
