"""What `textclf prepare` is asked to do, and the checks that need no file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from textclf_jax.errors import UserError
from textclf_jax.prepare.texts import ReadOptions, refuse_unused
from textclf_jax.tokenizer.vocabulary import LONGEST_WORD_LENGTH

DEFAULT_FRACTION = 0.1

UnlabelledRows = Literal["mlm", "drop", "negative"]


@dataclass(frozen=True)
class PrepareOptions:
    """What to prepare; each field is a flag of `textclf prepare`.

    Attributes:
      out: the folder to make.
      inputs: files to split into train, val and test; or
      train, val, test: files that are split already. Without val, some of train becomes val.
      extra_text: unlabelled files, for the MLM training rows and the vocabulary.
      read: how files are read.
      task: which rows to write; None: "both" where there are labels, else "mlm".
      vocab: a vocabulary to use, instead of training one of vocab_size (None: 30,000) with
        min_frequency (None: 2), lowercase (None: yes), strip_accents, limit_alphabet (None: all characters that there
        is room for) and max_word_length (None: 100 characters; longer words are [UNK]).
      max_length: L of all rows, and what a generated config has as the encoder's maximum length.
      cls_max_length: L of CLS rows where they go on for a linear path to read; None: that of all rows.
      val_fraction, test_fraction: shares of all texts; None: 0.1 of those that are split.
      seed: decides the split.
      deduplicate: drop texts that occur before, in train first.
      long_texts: whether MLM rows split long texts or cut them off; None: "split". CLS rows always cut.
      skip_empty: drop labelled rows without text, which are an error otherwise.
      unlabelled_rows: what to do with rows without a label where classification needs labels: use those of the input
        and training files for MLM training alone, drop them, or take them as texts of none of the classes, where a
        text can have several; None: they are an error.
      label_names: a file with a class name a line, for labels that are ids.
      accept_labels: take labels as classes although they look like texts, ids or numbers to regress on.
      force: replace a dataset that is there.
      shard_size: rows of a `.pt` file at most; None: one file for each split.
    """

    out: Path
    inputs: tuple[Path, ...] = ()
    train: tuple[Path, ...] = ()
    val: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    extra_text: tuple[Path, ...] = ()
    read: ReadOptions = field(default_factory=ReadOptions)
    task: Literal["mlm", "cls", "both"] | None = None
    vocab: Path | None = None
    vocab_size: int | None = None
    min_frequency: int | None = None
    lowercase: bool | None = None
    strip_accents: bool = False
    limit_alphabet: int | None = None
    max_word_length: int | None = None
    max_length: int = 128
    cls_max_length: int | None = None
    val_fraction: float | None = None
    test_fraction: float | None = None
    seed: int = 42
    deduplicate: bool = False
    long_texts: Literal["split", "truncate"] | None = None
    skip_empty: bool = False
    unlabelled_rows: UnlabelledRows | None = None
    label_names: Path | None = None
    accept_labels: bool = False
    force: bool = False
    shard_size: int | None = None

    @property
    def sources(self) -> dict[str, tuple[Path, ...]]:
        """The text files by their role."""
        roles = {"input": self.inputs, "train": self.train, "val": self.val, "test": self.test}
        return {role: paths for role, paths in (roles | {"extra": self.extra_text}).items() if paths}

    @property
    def val_share(self) -> float:
        """The share of all texts that is drawn for validation: none where its files are given."""
        fraction = DEFAULT_FRACTION if self.val_fraction is None else self.val_fraction
        return 0.0 if self.val else fraction

    @property
    def test_share(self) -> float:
        """The share of all texts that is drawn for the test: none of training files."""
        fraction = DEFAULT_FRACTION if self.test_fraction is None else self.test_fraction
        return 0.0 if self.train else fraction

    @property
    def lowers(self) -> bool:
        """Whether a trained vocabulary makes capitals small letters."""
        return self.lowercase is not False

    @property
    def overflow(self) -> Literal["split", "truncate"]:
        """What becomes of long texts in MLM rows."""
        return "split" if self.long_texts is None else self.long_texts

    @property
    def cls_length(self) -> int:
        """L of CLS rows."""
        return self.max_length if self.cls_max_length is None else self.cls_max_length

    @property
    def label_flags(self) -> list[str]:
        """The flags given that nothing has a use for where only MLM rows are made.

        With --task mlm, a column of labels has one: the split gives each part its share of them.
        """
        flags = {
            "--unlabelled-rows": self.unlabelled_rows is not None,
            "--label-names": self.label_names is not None,
            "--accept-labels": self.accept_labels,
            "--skip-empty": self.skip_empty,
            "--cls-max-length": self.cls_max_length is not None,
            "--label-column": self.read.label_column is not None and self.task is None,
            "--label-separator": self.read.label_separator is not None and self.task is None,
        }
        return [flag for flag, is_given in flags.items() if is_given]


def check_options(options: PrepareOptions) -> None:
    """Raises UserError for values out of range and flags that exclude each other."""
    if bool(options.inputs) == bool(options.train):
        raise UserError("give either INPUT files, which are split, or --train (and --val, --test)")
    if options.inputs and (options.val or options.test):
        raise UserError("--val and --test go with --train; INPUT files are split into all three")
    refuse_unused(options.read, [path for paths in options.sources.values() for path in paths])
    _check_fractions(options)
    if options.max_length < 3:
        raise UserError(f"--max-length {options.max_length} must be at least 3: [CLS], a token, [SEP]")
    if options.cls_length < options.max_length:
        raise UserError(
            f"--cls-max-length {options.cls_max_length} is below --max-length {options.max_length}: it is for rows of "
            "classification that go on where the encoder ends. Lower --max-length, or leave it out."
        )
    if options.task == "mlm" and (unused := options.label_flags):
        raise UserError(f"--task mlm uses rows with and without labels alike: leave {unused[0]} out")
    if options.task == "cls" and options.long_texts is not None:
        raise UserError("--long-texts is for MLM rows, and --task cls makes none: leave it out")
    if options.unlabelled_rows == "mlm" and options.task == "cls":
        raise UserError("--task cls makes no MLM rows: pass --unlabelled-rows drop, or --task both")
    require_separator(options.unlabelled_rows, options.read)
    if options.shard_size is not None and options.shard_size < 1:
        raise UserError(f"--shard-size {options.shard_size} must be at least 1: it is the rows of a file")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed} must not be negative")
    _check_training_flags(options)


def refuse_label_flags(options: PrepareOptions) -> None:
    """Raises UserError for flags on labels where no row has one."""
    if unused := options.label_flags:
        raise UserError(f"no row has a label, and {unused[0]} is for rows that have one: leave it out")


def require_separator(unlabelled: UnlabelledRows | None, read: ReadOptions) -> None:
    """Raises UserError where rows without a label are to be of none of the classes, though a text has one label."""
    if unlabelled == "negative" and read.label_separator is None:
        raise UserError(
            "--unlabelled-rows negative takes rows without a label as texts of none of the classes, which goes with "
            "--label-separator alone: with one label a text, pass --unlabelled-rows drop"
        )


def _check_fractions(options: PrepareOptions) -> None:
    for flag, fraction in (("--val-fraction", options.val_fraction), ("--test-fraction", options.test_fraction)):
        if fraction is not None and not 0 <= fraction < 1:
            raise UserError(f"{flag} {fraction:g} must be at least 0 and below 1")
    # 0 asks for what is done: nothing is split off
    if options.val and options.val_fraction:
        raise UserError("--val gives the validation rows, --val-fraction splits some off: give one of the two")
    if options.train and options.test_fraction:
        raise UserError("--test-fraction splits rows off INPUT files: with --train, give --test FILE instead")
    if options.val_share + options.test_share >= 1:
        raise UserError("--val-fraction and --test-fraction leave nothing to train on")


def _check_training_flags(options: PrepareOptions) -> None:
    numbers = {
        "--vocab-size": options.vocab_size,
        "--min-frequency": options.min_frequency,
        "--limit-alphabet": options.limit_alphabet,
        "--max-word-length": options.max_word_length,
    }
    for flag, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"{flag} {number} must be at least 1")
    if options.max_word_length is not None and options.max_word_length > LONGEST_WORD_LENGTH:
        raise UserError(
            f"--max-word-length {options.max_word_length} must be at most {LONGEST_WORD_LENGTH}: encoding a word takes "
            "time with the square of its length. Divide longer words by spaces."
        )
    lowercase = "--no-lowercase" if options.lowercase is False else "--lowercase"
    switches = {lowercase: options.lowercase is not None, "--strip-accents": options.strip_accents}
    given = [flag for flag, number in numbers.items() if number is not None]
    given += [flag for flag, is_given in switches.items() if is_given]
    if options.vocab is not None and given:
        raise UserError(f"--vocab uses a vocabulary as it is, {given[0]} is for training one: give one of the two")
