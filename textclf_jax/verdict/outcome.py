"""The outcome of a run: table, verdict, forecast and calibration; its file, its report, and what is printed."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import MODEL_FOLDER, run_folder
from textclf_jax.files import json_text, write_whole
from textclf_jax.observe.progress import print_table, say_warning
from textclf_jax.report.facts import Verdict
from textclf_jax.report.gathering import gather
from textclf_jax.report.page import write_report
from textclf_jax.runs.record import PAGE_FILE
from textclf_jax.study.design import BASELINES, LINEAR_ALONE, TITLES
from textclf_jax.study.page import difference_rows, method_rows
from textclf_jax.study.results import validation_accuracy
from textclf_jax.training.evaluating import calibrate, evaluate_saved
from textclf_jax.training.report import METRICS_FILE, REPORT_FOLDER
from textclf_jax.verdict.forecast import Forecast
from textclf_jax.verdict.sentences import Figures, abstention, verdict
from textclf_jax.verdict.strength import Strength

OUTCOME_FILE = "verdict.json"
BASIS = (
    "minutes: of one seed. Intervals draw test rows and seeds; p is that of a permutation of the rows alone, and knows "
    "nothing of the luck of seeds."
)


def conclude(results: dict[str, Any], curve: Forecast, strength: Strength, max_error: float | None) -> dict[str, Any]:
    """All that a run has found, JSON-able; lets the best trained model say "don't know", where that is asked for.

    Args:
      results: of the methods, by `study/results.py::results_of`.
      curve: what more labels would give.
      strength: of the regularisation of TF-IDF with logistic regression.
      max_error: the share of texts that may get a wrong label; None: every text gets one.
    """
    trained = [each for each in results["methods"] if each["method"] not in (*BASELINES, LINEAR_ALONE)]
    best = Figures(results).best([each["method"] for each in trained])
    (chosen,) = (each for each in trained if each["method"] == best)
    # of its seeds the one that validates best: the test split chooses nothing
    reported = max((each["run"] for each in chosen["by_seed"]), key=validation_accuracy)
    return {
        "verdict": list(verdict(results)),
        "forecast": asdict(curve) | {"sentence": curve.sentence()},
        "strength": asdict(strength) | {"sentence": strength.sentence()},
        "calibration": [_calibration(each) for each in trained],
        "abstention": None if max_error is None else abstain(reported, max_error),
        "reported_run": reported,
        "reported_method": best,
        "results": results,
    }


def _calibration(method: Mapping[str, Any]) -> dict[str, Any]:
    """The calibration error of a method on the test split, means over its seeds, before its temperature and after."""
    found = []
    for each in method["by_seed"]:
        path = run_folder("finetuning", each["run"]) / REPORT_FOLDER / METRICS_FILE
        try:
            confidence = json.loads(path.read_bytes()).get("confidence")
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: cannot be read ({error}), and the verdict needs it. Put it back.") from None
        if confidence is not None:  # a model that predicts nothing has none
            found.append(confidence)
    errors = {
        name: sum(each[key] for each in found) / len(found) if found else None
        for name, key in (("before", "error_before"), ("after", "error"))
    }
    return {"method": method["method"], **errors}


def abstain(run: str, max_error: float) -> dict[str, Any]:
    """Chooses when the model of a run says "don't know", writes it into the model, and tells what that does.

    A limit that cannot be kept is told, too: the verdict does not depend on it.
    """
    model = run_folder("finetuning", run) / MODEL_FOLDER
    found = {"max_error": max_error}
    try:
        chosen_by = calibrate(model, max_error, note=_say_nothing)
        told = {"val": chosen_by, "test": evaluate_saved(model, "test", note=_say_nothing).confidence}
    except UserError as error:
        later = f"Once that is mended: textclf calibrate {run} --max-error {max_error:g}"
        return found | {"sentence": f'When {run} is to say "don\'t know" could not be chosen: {error} {later}'}
    shares = {
        split: {"answered": each.answered, "wrong": each.wrong} for split, each in told.items() if each is not None
    }
    return found | shares | {"sentence": abstention(run, max_error, shares)}


def _say_nothing(line: str) -> None:
    """What loading a model tells was told when it was trained."""


def write_report_of(out: Path, outcome: Mapping[str, Any], check: Path) -> None:
    """Writes the report of the best trained model, with the verdict, into the folder of the run."""
    folder = run_folder("finetuning", outcome["reported_run"])
    shown = Verdict(
        sentences=tuple(outcome["verdict"]),
        methods=method_rows(outcome["results"]),
        differences=difference_rows(outcome["results"]),
        forecast=outcome["forecast"]["sentence"],
        strength=outcome["strength"]["sentence"],
        abstention=outcome["abstention"]["sentence"] if outcome["abstention"] else "",
        calibration=tuple(calibration_rows(outcome)),
        command=outcome["results"]["command"],
    )
    write_report(gather(folder, check=check, verdict=shown, note=say_warning), folder, out)


def calibration_rows(outcome: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Method, and its calibration error before and after its temperature."""

    def shown(error: float | None) -> str:
        return "–" if error is None else f"{error:.4f}"

    return [(TITLES[each["method"]], shown(each["before"]), shown(each["after"])) for each in outcome["calibration"]]


def write_outcome(out: Path, outcome: Mapping[str, Any]) -> None:
    """Writes the outcome: it marks the run as finished."""
    write_whole(out / OUTCOME_FILE, json_text(outcome) + "\n")


def read_outcome(out: Path) -> dict[str, Any] | None:
    """The outcome of a finished run; None where it is not finished; raises UserError where it cannot be read."""
    path = out / OUTCOME_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        method_rows(content["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Remove it: the same command makes it anew from the run."
        ) from None
    return content


def show_outcome(out: Path, outcome: Mapping[str, Any]) -> None:
    """Prints table, verdict, forecast and calibration, and where all of it is."""
    results = outcome["results"]
    columns, rows = method_rows(results)
    print_table(
        f"\n{results['test_rows']:,} test rows, {results['seeds']} seed{'s' * (results['seeds'] > 1)}", rows, columns
    )
    columns, rows = difference_rows(results)
    print_table("\ndifferences, paired", rows, columns)
    print(BASIS)
    columns = ("calibration error of the probabilities", "before", "after its temperature")
    print_table("", calibration_rows(outcome), columns)
    print()
    told = [outcome.get(name) for name in ("forecast", "strength", "abstention")]
    for sentence in (*outcome["verdict"], *(each["sentence"] for each in told if each)):
        print(sentence)
    print(f"\nreport: {out / PAGE_FILE}")
    print(f"to classify texts: textclf predict {outcome['reported_run']} --file FILE --format csv", flush=True)
