"""From texts in memory to a trained model: data, pretraining and finetuning in a folder, as the commands do it."""

import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from textclf_jax.config.file import AnyConfig, Kind, load_config
from textclf_jax.constants import SPLITS
from textclf_jax.errors import ArgumentError, UserError, listed
from textclf_jax.estimator.labels import Classes
from textclf_jax.experiments.folders import MODEL_FOLDER
from textclf_jax.experiments.generate import (
    ChooseLength,
    Length,
    check_settings,
    generate_finetuning,
    generate_pretraining,
)
from textclf_jax.observe.progress import say
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import SplitTexts, write_dataset
from textclf_jax.prepare.report import Report
from textclf_jax.prepare.splitting import stratified_split
from textclf_jax.prepare.texts import Label, Row
from textclf_jax.runs.pretrained import checkpoint_in, load_pretrained, start_path
from textclf_jax.runtime.device import set_up_device
from textclf_jax.training.budget import FINETUNING_SHARE
from textclf_jax.training.fit import fit
from textclf_jax.training.speed import length_within

DATA, ENCODER, CLASSIFIER = "data", "encoder", "classifier"  # folder of the dataset, names of the runs
SOURCE = Path("texts")  # what rows are from, in messages
SHOWN_ROWS = 5
FLAGS = (
    "(Flags are those of `textclf prepare`. Here --vocab-size is vocab_size, --max-length is max_length, and "
    "--extra-text is extra_texts of fit.)"
)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is made from texts.

    Attributes:
      preset: of the architecture.
      pretrain: whether the encoder is pretrained on the texts first.
      minutes: for all of it; None: as many epochs as the configs say.
      max_length, vocab_size: of rows and vocabulary.
      validation_fraction: of the texts.
      pretraining, finetuning: `section.key=value`, overrides of the configs.
      seed: decides the split, the weights and the order of texts.
    """

    preset: str
    pretrain: bool
    minutes: float | None
    max_length: int
    vocab_size: int
    validation_fraction: float
    pretraining: tuple[str, ...]
    finetuning: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Examples:
    """Texts to learn from.

    Attributes:
      classes: what the numbers stand for.
      rows: the labelled texts.
      numbers: [N] or [N, C], of their classes.
      extra: further texts, to pretrain on.
    """

    classes: Classes
    rows: list[Row]
    numbers: Integer[np.ndarray, "N *C"]
    extra: list[Row]


def examples_of(
    texts: Sequence[str], classes: Classes, numbers: Integer[np.ndarray, "N *C"], extra: Sequence[str]
) -> Examples:
    """Puts texts and labels together. Texts without a visible character are left out, which a warning says.

    Raises:
      ArgumentError: a class has no other texts.
    """
    names = classes.names
    labels = [_label(of_text, names) for of_text in numbers]
    pairs = zip(texts, labels, strict=True)
    rows = [Row(text.strip(), label, SOURCE, i) for i, (text, label) in enumerate(pairs, start=1)]
    if blank := [f"texts[{i}]" for i, row in enumerate(rows) if row.is_blank]:
        what = f"{len(blank):,} of {len(rows):,} texts ({listed(blank, SHOWN_ROWS)})"
        warnings.warn(f"left out of training, for they have no visible character: {what}", stacklevel=3)
    left = [i for i, row in enumerate(rows) if not row.is_blank]
    if not classes.multi_label:
        counts = np.bincount(numbers[left], minlength=len(names))
        if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
            raise ArgumentError(f"no text of these classes has a visible character: {listed(empty)}. Leave them out.")
    further = (Row(text.strip(), None, SOURCE, i) for i, text in enumerate(extra, start=1))
    return Examples(classes, [rows[i] for i in left], numbers[left], [row for row in further if not row.is_blank])


def _label(numbers: Integer[np.ndarray, " *C"], names: Sequence[str]) -> Label:
    if numbers.ndim == 0:
        return names[int(numbers)]
    return tuple(sorted(names[i] for i in np.flatnonzero(numbers).tolist()))


@dataclass(frozen=True)
class Project:
    """A folder in which a classifier is trained, laid out as the commands have it.

    Attributes:
      root: the folder, empty at first. It stays so where data or settings are refused.
      examples: what to learn.
      recipe: how.
      begin: when that began, on the clock of `time.perf_counter`.
    """

    root: Path
    examples: Examples
    recipe: Recipe
    begin: float

    def train(self) -> Path:
        """Prepares the data, pretrains an encoder where that is asked for, and finetunes; returns the `model.ckpt`.

        Raises:
          UserError: as the commands.
        """
        recipe, seed = self.recipe, f"experiment.seed={self.recipe.seed}"
        pretraining, finetuning = (*recipe.pretraining, seed), (*recipe.finetuning, seed)
        check_settings("finetuning", recipe.preset, finetuning, self.root)
        new = {"data": DATA, "root": self.root}
        if not recipe.pretrain:
            with _emptied_on_error(self.root):
                self._prepare()
                length = self._length(1.0)
                options = {"preset": recipe.preset, "overrides": finetuning, "choose_length": length}
                config = generate_finetuning(CLASSIFIER, None, **new, **options)
            return self._run("finetuning", config)
        check_settings("pretraining", recipe.preset, pretraining, self.root)
        with _emptied_on_error(self.root):
            self._prepare()
            length = self._length(1 - FINETUNING_SHARE)
            options = {"preset": recipe.preset, "overrides": pretraining, "choose_length": length}
            config = generate_pretraining(ENCODER, **new, **options)
        self._run("pretraining", config)
        # more epochs only teach a pretrained encoder the few texts by heart
        length = self._length(1.0, after_pretraining=True)
        config = generate_finetuning(CLASSIFIER, ENCODER, **new, overrides=finetuning, choose_length=length)
        return self._run("finetuning", config)

    def _prepare(self) -> None:
        """Makes the dataset."""
        rows, numbers, recipe = self.examples.rows, self.examples.numbers, self.recipe
        parts = stratified_split([row.label for row in rows], recipe.validation_fraction, 0.0, recipe.seed)
        drawn = {name: part for name, part in zip(SPLITS, parts, strict=True) if len(part)}
        splits = {name: [rows[i] for i in part] for name, part in drawn.items()}
        labels = {name: numbers[part] for name, part in drawn.items()}
        task, extra = ("both", self.examples.extra) if recipe.pretrain else ("cls", [])
        report = Report(label_names=self.examples.classes.names, multi_label=self.examples.classes.multi_label)
        report.rows_used = {name: len(part) for name, part in splits.items()} | ({"extra": len(extra)} if extra else {})
        report.rows_read = sum(report.rows_used.values())
        options = PrepareOptions(
            self.root / DATA, max_length=recipe.max_length, vocab_size=recipe.vocab_size, seed=recipe.seed
        )
        try:
            write_dataset(SplitTexts(task, splits, extra, labels), options, report)
        except UserError as error:
            raise UserError(f"{error} {FLAGS}" if "--" in str(error) else str(error)) from None
        for warning in report.warnings():
            warnings.warn(f"{warning} {FLAGS}" if "--" in warning else warning, stacklevel=4)
        advice = [f"note: {line}" for line in report.advice(recipe.max_length)]
        say(report.row_counts(), *advice, FLAGS if any("--" in line for line in advice) else "")

    def _length(self, share: float, *, after_pretraining: bool = False) -> ChooseLength | None:
        """Chooses the length of a run that takes a share of the minutes that are left; None without minutes.

        Args:
          share: of the time.
          after_pretraining: the run has its share of all minutes at least, and ends after the epochs of its config
            where these are over earlier.
        """
        minutes = self.recipe.minutes
        if minutes is None:
            return None

        def choose(config: AnyConfig) -> Length:
            left = minutes - (time.perf_counter() - self.begin) / 60
            if after_pretraining:  # which would be lost if it had taken longer than it was to
                left = max(left, FINETUNING_SHARE * minutes)
            found = length_within(share * left, config, self.root, measuring_counts=True)
            found = found.at_most(config.training.epochs) if after_pretraining else found
            say(found.facts(config.training.warmup_ratio))
            return Length(found.max_updates, found.epochs, found.remark)

        return choose

    def _run(self, kind: Kind, path: Path) -> Path:
        """Trains a run and returns its `model.ckpt`."""
        loaded = load_config(path, kind=kind)
        say(*(f"note: {note}" for note in loaded.notes))
        set_up_device(loaded.config.training)  # JAX must know its device before weights are loaded
        start = start_path(loaded.config)
        pretrained = None if start is None else load_pretrained(checkpoint_in(self.root / start))
        fit(loaded.config, path.parent, pretrained=pretrained, root=self.root, handles_signals=False)
        return path.parent / MODEL_FOLDER


@contextmanager
def _emptied_on_error(folder: Path) -> Iterator[None]:
    """Removes what is in a folder where something fails."""
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        raise
