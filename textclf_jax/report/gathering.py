"""Gathers what is to be said of a run from its folder, its model and its data."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from textclf_jax.config.file import dump_config
from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import MODEL_FOLDER
from textclf_jax.report.answers import answers_of
from textclf_jax.report.facts import Answers, Missing, RunFacts, Verdict
from textclf_jax.report.run_files import (
    RunFiles,
    commands_of,
    cost_of,
    data_of,
    environment_of,
    read_run,
)
from textclf_jax.runs.checkpoint import SavedModel, load_model
from textclf_jax.runs.metrics_files import POSITION_COLUMNS
from textclf_jax.runs.pretrained import start_path
from textclf_jax.runtime.device import explained_exhaustion
from textclf_jax.training.early_stopping import decided_by
from textclf_jax.training.evaluating import WITH_LESS_MEMORY, Loaded, load_for_evaluation
from textclf_jax.training.summary import COMMANDS

CLOSE = 1e-3  # last digits differ between machines; more than this is another model or other data

Note = Callable[[str], None]


def gather(folder: Path, *, check: Path | None = None, verdict: Verdict | None = None, note: Note = print) -> RunFacts:
    """Gathers what is to be said of a run; what is not there is among `missing`.

    The model answers the test split again: the same answers that the run has tested. A run that is not finished has
    not tested yet, so the validation split is taken for it.

    Args:
      folder: of the run; paths of data start in the current folder.
      check: a JSON file with what a check of the data has found.
      verdict: on the methods that the run's was compared with.
      note: gets lines on data and programs.

    Raises:
      UserError: the run has not begun, or `check` cannot be read.
    """
    found = None if check is None else read_check(check)
    missing: list[Missing] = []
    run = read_run(folder, missing)
    remarks: list[str] = []
    saved, answers = _model_and_answers(run, missing, remarks, note)
    summary, metadata, config = run.summary or {}, run.metadata or {}, run.config
    start = start_path(config)
    stopped = summary.get("stopped_early")
    if isinstance(stopped, dict):
        remarks.append(f"stopped early, after update {stopped.get('update')}: {stopped.get('why')}")
    told = {**summary, **metadata}
    return RunFacts(
        name=run.name,
        kind=run.kind,
        state=_state(run),
        which=metadata.get("which", summary.get("model")),
        place={name: int(told[name]) for name in POSITION_COLUMNS if isinstance(told.get(name), int)},
        chosen_by=decided_by(metadata) if metadata else summary.get("metric"),
        labels=tuple(run.record.get("labels") or ()),
        multi_label=isinstance(config, FinetuningConfig) and config.classification_head.multi_label,
        results=run.results,
        answers=answers,
        data=data_of(run, Path.cwd(), missing),
        check=found,
        config=config.model_dump(mode="json"),
        config_text=dump_config(config),
        environment=environment_of(run),
        cost=cost_of(run, None if saved is None else _parameters(saved), missing),
        commands=commands_of(run, missing),
        starts_from="" if start is None else str(start),
        remarks=tuple(remarks),
        missing=tuple(missing),
        verdict=verdict,
    )


def _parameters(saved: SavedModel) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(saved.variables["params"]))


def _state(run: RunFiles) -> str:
    if run.summary is None:
        return "unfinished"
    return "imported" if run.summary.get("model") == "imported" else "finished"


def read_check(path: Path) -> dict[str, Any]:
    """Reads what a check of the data has found.

    Raises:
      UserError: it is no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"--check {path}: cannot be read ({error}). Give it a JSON file.") from None
    if not isinstance(content, dict):
        raise UserError(f"--check {path}: holds no JSON object, in which each finding has a name")
    return content


def _model_and_answers(
    run: RunFiles, missing: list[Missing], remarks: list[str], note: Note
) -> tuple[SavedModel | None, Answers | None]:
    """The model, and what it answers; None where there is none."""
    what = "answers of the model: intervals, classes, calibration and mistakes"
    if run.metadata is None:
        why = f"there is no {MODEL_FOLDER} that can be read"
        if run.summary is None:
            why += f"; the run begins, or goes on, with: textclf {COMMANDS[run.kind]} {shlex.quote(run.name)}"
        missing.append(Missing(what, why))
        return None, None
    split, saved = _split_of(run), None
    try:
        if run.kind == "pretraining" or split is None:
            saved = load_model(run.folder / MODEL_FOLDER)
            if split is None:
                missing.append(Missing(what, "the run has neither a test split nor a validation split"))
            return saved, None
        with explained_exhaustion(WITH_LESS_MEMORY):
            loaded = load_for_evaluation(run.folder / MODEL_FOLDER, split, None, Path.cwd(), note)
            saved = loaded.saved
            if reason := _other_data(loaded, split):
                missing.append(Missing(what, reason))
                return saved, None
            answers = answers_of(loaded, split)
    except UserError as error:
        missing.append(Missing(what, str(error)))
        return saved, None
    remarks += _differences(run, answers)
    return saved, answers


def _split_of(run: RunFiles) -> str | None:
    """The split that the report is about; the test split only of a run that has tested."""
    splits = {name: getattr(run.config.data, name).dataset_path for name in ("test", "val")}
    if run.summary is None:
        del splits["test"]
    return next((name for name, path in splits.items() if path), None)


def _other_data(loaded: Loaded, split: str) -> str:
    """Why rows are not those of the run; empty where they are."""
    before, now = loaded.saved.metadata.get("data", {}).get(split), loaded.data
    if not before or before["fingerprint"] == now.fingerprint:
        return ""
    return (
        f"{now.path} has changed since the model was trained (fingerprint {before['fingerprint']} then, "
        f"{now.fingerprint} now). Put the file back. On the new rows: textclf evaluate."
    )


def _differences(run: RunFiles, answers: Answers) -> list[str]:
    """A remark where answers are no longer those of the run."""
    told = run.results.get(answers.split, {})
    for figure in answers.figures:
        before = told.get(figure.name)
        if before is not None and abs(before - figure.value) > CLOSE:
            return [
                f"The model's {figure.name} on the {answers.split} split is {figure.value:.4f} now, and was "
                f"{before:.4f} when the run ended: this machine or these versions compute otherwise, or the model is "
                "another one."
            ]
    return []
