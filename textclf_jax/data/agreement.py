"""Whether the splits of a run mean the same by their numbers: its class names, and the vocabulary of its ids."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from textclf_jax.class_names import closest, same_name
from textclf_jax.constants import DATASET_FILE, LABELS_FILE
from textclf_jax.data.beside import Beside
from textclf_jax.errors import UserError, listed
from textclf_jax.tokenizer.loading import LoadedTokenizer, OwnTokenizer
from textclf_jax.tokenizer.transformers_files import SETTINGS_FILE
from textclf_jax.tokenizer.vocabulary import TOKENIZER_FILE, VOCAB_FILE, fingerprint_of
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

UNKNOWN = -1
PROBED_PIECES, PROBE_LENGTH = 200, 4096
GUESSED_RULES = frozenset({"accents", "long words"})  # of vocab.txt; few words differ, while with others most would


class RunClasses(NamedTuple):
    """The classes of a run.

    Attributes:
      count: C.
      names: in the order of their numbers; None: they have numbers alone.
      source: where the names are from, for messages.
      numbered_by: the file of names beside the training data, even where its names are not used. Data beside the same
        file has the same numbers, so that nothing is to be compared.
    """

    count: int
    names: tuple[str, ...] | None
    source: str
    numbered_by: Path | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """The names, or the numbers in their place."""
        return self.names or tuple(map(str, range(self.count)))

    @property
    def are_numbers(self) -> bool:
        """Whether the names are but numbers in order, which may stand for classes without a name."""
        return all(re.fullmatch(rf"(LABEL_)?{i}", name) for i, name in enumerate(self.known))


class Numbering(NamedTuple):
    """How a file numbers classes that have names.

    Attributes:
      names: its K classes, in the order of its labels.
      to_run: [K] the run's number of each; UNKNOWN where the run has no such class.
      source: the file of the names.
      run: the classes of the run.
    """

    names: tuple[str, ...]
    to_run: Int[np.ndarray, " K"]
    source: Path
    run: RunClasses

    @property
    def renumbers(self) -> bool:
        """Whether any class has another number in the run."""
        return not np.array_equal(self.to_run, np.arange(len(self.to_run)))


# --- class names ------------------------------------------------------------------------------------------------


def training_classes(beside: Beside, count: int, notes: list[str]) -> RunClasses:
    """The classes of a run, by what lies beside its training data; `count` is classification_head.num_labels.

    Raises:
      UserError: a prepared dataset has another number of classes.
    """
    names, source = beside.names, beside.names_file
    if names is None or source is None:
        return RunClasses(count, None, str(beside.path))
    if len(names) == count:
        return RunClasses(count, names, str(source), source)
    if beside.is_prepared:
        raise UserError(
            f"{source}: has {len(names)} classes ({listed(names, 20)}), but classification_head.num_labels is "
            f"{count}. Set it to {len(names)}, or train on data of {count} classes."
        )
    notes.append(f"{source}: has {len(names)} lines, but there are {count} classes: they are called by their numbers")
    return RunClasses(count, None, str(beside.path), source)


def numbering_of(beside: Beside, run: RunClasses, notes: list[str]) -> Numbering | None:
    """How a file's labels become numbers of the run, by the names of both; None: they are these numbers already.

    Raises:
      UserError: the names cannot be compared and do not fit.
    """
    names, source = beside.names, beside.names_file
    if names is None or source is None or source == run.numbered_by:
        return None
    numbers = {same_name(name): i for i, name in enumerate(run.known)}
    if run.are_numbers:
        numbers |= {str(i): i for i in range(run.count)}
    to_run = np.array([numbers.get(same_name(name), UNKNOWN) for name in names], np.int64)
    if run.are_numbers and (to_run == UNKNOWN).any():
        numbers_too = any(same_name(name).isdecimal() for name in names)
        if run.names is None or not numbers_too:
            return _unnamed(beside, run, notes)
        if run.numbered_by is None:  # a model, whose numbers may be names or stand for none
            raise UserError(
                f"{source}: its classes are {listed(names, 20)}, those of {run.source} are {listed(run.known, 20)}: "
                f"whether its names or its numbers are meant cannot be told. Copy {beside.path} into another folder: "
                "there its labels are taken as they are. If the names are meant, change the labels of the copy."
            )
    numbering = Numbering(names, to_run, source, run)
    if not numbering.renumbers and len(names) == run.count:
        return None
    if numbering.renumbers and (to_run != UNKNOWN).any():
        pairs = [f"{n} {i} -> {k}" for i, (n, k) in enumerate(zip(names, to_run, strict=True)) if k != UNKNOWN]
        notes.append(
            f"{beside.path}: its labels are mapped to the classes of {run.source} by their names in {source}: "
            f"{listed(pairs, whole=True)}"
        )
    return numbering


def _unnamed(beside: Beside, run: RunClasses, notes: list[str]) -> None:
    assert beside.names is not None
    told = f"{beside.names_file}: its classes are {listed(beside.names, 20)}, but those of {run.source} have no names"
    if len(beside.names) != run.count:
        raise UserError(
            f"{told} and are {run.count}: which number means which cannot be told. Put a labels.txt with their names, "
            "one a line in the order of their numbers, beside the training data."
        )
    notes.append(f"{told}: the numbers are taken as they are")


def run_labels(
    path: Path, labels: Int[np.ndarray, " N"], numbering: Numbering, notes: list[str]
) -> Int[np.ndarray, " N"]:
    """The labels of a file, which are in range, in the numbers of the run.

    Raises:
      UserError: a row has a class that the run does not have.
    """
    mapped = numbering.to_run[labels]
    foreign = np.flatnonzero(mapped == UNKNOWN)
    row = int(foreign[0]) if foreign.size else 0
    _refuse_foreign(path, row, int(labels[row]), foreign.size, numbering, notes)
    return mapped


def run_label_sets(
    path: Path, labels: UInt8[np.ndarray, "N K"], numbering: Numbering, notes: list[str]
) -> UInt8[np.ndarray, "N C"]:
    """Labels of 0 and 1 for each class of a file, as such for each class of the run.

    Raises:
      UserError: a row has a class that the run does not have.
    """
    foreign = labels[:, numbering.to_run == UNKNOWN].any(axis=1)
    row = int(np.argmax(foreign))
    wrong = np.flatnonzero((labels[row] == 1) & (numbering.to_run == UNKNOWN))
    _refuse_foreign(path, row, int(wrong[0]) if wrong.size else 0, int(foreign.sum()), numbering, notes)
    mapped = np.zeros((len(labels), numbering.run.count), np.uint8)
    for column, number in enumerate(numbering.to_run):
        if number != UNKNOWN:  # two may be one class of the run: 0 and LABEL_0
            mapped[:, number] |= labels[:, column]
    missing = [name for i, name in enumerate(numbering.run.known) if i not in numbering.to_run]
    if missing:
        notes.append(
            f"{path}: by {numbering.source} its labels do not tell of {listed(missing, 20)}: its rows count as without"
        )
    return mapped


def _refuse_foreign(path: Path, row: int, label: int, count: int, numbering: Numbering, notes: list[str]) -> None:
    """Raises UserError where `count` rows, the first of which is `row`, have classes that the run lacks."""
    unknown = [name for name, number in zip(numbering.names, numbering.to_run, strict=True) if number == UNKNOWN]
    if count:
        name, run = numbering.names[label], numbering.run
        raise UserError(
            f"{path}: row {row} has the class {name!r} (label {label} by {numbering.source}), as have "
            f"{count} rows classes that the run lacks: its classes are {listed(run.known, 20)} "
            f"({run.source}).{closest(name, run.known)} Leave these rows out, or train with these classes; or, if they "
            f"are classes of the run under other names, write those, a line for each of {listed(numbering.names, 20)},"
            f" into {numbering.source.with_name(LABELS_FILE)}."
        )
    if unknown:
        notes.append(f"{path}: no row has a class that the run lacks ({listed(unknown, 20)}, by {numbering.source})")


# --- the vocabulary -----------------------------------------------------------------------------------------------


def check_vocabularies(splits: Iterable[tuple[str, Beside]], tokenizer: LoadedTokenizer, vocab_dir: Path) -> list[str]:
    """Compares the vocabulary that the ids of each file stand for with that of the run; returns what to tell.

    Args:
      splits: what lies beside each file, with the name of its split.
      tokenizer: the run's.
      vocab_dir: where its vocabulary is.

    Raises:
      UserError: they differ; both are named.
    """
    notes: dict[str, None] = {}
    same: set[tuple[str | None, Path | None]] = set()
    for name, beside in splits:
        key = beside.fingerprint, beside.vocab_dir
        if key in same or key == (None, None):
            continue
        if beside.fingerprint is None and beside.vocab_dir is not None and _same_place(beside.vocab_dir, vocab_dir):
            continue
        notes |= dict.fromkeys(_check_vocabulary(name, beside, tokenizer, vocab_dir))
        same.add(key)
    return list(notes)


def _same_place(one: Path, other: Path) -> bool:
    """Whether a folder is `other`, or has it as its tokenizer.json; vocab.txt alone lacks the rules of the folder."""
    other = other.parent if other.is_file() and other.name == TOKENIZER_FILE else other
    return one.exists() and other.exists() and one.samefile(other)


def _is_silent(vocabulary: Path) -> bool:
    """Whether a vocabulary is a vocab.txt, without a file that says how texts are treated."""
    if vocabulary.is_file():
        return vocabulary.suffix != ".json"
    text, *others = ((vocabulary / name).is_file() for name in (VOCAB_FILE, TOKENIZER_FILE, SETTINGS_FILE))
    return text and not any(others)


def _check_vocabulary(split: str, beside: Beside, tokenizer: LoadedTokenizer, vocab_dir: Path) -> list[str]:
    ours = tokenizer.tokens
    if ours is None:
        return [f"{beside.path}: whether its ids fit cannot be told: the tokenizer wrapper does not give its pieces"]
    fingerprint = fingerprint_of(ours)
    elsewhere = beside.vocab_dir is not None and not _same_place(beside.vocab_dir, vocab_dir)
    theirs = _load(beside, needed=beside.fingerprint is None and tokenizer.source is None) if elsewhere else None
    expected = beside.fingerprint or (theirs and theirs.fingerprint)
    if expected is None:
        return [f"{beside.path}: whether its ids fit cannot be told: {beside.vocab_dir} is of another kind"]
    if theirs is not None and theirs.fingerprint != expected:
        theirs = None  # not the vocabulary of these ids
    if expected == fingerprint:
        if theirs is None or tokenizer.source is not None or not (differing := differing_rules(tokenizer, theirs)):
            return []
        told = (
            f"{beside.path}: was encoded with {beside.vocab_dir}, which has the pieces of {vocab_dir} but treats "
            f"{' and '.join(differing)} otherwise. "
        )
        remedy = _remedy(split, beside, vocab_dir, elsewhere=True)
        silent = next((each for each in (vocab_dir, beside.vocab_dir) if each is not None and _is_silent(each)), None)
        if silent is None or not GUESSED_RULES.issuperset(differing):
            raise UserError(told + remedy)
        return [
            f"{told}{silent} has no {TOKENIZER_FILE} to say how; texts to predict will be treated as by {vocab_dir}. "
            f"To have both alike: {remedy}"
        ]
    if theirs is not None and theirs.tokens is not None and ours[: len(theirs.tokens)] == theirs.tokens:
        more = len(ours) - len(theirs.tokens)
        return [f"{beside.path}: its vocabulary {beside.vocab_dir} is the run's without the last {more} pieces"]
    told_by = (theirs and beside.vocab_dir) or f"the vocabulary that {DATASET_FILE} beside it tells"
    raise UserError(
        f"{beside.path}: its ids stand for the pieces of {told_by} (fingerprint {expected[:12]}), but the vocabulary "
        f"of the run, {vocab_dir}, is another one (fingerprint {fingerprint[:12]}). "
        f"{_remedy(split, beside, vocab_dir, elsewhere=elsewhere)}"
    )


def _remedy(split: str, beside: Beside, vocab_dir: Path, *, elsewhere: bool) -> str:
    either = f"Set tokenizer.vocab_dir to {beside.vocab_dir}, or p" if split == "train" and elsewhere else "P"
    apart = "" if beside.is_prepared else f"If {beside.vocab_dir} is not that of this file, move one of the two. "
    return f"{apart}{either}repare the texts again with: textclf prepare ... --vocab {vocab_dir}"


def _load(beside: Beside, *, needed: bool) -> OwnTokenizer | None:
    """The vocabulary beside a file; None where it cannot be read and is not needed."""
    assert beside.vocab_dir is not None
    try:
        return OwnTokenizer(WordPieceTokenizerWrapper().load(beside.vocab_dir))
    except UserError as error:
        if not needed:
            return None
        raise UserError(f"{beside.path}: the vocabulary beside it cannot be read and compared. {error}") from None


def differing_rules(one: LoadedTokenizer, other: LoadedTokenizer) -> list[str]:
    """In what two tokenizers with the same pieces give other ids, by texts made of these pieces."""
    words = [token for token in one.tokens or () if token.isalpha()][:PROBED_PIECES] or ["a"]
    text = " ".join(words)
    probes = {
        "capital letters": text.upper(),
        "accents": " ".join(f"{word[0]}\u0301{word[1:]}" for word in words),
        "Chinese characters": text + " \u6f22\u5b57",
        "long words": " ".join(words[0] * length for length in (50, 90, 150, 250)),
        "plain words": text,
    }

    def ids(tokenizer: LoadedTokenizer, probe: str) -> bytes:
        return np.asarray(tokenizer.encode_texts([probe], PROBE_LENGTH)[0], np.int64).tobytes()

    return [what for what, probe in probes.items() if ids(one, probe) != ids(other, probe)]
