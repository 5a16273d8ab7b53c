"""Runs a study: prepares its data, makes and trains its experiments in turn, and keeps what they predict."""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from textclf_jax.config.file import AnyConfig, Kind
from textclf_jax.errors import UserError
from textclf_jax.evaluation.baselines import LogProbabilities, majority_class, tfidf_logistic_regression
from textclf_jax.experiments.folders import CONFIG_FILE, MODEL_FOLDER, run_folder
from textclf_jax.experiments.generate import Length, check_settings, generate_finetuning, generate_pretraining
from textclf_jax.files import sha256_of, write_whole
from textclf_jax.observe.progress import say_warning
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import SplitTexts, read_splits
from textclf_jax.prepare.report import Report
from textclf_jax.runs.lock import RunLock
from textclf_jax.runs.record import SUMMARY_FILE
from textclf_jax.study.design import BASELINES, MAJORITY, TFIDF, Design, Part
from textclf_jax.study.progress import Measured, Progress, Run, open_progress
from textclf_jax.study.results import (
    TRUE_CLASSES,
    of_linear_path,
    read_results,
    results_of,
    show_results,
    write_results,
)
from textclf_jax.training.evaluating import predict_split
from textclf_jax.training.speed import length_within

PREDICTIONS_FOLDER = "predictions"

# training texts, their classes and test texts to scores of these
Predict = Callable[[Sequence[str], Int[np.ndarray, " N"], Sequence[str]], LogProbabilities]
PREDICT: dict[str, Predict] = {MAJORITY: majority_class, TFIDF: tfidf_logistic_regression}

Train = Callable[[Kind, Path], int]
Prepare = Callable[[PrepareOptions], None]
Clock = Callable[[], float]


def run_study(design: Design, prepare: Prepare, train: Train, clock: Clock = time.perf_counter) -> int:
    """Does what is left to do of a study, and prints its results.

    Args:
      design: the study.
      prepare: makes a dataset.
      train: trains the run in a folder and returns the exit code.
      clock: in seconds.

    Returns:
      The exit code: 0, or that of a run that a signal has stopped (the same command goes on).

    Raises:
      UserError: a problem the user can solve.
    """
    for part in dict.fromkeys(part for method in design.methods for part in design.parts(method)):
        # a finetuned model has the size of its pretrained one; both templates take any preset
        check_settings(part.kind, design.preset, part.keys)
    progress = open_progress(design)
    try:
        with RunLock(design.out):
            return Study(design, progress, prepare, train, clock).run()
    finally:
        with suppress(OSError):  # there is something in it, as there should be
            design.out.rmdir()


@dataclass
class Study:
    """A study at work; arguments as for `run_study`, and how each baseline predicts."""

    design: Design
    progress: Progress
    prepare: Prepare
    train: Train
    clock: Clock
    baselines: Mapping[str, Predict] = field(default_factory=PREDICT.copy)

    def run(self) -> int:
        """Does what is left to do; returns the exit code."""
        design = self.design
        self.prepare_data()
        self.run_baselines()
        if code := self.run_parts():
            print("the study is not finished; the same command goes on", flush=True)
            return code
        results = read_results(design.out) or results_of(design, self.progress, self.predictions)
        write_results(design.out, results)
        show_results(design.out, results)
        return 0

    # --- data -------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Makes the dataset, and keeps the true classes of the test rows."""
        options = self.design.data
        if self.progress.prepare_seconds is not None:
            return
        labels = self.read_texts().labels["test"]
        self.progress.save()
        begin = self.clock()
        self.prepare(replace(options, force=options.out.exists()))
        seconds = self.clock() - begin
        self._keep(TRUE_CLASSES, labels)
        self.progress.prepare_seconds = seconds
        self.progress.save()

    def read_texts(self) -> SplitTexts:
        """The texts of the study and the numbers of their classes."""
        try:
            texts = read_splits(self.design.data, Report())
        except UserError as error:
            if "--task" in str(error):  # a remedy of `textclf prepare` alone
                raise UserError(f"{error} (--task is a flag of `textclf prepare`; a study needs labels.)") from None
            raise
        if any(labels.ndim > 1 for labels in texts.labels.values()):
            raise UserError("a study compares classifiers that give each text one class; these texts have several")
        return texts

    def predictions(self, name: str) -> Int[np.ndarray, " N"]:
        """The classes that a run has predicted for the test rows, or their true classes."""
        path = self._path(name)
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: cannot be read ({error}). Choose another --out and begin anew.") from None

    def _keep(self, name: str, classes: Int[np.ndarray, " N"]) -> None:
        content = io.BytesIO()
        np.save(content, classes)
        self._path(name).parent.mkdir(exist_ok=True)
        write_whole(self._path(name), content.getvalue())

    def _path(self, name: str) -> Path:
        return self.design.out / PREDICTIONS_FOLDER / f"{name}.npy"

    # --- runs -------------------------------------------------------------------------------------------------

    def run_baselines(self) -> None:
        """Trains and tests the methods that are not neural."""
        for method in [name for name in self.design.methods if name in BASELINES]:
            self.run_baseline(method)

    def run_parts(self) -> int:
        """Trains and tests the others, seed by seed; returns the exit code."""
        for part, seed in self.design.trainings():
            if code := self.run_part(part, seed):
                return code
        return 0

    def run_baseline(self, method: str) -> None:
        """Trains and tests one that is not neural, on the same rows."""
        if method in self.progress.runs:
            return
        print(self.design.heading(method), flush=True)
        texts = self.read_texts()
        train, test = ([row.text for row in texts.splits[name]] for name in ("train", "test"))
        begin = self.clock()
        # named classes that no training row has are none of theirs
        classes, numbers = np.unique(texts.labels["train"], return_inverse=True)
        predicted = classes[self.baselines[method](train, numbers, test).argmax(axis=1)]
        seconds = self.clock() - begin
        self._keep(method, predicted)
        self.progress.runs[method] = Run(seconds=seconds, is_done=True)
        self.progress.save()

    def run_part(self, part: Part, seed: int) -> int:
        """Makes and trains a run, or goes on with it, and keeps its predictions; returns the exit code."""
        name = self.design.experiment(part, seed)
        folder = run_folder(part.kind, name)
        run = self.progress.runs.setdefault(name, Run())
        if run.is_done:
            return 0
        print(self.design.heading(name), flush=True)
        self._make(part, seed, folder, run)
        if not (folder / SUMMARY_FILE).exists():
            begin = self.clock()
            try:
                code = self.train(part.kind, folder)
            finally:
                run.seconds += self.clock() - begin
                self.progress.save()
            if code:
                return code
        if part.kind == "finetuning":
            self._predict(name, folder)
        run.is_done = True
        self.progress.save()
        return 0

    def _make(self, part: Part, seed: int, folder: Path, run: Run) -> None:
        """Writes the config of a run, unless it is there as the study has written it."""
        path = folder / CONFIG_FILE
        if run.config and path.exists():
            if sha256_of([path]) != run.config:
                raise UserError(f"{path}: has changed since the study wrote it. Undo the change, or remove {folder}.")
            return
        if folder.exists():
            raise UserError(
                f"{folder}: is there already, and is no run of this study. Remove it, or choose another --out, whose "
                "name begins the names of the study's runs."
            )
        design, data = self.design, str(self.design.data.out)
        keys = (f"experiment.seed={seed}", *part.keys)

        def choose(config: AnyConfig) -> Length:
            measured = self._length(part, config)
            return Length(measured.max_updates, measured.epochs, measured.remark)

        if part.kind == "pretraining":
            generate_pretraining(folder.name, data=data, preset=design.preset, overrides=keys, choose_length=choose)
        else:
            start = None if part.from_scratch else design.experiment(design.pretraining, seed)
            preset = design.preset if part.from_scratch else None
            generate_finetuning(folder.name, start, data=data, preset=preset, overrides=keys, choose_length=choose)
        run.config, run.seconds = sha256_of([path]), 0.0
        self.progress.save()

    def _length(self, part: Part, config: AnyConfig) -> Measured:
        """How long the runs of a part are: measured for the first seed, and the same for all."""
        if part.name not in self.progress.lengths:
            print(f"measuring the speed of this machine for {part.name}", flush=True)
            prepared = self.progress.prepare_seconds
            assert prepared is not None
            begin, minutes = self.clock(), part.share * (self.design.minutes - prepared / 60)
            try:
                found = length_within(minutes, config, Path.cwd(), measuring_counts=True, clock=self.clock)
            except UserError as error:
                told = (
                    f"{part.name} gets {part.share:.0%} of the {self.design.minutes:g} minutes, less {prepared:.0f} s"
                )
                raise UserError(f"{told} that the data took: {error}") from None
            found = found if part.fills_time else found.at_most(config.training.epochs)
            print(found.facts(config.training.warmup_ratio), flush=True)
            seconds = self.clock() - begin
            self.progress.lengths[part.name] = Measured(found.max_updates, found.epochs, found.remark, seconds)
            self.progress.save()
        return self.progress.lengths[part.name]

    def _predict(self, name: str, folder: Path) -> None:
        """Keeps what the best model of a run predicts for the test rows."""
        # the training has told all else
        predicted, by_linear_path, data = predict_split(folder / MODEL_FOLDER, "test", note=say_warning)
        if data.labels is None or not np.array_equal(data.labels, self.predictions(TRUE_CLASSES)):
            raise UserError(f"{data.path}: has changed since the study prepared it. Choose another --out.")
        if (predicted < 0).any():
            print(f"warning: {name} predicts nothing, its training went wrong: all of its rows count as wrong")
        self._keep(name, predicted)
        if by_linear_path is not None:
            self._keep(of_linear_path(name), by_linear_path)
