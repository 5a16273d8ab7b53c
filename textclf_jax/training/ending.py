"""How a run ends: its best model is tested, once, and its results are written and printed."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.evaluation.label_results import thresholds_remarks
from textclf_jax.files import json_text, write_whole
from textclf_jax.observe.progress import say
from textclf_jax.runs.checkpoint import MODEL_FOLDER, SavedModel, load_model
from textclf_jax.runs.metrics_files import POSITION_COLUMNS, csv_paths, read_metrics
from textclf_jax.runs.record import SUMMARY_FILE
from textclf_jax.runtime.agreement import arrays_by_first, made_by_first
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.training.early_stopping import decided_by
from textclf_jax.training.keeper import Keeper
from textclf_jax.training.plan import Plan
from textclf_jax.training.report import REPORT_FOLDER, EvaluationReport
from textclf_jax.training.session import Session
from textclf_jax.training.summary import more_epochs, show_files, show_parts, show_results


class Tested(NamedTuple):
    """A model and what it reaches.

    Attributes:
      saved: the model.
      results: metrics by split.
      report: on the test split, where there is one.
    """

    saved: SavedModel
    results: dict[str, dict[str, float]]
    report: EvaluationReport | None


def run_test(plan: Plan, keeper: Keeper, run_dir: Path) -> Tested:
    """Tests the best model of a run, once.

    Args:
      plan: the run.
      keeper: has the evaluator, and the metrics of the best model where this process has found it.
      run_dir: the folder of the run.
    """
    saved = _saved_model(plan, run_dir)
    results: dict[str, dict[str, float]] = {}
    if plan.val is not None:
        thresholds = Thresholds.of_model(saved.metadata)
        results["val"] = keeper.best_metrics or keeper.evaluator(saved.variables, plan.val, thresholds)
    report = None
    if "test" in plan.splits:
        report = EvaluationReport.of(saved, keeper.evaluator, "test", plan.splits["test"])
        results["test"] = report.metrics
    return Tested(saved, results, report)


def _saved_model(plan: Plan, run_dir: Path) -> SavedModel:
    """The model of the run, which the first process alone can be sure to find whole."""
    folder = run_dir / MODEL_FOLDER
    saved, metadata = made_by_first(lambda: load_model(folder), lambda loaded: loaded.metadata)
    variables = arrays_by_first(lambda: saved and saved.variables, plan.variable_shapes)
    return SavedModel(folder, variables, metadata)


def sum_up(plan: Plan, session: Session, keeper: Keeper, tested: Tested, curves: Path | None) -> None:
    """Writes and prints the results.

    Args:
      plan, session: the run.
      keeper: knows why it stopped.
      tested: the model.
      curves: the picture of the learning curves, where there is one.
    """
    (saved, results, report), run_dir, stopped = tested, session.run_dir, keeper.why_stopped()
    if stopped:
        say(f"stopped early, after epoch {stopped['epoch']}, update {stopped['update']}: {stopped['why']}")
    place = {name: saved.metadata[name] for name in POSITION_COLUMNS}
    if "test" in results:
        session.logger.log("test", results["test"], **place)
    which, metric = saved.metadata["which"], decided_by(saved.metadata)
    if report:
        report.write(run_dir / REPORT_FOLDER)
    # after all else that is written: it marks the run as finished
    summary = {"model": which, **place, "metric": metric, "score": saved.metadata["score"]}
    summary |= {"stopped_early": stopped, "results": results}
    write_whole(run_dir / SUMMARY_FILE, json_text(summary))
    show_results(which, place, results, metric=metric)
    show_parts(results)
    if report:
        report.show_classes()
    elif plan.val is not None:
        say(*_thresholds_remarks(plan, saved))
    if plan.val is not None and which == "last":
        wanted = plan.config.training.early_stopping.metric
        say(f"warning: no evaluation had a finite {wanted}, so there is no best model: this is the last one")
    csvs = csv_paths(run_dir, plan.config.logging)
    if not stopped:
        say(more_epochs(plan.config, run_dir.name, read_metrics(csvs["eval"])))
    files = {"model": run_dir / MODEL_FOLDER, "summary": run_dir / SUMMARY_FILE}
    files |= {"test report": run_dir / REPORT_FOLDER} if report else {}
    files |= {f"{split} metrics": path for split, path in csvs.items() if path.exists()}
    show_files(files | ({"learning curves": curves} if curves else {}))


def _thresholds_remarks(plan: Plan, saved: SavedModel) -> Iterable[str]:
    """What there is to say of thresholds, where a text can have several labels."""
    config = plan.config
    if not isinstance(config, FinetuningConfig) or not config.classification_head.multi_label:
        return ()
    return thresholds_remarks(Thresholds.of_model(saved.metadata), saved.metadata["labels"])
