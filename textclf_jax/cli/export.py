"""`textclf export NAME`: a trained model for the PyTorch reference or for Hugging Face's transformers."""

import argparse
from pathlib import Path

from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import find_run, run_folder


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "export",
        help="a model for the PyTorch reference or for Hugging Face",
        description="Write a trained model as the PyTorch reference or Hugging Face's transformers load it.",
    )
    parser.add_argument("name", help="a finetuning or pretraining run, or the path of a model.ckpt folder")
    parser.add_argument("--format", choices=("reference", "hf"), required=True, help="hf: a folder; reference: a file")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the folder or file to make")


def run(args: argparse.Namespace) -> int:
    folder = _model_folder(args.name)
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.interop.exporting import export_huggingface, export_reference
    from textclf_jax.runs.checkpoint import load_model

    export = {"reference": export_reference, "hf": export_huggingface}[args.format]
    export(load_model(folder), args.out)
    print(f"wrote {args.out}")
    return 0


def _model_folder(name: str) -> Path:
    """The model that a path or the name of a run of either kind stands for."""
    if (Path(name) / "metadata.json").is_file():
        return Path(name)
    runs = [run_folder(kind, name) for kind in ("finetuning", "pretraining")]
    there = [folder / "model.ckpt" for folder in runs if (folder / "config.yaml").is_file()]
    if len(there) == 2:
        raise UserError(f"there are two runs {name}. Give the path of one: {there[0]} or {there[1]}")
    return there[0] if there else find_run("finetuning", name) / "model.ckpt"
