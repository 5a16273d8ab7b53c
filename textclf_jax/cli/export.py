"""`textclf export NAME`: a trained model for other programs."""

import argparse
import sys
from functools import partial
from pathlib import Path

from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import find_model


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "export",
        help="a model for Hugging Face, ONNX, StableHLO or the PyTorch reference",
        description="Write a trained model as transformers, ONNX Runtime, jax.export or the PyTorch reference load it.",
    )
    parser.add_argument("name", help="a finetuning or pretraining run, or the path of its folder or model.ckpt")
    parser.add_argument(
        "--format",
        choices=("hf", "onnx", "stablehlo", "reference"),
        required=True,
        help="reference: a file; the others: a folder",
    )
    parser.add_argument("--int8", action="store_true", help="onnx: also with 8-bit weights")
    parser.add_argument("--rows", type=int, metavar="B", help="stablehlo: of a batch (default 8)")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the folder or file to make")


def run(args: argparse.Namespace) -> int:
    for flag, given, only in (("--int8", args.int8, "onnx"), ("--rows", args.rows is not None, "stablehlo")):
        if given and args.format != only:
            raise UserError(f"{flag} is for --format {only}, not {args.format}. Leave it out.")
    folder = find_model(args.name, ("finetuning", "pretraining"))
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.interop.exporting import export_huggingface, export_reference, lost_in_export
    from textclf_jax.interop.onnx_model import export_onnx
    from textclf_jax.interop.stablehlo import ROWS, export_stablehlo
    from textclf_jax.runs.checkpoint import load_model

    export = {
        "reference": export_reference,
        "hf": export_huggingface,
        "onnx": partial(export_onnx, int8=args.int8),
        "stablehlo": partial(export_stablehlo, rows=ROWS if args.rows is None else args.rows),
    }
    saved = load_model(folder)
    notes = export[args.format](saved, args.out)
    print(f"wrote {args.out}")
    for note in notes:
        print(f"note: {note}")
    for warning in [] if args.format == "onnx" else lost_in_export(saved):  # ONNX has all of it
        print(warning, file=sys.stderr)
    return 0
