"""A real corpus without a download: the docstrings of installed Python packages.

    python examples/docstrings.py FILE.csv      # a small one, with the columns text and label, for docs/tutorial.md

The task: which package does a docstring come from? Source files are parsed, never imported. Hashes of file names decide
which files are read and to which split they belong: the same packages give the same corpus.
"""

import argparse
import ast
import csv
import hashlib
import re
import sysconfig
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import distributions
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

FILES_A_TASK = 64
SKIPPED_FOLDERS = {"tests", "test", "testing", "_vendor", "vendor", "__pycache__"}
MIN_CHARACTERS, MAX_CHARACTERS = 60, 320
MAX_FILES, MAX_DOCSTRINGS_OF_FILE = 600, 40
# of the small corpus
SMALL_PACKAGES, SMALL_ROWS = 4, 500
SPLIT_SHARES = {"test": 0.2, "val": 0.06}  # of a package's modules; the others are for training


class Docstring(NamedTuple):
    """One text."""

    package: str
    module: str  # its file, relative to the packages' folder
    text: str


@dataclass(frozen=True)
class Corpus:
    """The task's rows by split, and texts without a label."""

    packages: tuple[str, ...]
    splits: dict[str, list[Docstring]]
    unlabelled: list[str]


def build_corpus(folder: Path, *, num_packages: int, rows_per_package: dict[str, int], max_unlabelled: int) -> Corpus:
    """Makes the task from a folder of packages.

    Args:
      folder: of the packages, such as `site-packages`.
      num_packages: the number of classes: the packages with most docstrings.
      rows_per_package: the most rows of a package in "train", "val" and "test".
      max_unlabelled: the most texts without a label, the same share of every package.

    Returns:
      Splits that share neither a module nor a text, and further texts, none of them from a val or test module.
    """
    found = collect(folder)
    counts = Counter(docstring.package for docstring in found)
    packages = tuple(sorted(sorted(counts, key=lambda name: (-counts[name], name))[:num_packages]))
    names = names_pattern(packages)
    splits: dict[str, list[Docstring]] = {"test": [], "val": [], "train": []}  # the copy in test stays
    rest: list[Docstring] = []
    for docstring in found:
        if docstring.package in packages:
            splits[split_of(docstring.module)].append(docstring)
        else:
            rest.append(docstring)
    seen: set[str] = set()
    cleaned = {name: list(_cleaned(part, names, seen)) for name, part in splits.items()}
    rows = {name: _capped(part, rows_per_package[name]) for name, part in cleaned.items()}
    chosen = set(rows["train"])
    spare = [docstring for docstring in cleaned["train"] if docstring not in chosen]
    unlabelled = _spread([*spare, *_cleaned(rest, names, seen)], max_unlabelled)
    return Corpus(packages, {name: rows[name] for name in ("train", "val", "test")}, unlabelled)


def write_corpus(corpus: Corpus, out: Path) -> None:
    """Writes train.csv, val.csv, test.csv (columns text and label) and unlabelled.txt (a text a line)."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in corpus.splits.items():
        write_rows(rows, out / f"{name}.csv")
    (out / "unlabelled.txt").write_text("".join(text + "\n" for text in corpus.unlabelled), encoding="utf-8")


def write_rows(rows: Iterable[Docstring], path: Path) -> None:
    """Writes a csv with the columns text and label."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows((row.text, row.package) for row in rows)


# --- reading --------------------------------------------------------------------------------------------------


def collect(folder: Path) -> list[Docstring]:
    """Lists all docstrings of the packages in a folder, in an order that depends on names alone."""
    files: dict[str, list[Path]] = defaultdict(list)
    for path in folder.rglob("*.py"):
        relative = path.relative_to(folder)
        if len(relative.parts) > 1 and not SKIPPED_FOLDERS & set(relative.parts):
            files[relative.parts[0]].append(path)
    chosen = [
        (folder, path)
        for package in sorted(files)
        for path in sorted(files[package], key=lambda path: _number(path.relative_to(folder).as_posix()))[:MAX_FILES]
    ]
    if len(chosen) <= FILES_A_TASK:  # starting a process takes longer than parsing a few files
        return [found for place in chosen for found in _docstrings_of_file(place)]
    # forking is unsafe in a process with threads, and not every system has it
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return [found for part in pool.map(_docstrings_of_file, chosen, chunksize=FILES_A_TASK) for found in part]


def _docstrings_of_file(place: tuple[Path, Path]) -> list[Docstring]:
    folder, path = place
    module = path.relative_to(folder)
    return [Docstring(module.parts[0], module.as_posix(), text) for text in docstrings(path)]


def docstrings(path: Path) -> list[str]:
    """Lists the first docstrings of a source file; none where it cannot be read or parsed."""
    try:
        source = path.read_bytes()
        with warnings.catch_warnings(action="ignore"):  # about invalid escapes in strings
            tree = ast.parse(source) if b'"""' in source or b"'''" in source else ast.Module([], [])
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [text for text, _ in zip(_docstrings_in(tree), range(MAX_DOCSTRINGS_OF_FILE), strict=False)]


def _docstrings_in(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yields docstrings of classes and functions, not of modules: those are often licences."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(child, clean=False):
                yield text
            yield from _docstrings_in(child)


# --- cleaning -------------------------------------------------------------------------------------------------


def names_pattern(packages: Sequence[str]) -> re.Pattern[str]:
    """Matches every word that contains a package's name: torch, PyTorch, torchvision; not `.nn` in torch.nn."""
    names = set(packages)
    for distribution in distributions():
        tops = {file.parts[0] for file in distribution.files or () if len(file.parts) > 1}
        if tops & set(packages):
            names.add(distribution.metadata["Name"])
    spellings = {"[-_ ]?".join(map(re.escape, re.split("[-_]", name))) for name in names}
    # only from the start of a word: \w* anywhere takes quadratic time
    return re.compile(rf"\b\w*(?:{'|'.join(sorted(spellings))})\w*", re.IGNORECASE)


def _cleaned(found: Iterable[Docstring], names: re.Pattern[str], seen: set[str]) -> Iterator[Docstring]:
    """Yields cleaned docstrings, but not short ones and those that were seen before."""
    for docstring in found:
        text = clean(docstring.text, names)
        key = re.sub(r"[\W\d_]+", " ", text.lower()).strip()
        if len(text) >= MIN_CHARACTERS and key not in seen:
            seen.add(key)
            yield docstring._replace(text=text)


def clean(text: str, names: re.Pattern[str]) -> str:
    """Removes the names of packages; returns one line of at most MAX_CHARACTERS, cut between words."""
    line = " ".join(names.sub(" ", text[: 4 * MAX_CHARACTERS]).split())
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS + 1].rpartition(" ")[0]


# --- choosing -------------------------------------------------------------------------------------------------


def split_of(module: str) -> str:
    """Returns "train", "val" or "test", for a module and all its docstrings."""
    number = _number("split " + module)
    for name, share in SPLIT_SHARES.items():
        if number < share:
            return name
        number -= share
    return "train"


def _number(name: str) -> float:
    """A hash in [0, 1) that is the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def _capped(found: Sequence[Docstring], count: int) -> list[Docstring]:
    """Returns the first `count` docstrings of every package."""
    counts: Counter[str] = Counter()
    chosen = []
    for docstring in found:
        counts[docstring.package] += 1
        if counts[docstring.package] <= count:
            chosen.append(docstring)
    return chosen


def _spread(found: Sequence[Docstring], count: int) -> list[str]:
    """Returns `count` texts in an order that mixes the packages evenly."""
    order = sorted(found, key=lambda docstring: _number("order " + docstring.text))
    return [docstring.text for docstring in order[:count]]


# --- a small corpus in one file -------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docstrings of installed packages, with the package of each.")
    parser.add_argument("file", type=Path, help="the csv to write")
    parser.add_argument("--packages", type=Path, help="folder of Python packages (default: those of this environment)")
    parser.add_argument("--rows", type=int, default=SMALL_ROWS, help=f"of each package (default: {SMALL_ROWS})")
    args = parser.parse_args()
    corpus = build_corpus(
        args.packages or Path(sysconfig.get_path("purelib")),
        num_packages=SMALL_PACKAGES,
        rows_per_package={"train": args.rows, "val": 0, "test": 0},
        max_unlabelled=0,
    )
    args.file.parent.mkdir(parents=True, exist_ok=True)
    write_rows(corpus.splits["train"], args.file)
    print(f"{args.file}: {len(corpus.splits['train']):,} docstrings of {', '.join(corpus.packages)}")


if __name__ == "__main__":
    main()
