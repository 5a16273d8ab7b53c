"""`textclf check DATA`: what is wrong with texts and labels before anything is trained on them."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from textclf_jax.cli.reading import add_reading_flags, reading_options
from textclf_jax.constants import SUSPECTS_FILE
from textclf_jax.errors import UserError, one_line
from textclf_jax.files import json_text, write_whole

if TYPE_CHECKING:
    from textclf_jax.check.checking import Facts
    from textclf_jax.check.data import CheckOptions
    from textclf_jax.check.findings import Finding

EPILOG = """DATA is a csv, tsv, jsonl or txt file (each also .gz), a parquet file (with pyarrow), or a folder with
a folder of texts for each class. Encoding, delimiter and columns are guessed, and the guess is told; flags decide.

What is found is listed by how serious it is: serious: results would be wrong, or preparing is refused; warning: look
at it; note: worth knowing. Languages are not recognised, only scripts; tokens are estimated by words and signs.

examples:
  textclf check survey.csv
  textclf check survey.csv --text-column comment --label-column rating --out survey-check
  textclf check --train train.csv.gz --test test.csv.gz --json facts.json --strict
  textclf check reviews.parquet --group-column author
"""
SHOWN_CLASSES = 20
SHOWN_SCRIPTS = 5


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "check",
        help="look for faults in texts and labels, before training",
        description="Count rows and classes, and look for faults: repeated texts, leaks between splits, spellings of "
        "labels, labels that are likely wrong, columns that give the label away, texts that are empty, damaged or cut.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_flags(parser)
    add_reading_flags(parser, guessed=True)
    add_split_flags(parser)
    add = parser.add_argument_group("output").add_argument
    add(
        "--out", type=Path, metavar="FOLDER", help=f"write {SUSPECTS_FILE} there: labels to go through, the worst first"
    )
    add("--json", type=Path, metavar="FILE", help="write all facts and findings there")
    add("--strict", action="store_true", help="exit with code 1 where something serious is found (default: 0)")


def add_file_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name files with labels."""
    add = parser.add_argument_group("files").add_argument
    add("inputs", nargs="*", type=Path, metavar="DATA", help="files that are to be split, or a folder of classes")
    add("--train", nargs="+", type=Path, default=[], metavar="FILE", help="training files, instead of DATA")
    add("--val", nargs="+", type=Path, default=[], metavar="FILE", help="validation files")
    add("--test", nargs="+", type=Path, default=[], metavar="FILE", help="test files")
    add("--label-names", type=Path, metavar="FILE", help="a class name a line, where labels are numbers from 0")
    alike = "labels that differ only by case, spaces or the like: one class each, or as they are (default: %s)"
    default = "they are refused, or a finding"
    add("--alike-labels", choices=("merge", "keep"), help=alike % default)


def add_split_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what a split has to keep apart."""
    add = parser.add_argument_group("splits").add_argument
    add("--group-column", metavar="NAME", help="rows with the same value here must not be in two splits (authors, say)")
    add("--time-column", metavar="NAME", help="the test must be later than rows to train on; dates or numbers")
    rare = "what becomes of classes with fewer rows than splits (3): left out, one class 'other', or as they are"
    add("--rare-classes", choices=("drop", "merge", "keep"), help=f"{rare} (default: they are refused, or a finding)")


def check_options_of(args: argparse.Namespace) -> "CheckOptions":
    """What is to be checked, by the flags of `add_file_flags`, `add_reading_flags` and `add_split_flags`."""
    from textclf_jax.check.data import CheckOptions

    return CheckOptions(
        inputs=tuple(args.inputs),
        train=tuple(args.train),
        val=tuple(args.val),
        test=tuple(args.test),
        read=reading_options(args),
        group_column=args.group_column,
        time_column=args.time_column,
        rare_classes=args.rare_classes,
        label_names=args.label_names,
        alike_labels=args.alike_labels,
    )


def run(args: argparse.Namespace) -> int:
    """Checks data, and prints facts and findings."""
    options = check_options_of(args)
    _check_outputs(args.out, args.json, [path for part in options.sources.values() for path in part])
    # scikit-learn and jax take a second to import: only sound arguments get here
    from textclf_jax.check.checking import check_data
    from textclf_jax.check.findings import find_faults

    facts = check_data(options, lambda what: print(what, file=sys.stderr, flush=True))
    findings = find_faults(facts)
    show_check(facts, findings)
    _write(facts, findings, args.out, args.json)
    return int(args.strict and any(finding.severity == "serious" for finding in findings))


def _check_outputs(out: Path | None, json: Path | None, inputs: list[Path]) -> None:
    """Raises UserError where the output cannot be written, before anything is read."""
    if out is not None:
        if (out / SUSPECTS_FILE).exists():
            raise UserError(f"{out / SUSPECTS_FILE}: is there already; choose another --out, or remove it")
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise UserError(f"--out {out}: {there} is not a folder that you may write to")
    if json is not None:
        if json.is_dir() or not json.resolve().parent.is_dir():
            raise UserError(f"--json {json}: must be a file in a folder that is there")
        if json.exists() and any(path.exists() and json.samefile(path) for path in inputs):
            raise UserError(f"--json {json}: is a file that is read; choose another")


def _write(facts: "Facts", findings: "list[Finding]", out: Path | None, json: Path | None) -> None:
    from dataclasses import asdict

    from textclf_jax.check.suspects import write_suspects

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_suspects(out / SUSPECTS_FILE, facts.data.rows, facts.suspects)
        count = 0 if facts.suspects is None else len(facts.suspects.rows)
        print(f"{out / SUSPECTS_FILE}: {count:,} rows to go through")
    if json is not None:
        write_whole(json, json_text({**facts.as_json(), "findings": [asdict(each) for each in findings]}) + "\n")
        print(f"{json}: all facts")


def show_check(facts: "Facts", findings: "list[Finding]") -> None:
    """Prints facts and findings."""
    _print_facts(facts)
    _print_findings(findings)


def _print_facts(facts: "Facts") -> None:
    from textclf_jax.observe.progress import print_table

    data, parts = facts.data, facts.data.parts()
    splits = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    drawn = "not split yet; by default it would be " if data.is_drawn else ""
    print(f"{', '.join(data.files)}: {facts.rows:,} rows, of which {len(data.rows):,} have text ({drawn}{splits})")
    for line in (*data.guesses, *(f"note: {note}" for note in data.notes)):
        print(line)
    if facts.treated:
        print(f"rare classes: {facts.treated}")
    if facts.classes is not None and not facts.classes.no_classes:
        counts, by_split = facts.classes.counts, facts.classes.by_split
        total = sum(counts.values())
        shown = list(counts.items())[:SHOWN_CLASSES]
        rows = [
            (one_line(name, 40), count, f"{count / total:.1%}", *(part.get(name, 0) for part in by_split.values()))
            for name, count in shown
        ]
        more = f"; the {SHOWN_CLASSES} largest" * (len(counts) > SHOWN_CLASSES)
        print_table(f"\n{len(counts):,} classes{more}", rows, ("class", "rows", "share", *by_split))
    lengths = facts.lengths
    at_most = ", ".join(f"{percent}%: {tokens:,}" for percent, tokens in lengths.percentiles.items())
    cutting = [length for length, cut in lengths.cut_texts.items() if cut]
    rows = [  # up to the first length that cuts nothing
        (length, f"{cut:.1%}", f"{lengths.lost_tokens[length]:.1%}")
        for length, cut in list(lengths.cut_texts.items())[: len(cutting) + 1]
    ]
    title = f"\ntokens, estimated by {lengths.estimate} (texts that have at most so many: {at_most})"
    print_table(title, rows, ("tokens a row", "texts cut", "tokens lost"))
    scripts = list(facts.characters.scripts.items())[:SHOWN_SCRIPTS]
    print("\nscripts: " + (", ".join(f"{name} {share:.1%}" for name, share in scripts) or "no letters"))


def _print_findings(findings: "list[Finding]") -> None:
    serious = sum(finding.severity == "serious" for finding in findings)
    print(f"\nfindings: {len(findings)} (serious: {serious})" if findings else "\nnothing wrong was found")
    for number, finding in enumerate(findings, start=1):
        print(f"{number}. {finding.severity}: {finding.what}\n   {finding.remedy}")
