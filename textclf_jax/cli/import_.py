"""`textclf import`: weights from Hugging Face or the PyTorch reference as a run to finetune, predict or export."""

import argparse
import shlex
from pathlib import Path

from textclf_jax.cli.training import enter_project
from textclf_jax.errors import UserError


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "import",
        help="a run from weights of Hugging Face or of the PyTorch reference",
        description="Make a run of weights from elsewhere: a pretraining run, or of a classifier a finetuning run.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--hf", type=Path, metavar="DIR", help="a BERT folder, as save_pretrained writes it")
    source.add_argument("--reference", type=Path, metavar="FILE", help="model.ckpt or best-model.ckpt of the reference")
    parser.add_argument("--config", type=Path, metavar="FILE", help="with --reference: its config.yaml")
    parser.add_argument("--vocab", type=Path, metavar="DIR", help="with --reference: its vocabulary")
    parser.add_argument("--name", required=True, help="of the new run")


def run(args: argparse.Namespace) -> int:
    if args.hf and (args.config or args.vocab):
        raise UserError("--config and --vocab go with --reference: a Hugging Face folder has both in it")
    if args.reference and not args.config:
        raise UserError("--reference needs --config: the file itself does not say how the model computes")
    enter_project(args, "hf", "reference", "config", "vocab")
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.interop.importing import import_huggingface, import_reference

    if args.hf:
        folder, notes = import_huggingface(args.hf, args.name)
    else:
        folder, notes = import_reference(args.reference, args.config, args.name, vocab=args.vocab)
    for note in notes:
        print(f"note: {note}")
    print(f"wrote {folder}")
    if folder.parent.name == "pretraining":
        name = shlex.quote(args.name)
        print(f"next: textclf prepare INPUT --vocab {shlex.quote(str(folder / 'vocab'))} --out data/NEW")
        print(f"      textclf new finetuning NEW {name} --data data/NEW")
    return 0
