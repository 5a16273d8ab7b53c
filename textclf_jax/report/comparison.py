"""Several runs in one table: those that differ by their seed alone are a line, the keys that differ are columns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textclf_jax.config.file import config_of
from textclf_jax.errors import UserError, listed
from textclf_jax.experiments.folders import METADATA_FILE, MODEL_FOLDER
from textclf_jax.report.run_files import NAMING_KEYS, RunFiles, cost_of, flat, read_run
from textclf_jax.runs.pretrained import start_path

SEED = "experiment.seed"
# keys that do not change results, and those that data files of another name change
IGNORED_KEYS = (*NAMING_KEYS, SEED, "training.device", "training.profile", "training.checkpoint_interval_")
DATA_KEYS = ("data.train.dataset_path", "data.val.dataset_path", "data.test.dataset_path", "tokenizer.vocab_dir")
START_KEYS = ("pretrained_experiment.path", "pretrained_experiment.checkpoint")
START = "starts from"  # the column in their place
METRICS = {
    "pretraining": ("loss", "perplexity", "accuracy"),
    "finetuning": ("accuracy", "f1_micro", "f1_macro", "subset_accuracy", "loss"),
}
ABSENT = "–"


@dataclass(frozen=True)
class Spread:
    """A figure over the runs of a group.

    Attributes:
      mean: of those that have it.
      deviation: the standard deviation of a sample (n - 1); None of one run.
      count: how many have it.
    """

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone.

    Attributes:
      keys: the values of the keys in which groups differ.
      runs: names.
      seeds: of the runs.
      figures: by metric; metrics that no run has are left out.
    """

    keys: dict[str, str]
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    figures: dict[str, Spread]


@dataclass(frozen=True)
class Comparison:
    """Runs compared.

    Attributes:
      split: that the figures are of.
      kind: of the runs.
      keys: in which groups differ.
      metrics: names of the figures, in their order.
      groups: best first, by the first metric.
      remarks: what is to be known.
    """

    split: str
    kind: str
    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    groups: tuple[Group, ...]
    remarks: tuple[str, ...]


def compare_runs(folders: Sequence[Path], split: str, *, different_data: bool = False) -> Comparison:
    """Compares finished runs by the figures of their summaries.

    Args:
      folders: of the runs.
      split: test or val.
      different_data: compare although the rows of that split are not the same.

    Raises:
      UserError: a run is not finished, lacks the split or is of another kind; or the rows differ.
    """
    runs = [_read_finished(folder, split) for folder in _each_once(folders)]
    kinds = {run.kind: run.folder for run in runs}
    if len(kinds) > 1:
        places = ", ".join(f"{folder} ({kind})" for kind, folder in kinds.items())
        raise UserError(f"runs of different kinds have no figures in common: {places}. Compare those of one kind.")
    remarks = list(_data_remarks(runs, split, different_data))
    described = [_describe(run) for run in runs]
    differing = _differing(described)
    groups: dict[tuple[str, ...], list[RunFiles]] = {}
    for run, keys in zip(runs, described, strict=True):
        groups.setdefault(tuple(keys.get(key, ABSENT) for key in differing), []).append(run)
    kind = runs[0].kind
    made = [_group(_shown_keys(differing, values, of[0]), of, split) for values, of in groups.items()]
    remarks += [remark for group in made for remark in _seed_remarks(group)]
    order = [*METRICS[kind], "minutes"]
    metrics = [name for name in order if any(name in group.figures for group in made)]
    if "accuracy" in metrics and "f1_micro" in metrics:  # of one label a text they are the same
        metrics.remove("f1_micro")
    ordered = sorted(made, key=lambda group: _rank(group, metrics[0])) if metrics else made
    return Comparison(split, kind, tuple(differing), tuple(metrics), tuple(ordered), tuple(remarks))


def _rank(group: Group, metric: str) -> float:
    found = group.figures.get(metric)
    if found is None:
        return float("inf")
    return found.mean if metric in ("loss", "perplexity") else -found.mean


def _each_once(folders: Sequence[Path]) -> list[Path]:
    seen: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in seen:
            raise UserError(f"{folder}: is named twice. A run counts once.")
        seen[folder.resolve()] = folder
    return list(seen.values())


def _read_finished(folder: Path, split: str) -> RunFiles:
    run = read_run(folder, missing := [])
    if run.summary is None:
        told = f": {missing[0].why}" if missing and missing[0].what == "summary.json" else ""
        raise UserError(f"{folder}: this run is not finished, so it has no results{told}. Finish it, or leave it out.")
    if not run.results.get(split):
        there = listed(sorted(run.results)) or "none"
        raise UserError(
            f"{folder}: this run has no results of the {split} split, but of: {there}. Leave it out, or choose another "
            "split with --split."
        )
    return run


def _data_remarks(runs: Sequence[RunFiles], split: str, different_data: bool) -> list[str]:
    """Raises UserError where runs were evaluated on different rows, unless that is asked for: then says so."""
    by_data: dict[str, list[str]] = {}
    for run in runs:
        try:
            found = str(run.record["data"][split]["fingerprint"])
        except (KeyError, TypeError):
            found = "not recorded"
        by_data.setdefault(found, []).append(run.name)
    if len(by_data) == 1 and "not recorded" not in by_data:
        return []
    told = "; ".join(f"{found}: {listed(names, whole=True)}" for found, names in by_data.items())
    if len(by_data) > 1 and not different_data:
        raise UserError(
            f"the runs do not have the same {split} data, so their figures do not compare (by fingerprint: {told}). "
            "Leave some out; or, where the rows are the same texts in other files, say so with --different-data."
        )
    if len(by_data) == 1:
        return [f"no run has recorded which {split} data it had: that it was the same is not checked"]
    return [f"the runs do not have the same {split} data (by fingerprint: {told})"]


def _seed_remarks(group: Group) -> list[str]:
    """A line where runs do not even differ by their seed."""
    twice = sorted({seed for seed in group.seeds if group.seeds.count(seed) > 1})
    if not twice:
        return []
    names = listed(group.runs, whole=True)
    return [
        f"{names} have the seed {twice[0]} more than once: equal runs repeat each other, and tell nothing of chance"
    ]


# --- keys -------------------------------------------------------------------------------------------------------


def _describe(run: RunFiles) -> dict[str, str]:
    """The keys of a run that change its results, as text; what it starts from by how that was trained."""
    keys = {
        key: value
        for key, value in flat(run.config.model_dump(mode="json"))
        if not key.startswith((*IGNORED_KEYS, *DATA_KEYS)) and key not in START_KEYS
    }
    data = run.record.get("data")
    if isinstance(data, Mapping):
        # files by what is in them, not by where they lie
        keys |= {f"data of {split}": each["fingerprint"] for split, each in data.items() if split != "test"}
    keys["vocabulary"] = str(run.record.get("vocabulary", ABSENT))[:12]
    start = start_path(run.config)
    if start is not None:
        keys[START] = _start(start)
    return {key: _text(value) for key, value in keys.items()}


def _start(path: Path) -> str:
    """What a run starts from: by how it was trained, so that pretraining runs of several seeds are one thing."""
    try:
        config = config_of(json.loads((path / METADATA_FILE).read_bytes())["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(path)
    kept = {k: v for k, v in flat(config.model_dump(mode="json")) if not k.startswith((*IGNORED_KEYS, *DATA_KEYS))}
    return json.dumps(kept, sort_keys=True)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _differing(described: Sequence[dict[str, str]]) -> list[str]:
    """The keys in which runs differ."""
    names = dict.fromkeys(name for keys in described for name in keys)
    return [name for name in names if len({keys.get(name, ABSENT) for keys in described}) > 1]


def _shown_keys(names: Sequence[str], values: Sequence[str], run: RunFiles) -> dict[str, str]:
    """The values of keys; what runs start from by the name of the first one's."""
    shown = dict(zip(names, values, strict=True))
    start = start_path(run.config)
    if START in shown and start is not None:
        shown[START] = start.parent.name if start.name == MODEL_FOLDER else str(start)
    return shown


# --- figures ----------------------------------------------------------------------------------------------------


def _group(keys: dict[str, str], runs: Sequence[RunFiles], split: str) -> Group:
    found: dict[str, list[float]] = {}
    for run in runs:
        told = {name: run.results[split].get(name) for name in METRICS[run.kind]}
        told["minutes"] = cost_of(run, None, []).minutes
        for name, value in told.items():
            if value is not None:
                found.setdefault(name, []).append(float(value))
    figures = {name: spread(values) for name, values in found.items()}
    seeds = tuple(run.config.experiment.seed for run in runs)
    return Group(keys, tuple(run.name for run in runs), seeds, figures)


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of a figure over runs."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))
