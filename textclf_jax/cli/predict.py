"""`textclf predict NAME`: labels and probabilities for texts."""

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import find_model
from textclf_jax.tokenizer.text_files import well_formed

if TYPE_CHECKING:
    from textclf_jax.evaluation.prediction import Prediction

FORMATS = ("table", "json", "csv")
SHOWN_CHARACTERS = 60


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser("predict", help="classify texts", description="Classify texts with a trained model.")
    parser.add_argument("name", help="the run experiments/finetuning/NAME, or the path of a model.ckpt folder")
    parser.add_argument("--text", action="append", default=[], help="a text to classify; can be repeated")
    parser.add_argument("--file", type=Path, help="texts to classify: txt (a line each), csv or tsv, also .gz")
    parser.add_argument("--text-column", help="column of the texts in --file (default: text)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table, JSON lines or csv (default: table)")


def run(args: argparse.Namespace) -> int:
    if bool(args.text) == bool(args.file):
        raise UserError("give either --text (once or more) or --file")
    folder = find_model(args.name, ("finetuning",))
    texts = [well_formed(text) for text in args.text] or _read(args.file, args.text_column)
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.evaluation.prediction import Predictor

    predictor = Predictor(folder)
    writer = {"table": _write_table, "json": _write_json, "csv": _write_csv}[args.format]
    writer(predictor(texts), predictor.labels)
    return 0


def _read(path: Path, text_column: str | None) -> list[str]:
    from textclf_jax.prepare.texts import ReadOptions, read_rows

    options = ReadOptions(text_column=text_column) if text_column else ReadOptions()
    return [row.text for row in read_rows(path, options)]


def _write_table(predictions: Iterable["Prediction"], labels: Sequence[str]) -> None:
    del labels
    from textclf_jax.observe.progress import print_table

    rows = [(_shortened(p.text), p.label, p.probability) for p in predictions]
    print_table("predictions", rows, ("text", "label", "probability"))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def _write_json(predictions: Iterable["Prediction"], labels: Sequence[str]) -> None:
    for p in predictions:
        probabilities = {label: round(float(value), 6) for label, value in zip(labels, p.probabilities, strict=True)}
        print(json.dumps({"text": p.text, "label": p.label, "probabilities": probabilities}, ensure_ascii=False))


def _write_csv(predictions: Iterable["Prediction"], labels: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["text", "label", *(f"p({label})" for label in labels)])
    for p in predictions:
        writer.writerow([p.text, p.label, *(f"{value:.6f}" for value in p.probabilities)])
