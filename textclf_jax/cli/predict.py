"""`textclf predict NAME`: labels and probabilities for texts."""

import argparse
import io
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from textclf_jax import __version__
from textclf_jax.cli.reading import add_reading_flags, print_notes, reading_options
from textclf_jax.errors import UserError, one_line
from textclf_jax.experiments.folders import METADATA_FILE, find_model
from textclf_jax.files import sha256_of, write_whole
from textclf_jax.runtime.memory import kept
from textclf_jax.tokenizer.text_files import well_formed

if TYPE_CHECKING:
    from textclf_jax.evaluation.prediction import Prediction
    from textclf_jax.evaluation.prediction_forms import Form
    from textclf_jax.evaluation.prediction_stream import Window
    from textclf_jax.prepare.texts import TextSource

TABLE = "table"
FORMATS = (TABLE, "json", "csv")
ENDINGS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".txt": TABLE}
STDIN_FORMATS = ("csv", "tsv", "jsonl", "txt")
SHOWN_CHARACTERS = 60
ENCODED = ".pt"
NO_LABEL, UNSURE = "(none)", "(don't know)"
# how an input is read; what they are decides what is predicted
READING = ("text_column", "quoting", "delimiter", "encoding", "text_unit")


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "predict",
        help="classify texts",
        description="Classify texts with a trained model. A file of any size takes the same memory. Interrupted, the "
        "same command goes on with --out where it was.",
    )
    parser.add_argument("name", help="the run experiments/finetuning/NAME, or the path of its folder or model.ckpt")
    parser.add_argument("--text", action="append", default=[], help="a text to classify; can be repeated")
    parser.add_argument(
        "--file",
        type=Path,
        help="texts to classify: csv, tsv, jsonl or txt (a line each), also .gz, or parquet; or token ids, .pt",
    )
    parser.add_argument(
        "--stdin", choices=STDIN_FORMATS, help="texts to classify: from standard input, which is first read to its end"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there, in UTF-8 (default: standard output)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="table, JSON lines, or csv; the latter two keep all columns of the input (default: as the ending of --out "
        f"tells, {', '.join(ENDINGS)}; table without --out)",
    )
    parser.add_argument(
        "--full-precision", action="store_true", help="compute in float32, also where training computes in bfloat16"
    )
    parser.add_argument(
        "--batched",
        action="store_true",
        help="on a CPU, compute texts together: up to twice as fast where they are short, but the last digits of a "
        "probability may then depend on the other texts",
    )
    parser.add_argument("--fresh", action="store_true", help="do not go on with an interrupted --out, but start over")
    add_reading_flags(parser, labels=False)


def run(args: argparse.Namespace) -> int:
    if sum(map(bool, (args.text, args.file, args.stdin))) != 1:
        raise UserError("give either --text (once or more), --file or --stdin")
    if args.out is not None:
        _check_out(args.out, args.file)
    elif args.fresh:
        raise UserError("--fresh is for an --out that was interrupted: leave it out, or name the file with --out")
    form = _form(args.out, args.format)
    folder = find_model(args.name, ("finetuning",))
    with ExitStack() as stack:
        file = _copy_of_stdin(args.stdin, stack) if args.stdin else args.file
        source, total = _inputs(args, file)
        work = stack.enter_context(kept(lambda: _Prediction(args, folder, source, total)))
        if form == TABLE:
            work.write_table(args.out)
        elif args.out is None:
            work.write(form, sys.stdout)
        else:
            work.write_file(form, args.out, _made_of(args, file, folder, form), fresh=args.fresh)
    if args.out is not None:
        print(f"{args.out}: {work.total:,} predictions", file=sys.stderr)
    work.say_doubts()
    return 0


def _inputs(args: argparse.Namespace, file: Path | None) -> tuple["TextSource | Path", int]:
    """The texts and how many they are, or a file of token ids, which the model is needed to read."""
    from textclf_jax.prepare.texts import refuse_unused

    if file is not None and file.suffix.lower() == ENCODED:
        refuse_unused(reading_options(args), [])
        return file, 0
    source = _open(args, file)
    # all rows are looked at before the first is predicted: a fault in the last one is found at once
    total = sum(1 for _ in source.rows)
    if not total:
        raise UserError(f"{source.path}: has no rows")
    print_notes(source)
    return source, total


class _Prediction:
    """The predictions for all rows of an input.

    Attributes:
      total: how many rows there are.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, source: "TextSource | Path", total: int):
        """Loads the model, and a file of token ids."""
        # jax takes a second to import: only sound arguments get here
        from textclf_jax.evaluation.doubts import Doubts
        from textclf_jax.evaluation.prediction import Predictor
        from textclf_jax.evaluation.prediction_stream import windows_of_ids, windows_of_texts

        predictor = Predictor(folder, full_precision=args.full_precision, batched=args.batched)
        self._predictor, self._doubts = predictor, Doubts()
        self._windows_from: Callable[[int], Iterator[Window]]
        self._is_encoded = isinstance(source, Path)
        if isinstance(source, Path):
            data = predictor.load_encoded(source)
            for note in data.notes:
                print(f"note: {note}", file=sys.stderr)
            self.total, self._path, self._names = len(data), source, ["row"]
            self._windows_from = lambda start: windows_of_ids(data, predictor, start)
        else:
            unit = "text" if args.text else "line"
            self.total, self._path, self._names = total, source.path, source.names
            self._windows_from = lambda start: windows_of_texts(islice(source.rows, start, None), predictor, unit=unit)

    def say_doubts(self) -> None:
        """Says on stderr which predictions say less than they seem to."""
        for sentence in self._doubts.sentences(self._predictor):
            print(sentence, file=sys.stderr)

    def write_table(self, out: Path | None) -> None:
        """Writes a table for reading; it is put together in memory, for its columns are as wide as their cells."""
        from textclf_jax.observe.progress import print_table

        rows = []
        for window, predictions in self._windows(0):
            rows += [self._shown(*each) for each in zip(window.places, predictions, strict=True)]
        columns = ("text", "labels") if self._predictor.multi_label else ("text", "label", "probability")
        if out is None:
            print_table("predictions", rows, columns, stream=sys.stdout)
            return
        whole = io.StringIO()
        print_table("predictions", rows, columns, stream=whole)
        write_whole(out.resolve(), whole.getvalue())

    def _shown(self, place: str, p: "Prediction") -> tuple[object, ...]:
        text = place if self._is_encoded else one_line(p.text, SHOWN_CHARACTERS)
        if not self._predictor.multi_label:
            return text, UNSURE if p.is_unsure else p.label, p.probability
        probabilities = dict(zip(self._predictor.labels, p.probabilities, strict=True))
        return text, ", ".join(f"{label} {probabilities[label]:.4f}" for label in p.labels) or NO_LABEL

    def write(self, name: str, stream: IO[str]) -> None:
        """Writes csv or JSON lines."""
        form = self._form(name)
        form.write_header(stream)
        for window, predictions in self._windows(0):
            form.write_rows(zip(window.records, predictions, strict=True), stream)
            stream.flush()

    def write_file(self, name: str, out: Path, made_of: dict[str, str], *, fresh: bool) -> None:
        """Writes a file of csv or JSON lines; an interrupted one goes on."""
        from textclf_jax.evaluation.doubts import Doubts
        from textclf_jax.evaluation.resumable_file import ResumableFile

        form = self._form(name)
        with ResumableFile(out, made_of, fresh=fresh) as file:
            done, part = 0, io.StringIO(newline="")
            if file.position is None:
                form.write_header(part)
            else:
                done, self._doubts = file.position["rows"], Doubts.restored(file.position["doubts"])
                print(f"{out}: goes on behind row {done:,} of {self.total:,}", file=sys.stderr)
            for window, predictions in self._windows(done):
                form.write_rows(zip(window.records, predictions, strict=True), part)
                done += len(predictions)
                file.write(part.getvalue(), {"rows": done, "doubts": self._doubts.stored()})
                part = io.StringIO(newline="")
            file.finish()

    def _form(self, name: str) -> "Form":
        """A way to write predictions; says what the user should know about it."""
        from textclf_jax.evaluation.prediction_forms import CsvForm, JsonForm

        make = {"csv": CsvForm, "json": JsonForm}[name]
        form = make(self._names, self._predictor.labels, several=self._predictor.multi_label)
        for note in form.notes:
            print(f"note: {note}", file=sys.stderr)
        return form

    def _windows(self, start: int) -> Iterator[tuple["Window", list["Prediction"]]]:
        """Yields rows with what the model says of them, from row `start` on; shows progress and counts doubts."""
        from textclf_jax.evaluation.prediction_stream import answered
        from textclf_jax.observe.row_progress import RowProgress

        done, windows = start, self._windows_from(start)
        with (
            closing(RowProgress(self.total, start=start)) as progress,
            closing(answered(windows, self._predictor)) as answers,
        ):
            for window, predictions in answers:
                for place, prediction in zip(window.places, predictions, strict=True):
                    self._doubts.add(place, prediction)
                yield window, predictions
                done += len(predictions)
                progress.update(done)
        if done != self.total:
            raise UserError(f"{self._path}: has changed while it was read; predict it again")


def _made_of(args: argparse.Namespace, file: Path | None, folder: Path, form: str) -> dict[str, str]:
    """What decides what is written, by names for messages."""
    from textclf_jax.prepare.class_folder import files_of

    given = {name: str(getattr(args, name)) for name in READING}
    content = shlex.join(args.text) if file is None else sha256_of(files_of(file))
    return {
        "the texts": content,
        "the model": sha256_of([folder / METADATA_FILE]),
        "the version of textclf_jax": __version__,
        "--format": form,
        "--full-precision": str(args.full_precision),
        "--batched": str(args.batched),
        **{f"--{name.replace('_', '-')}": value for name, value in given.items()},
    }


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
        return TABLE if given is None else given
    ending = out.suffix.lower()
    if ending == ".gz":
        raise UserError(f"--out {out}: is written without compression; leave .gz out, and compress the file afterwards")
    if given is None and ending not in ENDINGS:
        raise UserError(
            f"--out {out}: its ending tells no format. End it in {', '.join(ENDINGS)} (a table for reading, with long "
            "texts cut), or pass --format."
        )
    return ENDINGS[ending] if given is None else given


def _copy_of_stdin(kind: str, stack: ExitStack) -> Path:
    """A file with all that standard input gives, since files are gone through several times; removed at the end."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="textclf-"))
    copy = Path(folder) / f"stdin.{kind}"
    given: IO[bytes] = sys.stdin.buffer
    with copy.open("wb") as file:
        shutil.copyfileobj(given, file)
    return copy


def _open(args: argparse.Namespace, file: Path | None) -> "TextSource":
    """The texts to classify."""
    from textclf_jax.prepare.texts import DEFAULT_TEXT_COLUMN, Row, TextSource, open_texts, refuse_unused

    options = reading_options(args)
    refuse_unused(options, [] if file is None else [file])
    if file is not None:
        return open_texts(file, options, needs_labels=False)
    texts = [well_formed(text) for text in args.text]
    rows = [(Row(text, None, Path("--text"), number), [text]) for number, text in enumerate(texts, start=1)]
    return TextSource(Path("--text"), rows, [], [DEFAULT_TEXT_COLUMN])
