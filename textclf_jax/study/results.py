"""The results of a study: figures from the predictions that it has kept, and the files they are written to."""

import io
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from textclf_jax import __version__
from textclf_jax.errors import UserError
from textclf_jax.evaluation.paired import Comparison, Interval, compare, f1_macro
from textclf_jax.experiments.folders import run_folder
from textclf_jax.files import json_text, write_csv, write_whole
from textclf_jax.observe.progress import print_table
from textclf_jax.runs.record import RECORD_FILE, SUMMARY_FILE
from textclf_jax.study.design import BASELINES, LINEAR, LINEAR_ALONE, SCRATCH, TITLES, Design, Part
from textclf_jax.study.page import markdown, method_rows
from textclf_jax.study.progress import Progress

TRUE_CLASSES = "true"  # the name of what is kept beside predictions
BY_LINEAR_PATH = ".linear-path"
RESULTS_JSON, RESULTS_CSV, RESULTS_PAGE = "results.json", "results.csv", "results.md"
CSV_COLUMNS = ("method", "seeds", "accuracy", "accuracy_low", "accuracy_high", "f1_macro", "f1_macro_low")
CSV_COLUMNS += ("f1_macro_high", "minutes")

GetPredictions = Callable[[str], Int[np.ndarray, " N"]]


def results_of(design: Design, progress: Progress, predictions: GetPredictions) -> dict[str, Any]:
    """All that is to be said of a finished study, JSON-able.

    Args:
      design, progress: the study.
      predictions: the classes of the test rows that a run, by its name, has predicted; by `TRUE_CLASSES` the true ones.
    """
    labels = predictions(TRUE_CLASSES)
    chosen = {method: [_chosen(design, method, seed) for seed in design.seed_numbers] for method in _compared(design)}
    found = {method: np.stack([predictions(name) for name in names]) for method, names in chosen.items()}
    comparison = compare(found, labels)
    methods = []
    for method, names in chosen.items():
        by_seed = [
            {
                "seed": seed,
                "run": name.removesuffix(BY_LINEAR_PATH),
                "accuracy": float(np.mean(row == labels)),
                "f1_macro": f1_macro(row, labels),
                "minutes": _minutes(design, progress, method, seed),
            }
            for seed, name, row in zip(design.seed_numbers, names, found[method], strict=True)
        ]
        scores = {name: value._asdict() for name, value in comparison.scores[method]._asdict().items()}
        minutes = None if method == LINEAR_ALONE else float(np.mean([each["minutes"] for each in by_seed]))
        methods.append({"method": method, "title": TITLES[method], **scores, "minutes": minutes, "by_seed": by_seed})
    return {
        "study": design.out.name,
        "minutes": design.minutes,
        "seeds": design.seeds,
        "preset": design.preset,
        "finetuning_share": design.finetuning_share,
        "test_rows": len(labels),
        "classes": int(labels.max()) + 1,
        "methods": methods,
        "differences": _differences(comparison),
        "parts": _parts(design, progress),
        "prepare_seconds": progress.prepare_seconds,
        "made_with": _made_with(design),
        "command": design.command,
    }


def of_linear_path(name: str) -> str:
    """What the predictions of a run's linear path alone are kept by."""
    return f"{name}{BY_LINEAR_PATH}"


def _compared(design: Design) -> list[str]:
    """The methods of a study, and the linear path alone where one of them has it; in the order of the tables."""
    return [name for name in TITLES if name in design.methods or (name == LINEAR_ALONE and LINEAR in design.methods)]


def _chosen(design: Design, method: str, seed: int) -> str:
    """The name of the run that counts for a method: of several finetuning runs the best on the validation split."""
    if method in BASELINES:
        return method
    if method == LINEAR_ALONE:
        return of_linear_path(_chosen(design, LINEAR, seed))
    names = [design.experiment(part, seed) for part in design.parts(method) if part.kind == "finetuning"]
    return max(names, key=validation_accuracy) if method == SCRATCH else names[0]


def validation_accuracy(name: str) -> float:
    """The accuracy of a finetuning run on its validation split; -1 where it predicts nothing."""
    path = run_folder("finetuning", name) / SUMMARY_FILE
    try:
        accuracy = json.loads(path.read_bytes())["results"]["val"]["accuracy"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}), and the study's results need it. Put it back.") from None
    return -1.0 if accuracy is None else float(accuracy)


def _minutes(design: Design, progress: Progress, method: str, seed: int) -> float | None:
    """The minutes that a seed of a method took: data, measuring, training and testing; None where it has no run."""
    if method == LINEAR_ALONE:
        return None
    if method in BASELINES:
        return progress.runs[method].seconds / 60
    seconds = progress.prepare_seconds or 0.0
    for part in design.parts(method):
        seconds += progress.lengths[part.name].seconds + progress.runs[design.experiment(part, seed)].seconds
    return seconds / 60


def _differences(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {"method": method, "less": other, "accuracy": each.accuracy._asdict(), "p_value": each.p_value}
        for (method, other), each in comparison.differences.items()
    ]


def _parts(design: Design, progress: Progress) -> list[dict[str, Any]]:
    """How long each kind of run was: updates, and minutes by seed."""
    parts: dict[Part, None] = dict.fromkeys(part for method in design.methods for part in design.parts(method))
    return [
        {
            "part": part.name,
            "max_updates": progress.lengths[part.name].max_updates,
            "epochs": progress.lengths[part.name].epochs,
            "measured": progress.lengths[part.name].remark,
            "measuring_seconds": progress.lengths[part.name].seconds,
            "seconds": [progress.runs[design.experiment(part, seed)].seconds for seed in design.seed_numbers],
        }
        for part in parts
    ]


def _made_with(design: Design) -> dict[str, Any]:
    """Devices and versions, of all runs of the study."""
    records = []
    for method in design.methods:
        for seed in design.seed_numbers:
            folders = [run_folder(part.kind, design.experiment(part, seed)) for part in design.parts(method)]
            records += [json.loads((folder / RECORD_FILE).read_bytes()) for folder in folders]
    versions = {"textclf-jax": __version__, "python": platform.python_version(), "numpy": version("numpy")}
    versions |= {name: number for record in records for name, number in record["versions"].items()}
    return {
        "devices": sorted({record["device"] for record in records}),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": _usable_cores(),
        "versions": versions | {"scikit-learn": version("scikit-learn")},
    }


def _usable_cores() -> int:
    """How many cores this process may use: on Linux its affinity tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- files ----------------------------------------------------------------------------------------------------


def read_results(folder: Path) -> dict[str, Any] | None:
    """The results of a study that were written; None where there are none.

    Raises:
      UserError: they cannot be read.
    """
    path = folder / RESULTS_JSON
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        method_rows(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read as results of a study ({error}). Remove it: the study's command makes it anew."
        ) from None
    return content


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Writes results.csv, results.md and results.json; raises UserError where they cannot be written."""
    table = io.StringIO(newline="")
    rows = [
        (
            each["method"],
            results["seeds"],
            *Interval(**each["accuracy"]),
            *Interval(**each["f1_macro"]),
            each["minutes"],
        )
        for each in results["methods"]
    ]
    write_csv(table, [CSV_COLUMNS, *rows])
    write_whole(folder / RESULTS_CSV, table.getvalue())
    write_whole(folder / RESULTS_PAGE, markdown(results))
    write_whole(folder / RESULTS_JSON, json_text(results) + "\n")  # last: it says that all are there


def show_results(folder: Path, results: dict[str, Any]) -> None:
    """Prints the tables."""
    title = f"study {results['study']}: {results['test_rows']:,} test rows, {results['seeds']} seeds"
    columns, rows = method_rows(results)
    print_table(title, rows, columns)
    print(f"the differences, and how sure they are: {folder / RESULTS_PAGE}", flush=True)
