"""`textclf export NAME`: a trained model for the PyTorch reference or for Hugging Face's transformers."""

import argparse
import sys
from pathlib import Path

from textclf_jax.experiments.folders import find_model


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "export",
        help="a model for the PyTorch reference or for Hugging Face",
        description="Write a trained model as the PyTorch reference or Hugging Face's transformers load it.",
    )
    parser.add_argument("name", help="a finetuning or pretraining run, or the path of its folder or model.ckpt")
    parser.add_argument("--format", choices=("reference", "hf"), required=True, help="hf: a folder; reference: a file")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the folder or file to make")


def run(args: argparse.Namespace) -> int:
    folder = find_model(args.name, ("finetuning", "pretraining"))
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.interop.exporting import export_huggingface, export_reference, lost_in_export
    from textclf_jax.runs.checkpoint import load_model

    export = {"reference": export_reference, "hf": export_huggingface}[args.format]
    saved = load_model(folder)
    notes = export(saved, args.out)
    print(f"wrote {args.out}")
    for note in notes:
        print(f"note: {note}")
    for warning in lost_in_export(saved):
        print(warning, file=sys.stderr)
    return 0
