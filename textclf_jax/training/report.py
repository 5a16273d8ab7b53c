"""What is left and printed of the evaluation of a saved model: metrics, and of a classifier the results by class."""

from pathlib import Path
from typing import Any, NamedTuple

from textclf_jax.data.dataset import Dataset
from textclf_jax.errors import UserError
from textclf_jax.evaluation.classes import ClassResults
from textclf_jax.evaluation.confidence import Confidence
from textclf_jax.evaluation.evaluator import Evaluator, Outcome, predicts
from textclf_jax.evaluation.label_results import LabelResults
from textclf_jax.files import json_text, write_whole
from textclf_jax.observe.confusion_picture import confusion_picture
from textclf_jax.observe.progress import print_table, say
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.runs.metrics_files import POSITION_COLUMNS
from textclf_jax.tasks.metrics import confusion_matrix
from textclf_jax.tasks.task import Task
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.training.predictions import why_nothing_is_masked

REPORT_FOLDER = "test_report"
METRICS_FILE = "metrics.json"
CLASSES_FILE, CONFUSION_FILE, PICTURE_FILE = "per_class.csv", "confusion_matrix.csv", "confusion_matrix.png"


class EvaluationReport(NamedTuple):
    """The evaluation of a saved model on a split.

    Attributes:
      which: the model: best, last or imported.
      place: step, update and epoch that the model is from; of an imported one nothing.
      split: the name of the split.
      data: its rows.
      metrics: of the task.
      classes: results by class; None for MLM, and where the model does not predict.
      remark: why there are no figures; empty where there are.
      confidence: of a classifier that gives each text one label, and predicts.
    """

    which: str
    place: dict[str, int]
    split: str
    data: Dataset
    metrics: dict[str, float]
    classes: ClassResults | LabelResults | None
    remark: str = ""
    confidence: Confidence | None = None

    @classmethod
    def of(cls, saved: SavedModel, evaluator: Evaluator, split: str, data: Dataset) -> "EvaluationReport":
        """Evaluates a saved model."""
        outcome, thresholds = evaluator.outcome(saved.variables, data), Thresholds.of_model(saved.metadata)
        metrics = evaluator.metrics(outcome, thresholds)
        place = {name: saved.metadata[name] for name in POSITION_COLUMNS if name in saved.metadata}
        classes = results_by_class(saved, outcome, thresholds)
        remark = _without_figures(evaluator.task, metrics, data)
        confidence = None
        if isinstance(classes, ClassResults) and outcome.labels is not None:
            confidence = Confidence.of(outcome.logits, outcome.labels, saved.metadata)
        return cls(saved.metadata["which"], place, split, data, metrics, classes, remark, confidence)

    def write(self, folder: Path) -> None:
        """Writes `metrics.json`, and of a classifier two CSV files and a picture, into a folder, which is made.

        Where a text can have several labels there is one CSV file and no picture: nothing is taken for another class.

        Raises:
          UserError: they cannot be written.
        """
        make_folder(folder)
        classes = self.classes
        content: dict[str, Any] = {"model": self.which, **self.place, "split": self.split}
        content |= {"data": str(self.data.path), "fingerprint": self.data.fingerprint, "results": self.metrics}
        if (folder / METRICS_FILE).exists():  # an earlier report, not another program's files
            for name in _not_written(classes):
                (folder / name).unlink(missing_ok=True)
        if classes is not None:
            content["classes"] = classes.records()
            if self.confidence is not None:
                content["confidence"] = self.confidence._asdict()
            write_whole(folder / CLASSES_FILE, classes.per_class_csv())
        if isinstance(classes, ClassResults):
            write_whole(folder / CONFUSION_FILE, classes.confusion_csv())
            title = f"{self.which} model, {len(self.data):,} rows ({self.split})"
            confusion_picture(classes.confusion, classes.names, title, folder / PICTURE_FILE)
        write_whole(folder / METRICS_FILE, json_text(content))

    def show_classes(self) -> None:
        """Prints the results of each class, or of some of many; for MLM nothing but why there are no figures."""
        if self.remark:
            say(self.remark)
        if self.data.labels is None:
            return
        if self.classes is None:
            say("no results by class: the model's logits are NaN or infinite, so it predicts nothing")
            return
        remark, rows = self.classes.table()
        print_table(f"{self.split} results by class{remark}", rows, self.classes.table_columns)
        for line in (*self.classes.remarks(), *(self.confidence.remarks() if self.confidence else ())):
            say(line)


def results_by_class(
    saved: SavedModel, outcome: Outcome, thresholds: Thresholds | None
) -> ClassResults | LabelResults | None:
    """The results of a classifier by class; None for MLM, and where the model does not predict."""
    if outcome.labels is None or not predicts(outcome.logits):
        return None
    names = saved.metadata["labels"]
    if outcome.labels.ndim == 2:
        return LabelResults(outcome.logits, outcome.labels, thresholds, names)
    confusion = confusion_matrix(outcome.logits, outcome.labels)
    return None if confusion is None else ClassResults(confusion, names)


def _not_written(classes: ClassResults | LabelResults | None) -> tuple[str, ...]:
    """The files that a report with these results lacks."""
    if isinstance(classes, ClassResults):
        return ()
    return (CONFUSION_FILE, PICTURE_FILE) if classes else (CLASSES_FILE, CONFUSION_FILE, PICTURE_FILE)


def _without_figures(task: Task, metrics: dict[str, float], data: Dataset) -> str:
    if data.labels is not None or metrics["num_tokens"]:
        return ""
    told = f"no figures: none of the {int(data.lengths.sum()):,} tokens of {data.path} is masked."
    return f"{told} {why_nothing_is_masked(task, data) or 'Put more text into it.'}"


def make_folder(folder: Path) -> None:
    """Makes a folder for a report; raises UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: the folder cannot be made ({error.strerror}). Name another, or mend the rights."
        ) from error
