"""`textclf predict NAME`: labels and probabilities for texts."""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import IO, TYPE_CHECKING

from textclf_jax.cli.reading import add_reading_flags, print_notes, reading_options
from textclf_jax.errors import UserError, listed, one_line
from textclf_jax.experiments.folders import find_model
from textclf_jax.files import json_text, write_csv, write_whole
from textclf_jax.tokenizer.text_files import well_formed

if TYPE_CHECKING:
    from textclf_jax.evaluation.prediction import Prediction, Predictor

FORMATS = ("table", "json", "csv")
ENDINGS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".txt": "table"}
SHOWN_CHARACTERS, SHOWN_ROWS = 60, 5
NO_LABEL, UNSURE = "(none)", "(don't know)"
SEPARATORS = ("|", ";", ",", "/")  # of the labels of a text in a csv
EXPLAINED_TEXTS = 1000  # of those that are mostly [UNK]: bounds the time to find causes
# some readers end lines at these: within a JSON line, they are escaped
LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}


@dataclass
class Texts:
    """Texts to classify.

    Attributes:
      texts: in their order.
      names: of the columns that the input has.
      records: the fields of each text's row as they were written.
      places: where each text stands.
    """

    texts: list[str]
    names: list[str]
    records: list[list[str]]
    places: list[str]


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser("predict", help="classify texts", description="Classify texts with a trained model.")
    parser.add_argument("name", help="the run experiments/finetuning/NAME, or the path of its folder or model.ckpt")
    parser.add_argument("--text", action="append", default=[], help="a text to classify; can be repeated")
    parser.add_argument("--file", type=Path, help="texts to classify: txt (a line each), csv or tsv, also .gz")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there, in UTF-8 (default: standard output)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="table, JSON lines, or csv; the latter two keep all columns of --file (default: as the ending of --out "
        f"tells, {', '.join(ENDINGS)}; table without --out)",
    )
    add_reading_flags(parser, labels=False)


def run(args: argparse.Namespace) -> int:
    if bool(args.text) == bool(args.file):
        raise UserError("give either --text (once or more) or --file")
    if args.out is not None:
        _check_out(args.out, args.file)
    form = _form(args.out, args.format)
    folder = find_model(args.name, ("finetuning",))
    texts = _read(args)
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.evaluation.prediction import Predictor

    predictor = Predictor(folder)
    write = {"table": _write_table, "json": _write_json, "csv": _write_csv}[form]
    warnings = _Warnings(texts.places, predictor)
    predictions = warnings.watch(predictor(texts.texts))
    several = predictor.multi_label
    if args.out is None:
        write(predictions, texts, predictor.labels, sys.stdout, several=several)
    else:
        whole = io.StringIO()
        write(predictions, texts, predictor.labels, whole, several=several)
        write_whole(args.out.resolve(), whole.getvalue())
        print(f"{args.out}: {len(texts.texts):,} predictions", file=sys.stderr)
    warnings.show()
    return 0


def _check_out(out: Path, file: Path | None) -> None:
    """Raises UserError where the output cannot be written, before anything is computed."""
    folder = out.resolve().parent
    if out.exists() and not out.is_file():
        raise UserError(f"--out {out}: is a {'folder' if out.is_dir() else 'special file'}")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"--out {out}: {folder} is not a folder that you may write to")
    if file is not None and out.exists() and file.exists() and out.samefile(file):
        raise UserError(f"--out {out}: is the file that is read; choose another")


def _form(out: Path | None, given: str | None) -> str:
    """The format: as given, or else as the output's ending tells; raises UserError where neither does."""
    if out is None:
        return "table" if given is None else given
    ending = out.suffix.lower()
    if ending == ".gz":
        raise UserError(f"--out {out}: is written without compression; leave .gz out, and compress the file afterwards")
    if given is None and ending not in ENDINGS:
        raise UserError(
            f"--out {out}: its ending tells no format. End it in {', '.join(ENDINGS)} (a table for reading, with long "
            "texts cut), or pass --format."
        )
    return ENDINGS[ending] if given is None else given


def _read(args: argparse.Namespace) -> Texts:
    """The texts of --text or --file."""
    from textclf_jax.prepare.texts import read_file, refuse_unused

    if args.file is not None and args.file.suffix.lower() == ".pt":
        raise UserError(
            f"--file {args.file}: holds encoded rows, and this command reads texts. For encoded rows: "
            f"textclf evaluate {shlex.quote(args.name)} --data {shlex.quote(str(args.file))}"
        )
    options = reading_options(args)
    if args.file is None:
        refuse_unused(options, [])
        texts = [well_formed(text) for text in args.text]
        places = [f"text {i}" for i in range(1, len(texts) + 1)]
        return Texts(texts, ["text"], [[text] for text in texts], places)
    refuse_unused(options, [args.file])
    file = read_file(args.file, options, needs_labels=False, keep_records=True)
    print_notes(file)
    rows = file.rows
    return Texts([row.text for row in rows], file.names, file.records, [f"line {row.line}" for row in rows])


class _Warnings:
    """Counts predictions that say less than they seem to.

    Args:
      places: where each text stands.
      predictor: the model.
    """

    def __init__(self, places: Sequence[str], predictor: "Predictor"):
        self._places, self._predictor = places, predictor
        self._empty: list[str] = []
        self._cut: list[str] = []
        self._cut_for_one: list[str] = []
        self._unknown: list[str] = []
        self._unsure = 0
        self._unknown_texts: list[str] = []  # the first of them

    def watch(self, predictions: Iterator["Prediction"]) -> Iterator["Prediction"]:
        """Passes predictions on."""
        for place, prediction in zip(self._places, predictions, strict=True):
            if prediction.is_empty:
                self._empty.append(place)
            if prediction.is_cut:
                self._cut.append(place)
            self._unsure += prediction.is_unsure
            if prediction.is_cut_for_one:
                self._cut_for_one.append(place)
            if prediction.is_unknown:
                self._unknown.append(place)
                if len(self._unknown_texts) < EXPLAINED_TEXTS:
                    self._unknown_texts.append(prediction.text)
            yield prediction

    def show(self) -> None:
        """Warns on stderr."""
        if (limit := self._predictor.abstention) is not None:
            print(
                f"note: {self._unsure:,} of {len(self._places):,} texts have no label: no class has a probability "
                f"above {limit.threshold:.4f}, which on average keeps wrong labels below {limit.max_error:.1%} of "
                "all texts (textclf calibrate)",
                file=sys.stderr,
            )
        causes = self._predictor.explain_unknown(self._unknown_texts) if self._unknown_texts else ""
        why = f" for the most part, {causes}" if causes else " for more than half of their tokens"
        reads = self._predictor.reads
        least, most = min(reads, key=reads.__getitem__), max(reads, key=reads.__getitem__)
        for places, what in (
            (self._empty, "texts are empty or have no token: their labels are what the model says of nothing"),
            (self._cut, f"texts are longer than the model's {reads[most]} tokens: their ends were not read"),
            (
                self._cut_for_one,
                f"texts are longer than the {reads[least]} tokens that the {least} reads: of their ends, the {most} "
                "alone has read",
            ),
            (self._unknown, f"texts are [UNK] to the model{why}: their labels say little"),
        ):
            if places:
                shown = listed(places, SHOWN_ROWS)
                print(f"warning: {len(places):,} of {len(self._places):,} {what} ({shown})", file=sys.stderr)


def _write_table(
    predictions: Iterator["Prediction"], texts: Texts, labels: Sequence[str], stream: IO[str], *, several: bool = False
) -> None:
    """`several` tells whether a text can have several labels, here and below."""
    del texts
    from textclf_jax.observe.progress import print_table

    def shown(p: "Prediction") -> str:
        probabilities = dict(zip(labels, p.probabilities, strict=True))
        return ", ".join(f"{label} {probabilities[label]:.4f}" for label in p.labels) or NO_LABEL

    if several:
        rows = [(one_line(p.text, SHOWN_CHARACTERS), shown(p)) for p in predictions]
        print_table("predictions", rows, ("text", "labels"), stream=stream)
        return
    rows = [
        (one_line(p.text, SHOWN_CHARACTERS), UNSURE if p.is_unsure else p.label, p.probability) for p in predictions
    ]
    print_table("predictions", rows, ("text", "label", "probability"), stream=stream)


def _write_json(
    predictions: Iterator["Prediction"], texts: Texts, labels: Sequence[str], stream: IO[str], *, several: bool = False
) -> None:
    names: list[str] = []
    for name in texts.names:  # an object has each key once
        names.append(_free(name, names))
    wanted = ["labels" if several else "label", "probabilities"]
    ours = _own_names(wanted, names)
    _say_renamed([*texts.names, *wanted], [*names, *ours])
    for record, p in zip(texts.records, predictions, strict=True):
        probabilities = {label: round(float(value), 6) for label, value in zip(labels, p.probabilities, strict=True)}
        answer = p.labels if several else None if p.is_unsure else p.label
        fields = dict(zip([*names, *ours], [*record, answer, probabilities], strict=True))
        print(json_text(fields, indent=None).translate(LINE_ENDS), file=stream)


def _write_csv(
    predictions: Iterator["Prediction"], texts: Texts, labels: Sequence[str], stream: IO[str], *, several: bool = False
) -> None:
    wanted = ["labels" if several else "label", *(f"p({label})" for label in labels)]
    ours = _own_names(wanted, texts.names)
    _say_renamed(wanted, ours)
    separator = _separator(labels)
    if several and separator != SEPARATORS[0]:
        print(f"note: labels of a text are separated by {separator!r}: names of classes have others", file=sys.stderr)
    rows = (
        [*record, separator.join(p.labels), *(f"{value:.6f}" for value in p.probabilities)]
        for record, p in zip(texts.records, predictions, strict=True)
    )
    write_csv(stream, chain([[*texts.names, *ours]], rows))


def _separator(labels: Sequence[str]) -> str:
    """What stands between the labels of a text in a csv: the first that no name of a class has."""
    longer = (SEPARATORS[0] * length for length in count(2))
    return next(each for each in chain(SEPARATORS, longer) if not any(each in label for label in labels))


def _own_names(wanted: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names for the columns that are added, which the input does not have."""
    return [_free(f"predicted_{name}" if name in taken else name, taken) for name in wanted]


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or where it is taken, with the first number from 2 on that makes it free."""
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _say_renamed(wanted: Sequence[str], names: Sequence[str]) -> None:
    changed = [f"{name!r} is {new!r}" for name, new in zip(wanted, names, strict=True) if name != new]
    if changed:
        shown = listed(changed, SHOWN_ROWS, whole=True)
        print(f"note: names that the input has already: in the output, {shown}", file=sys.stderr)
