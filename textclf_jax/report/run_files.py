"""What the files of a run folder say: its configuration, record, results, cost and data."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

from textclf_jax.config.data import Paths
from textclf_jax.config.file import AnyConfig, config_of, format_value, load_config
from textclf_jax.constants import DATASET_FILE, SPLITS
from textclf_jax.data.dataset import fingerprint
from textclf_jax.data.shards import data_files, joined_fingerprint
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import CONFIG_FILE, METADATA_FILE, MODEL_FOLDER
from textclf_jax.report.facts import Cost, DataCard, Missing, SplitData
from textclf_jax.runs.checkpoint import read_metadata
from textclf_jax.runs.metrics_files import csv_paths, read_metrics
from textclf_jax.runs.record import RECORD_FILE, SUMMARY_FILE
from textclf_jax.training.summary import COMMANDS

RESOLVED_FILE = "config.resolved.yaml"
# keys that name a run, or say where its files are and what it logs: they do not change its results
NAMING_KEYS = ("experiment.name", "experiment.kind", "experiment.output_dir", "logging.")


class RunFiles(NamedTuple):
    """A run folder that was read.

    Attributes:
      folder: of the run.
      config: as it was used.
      record: record.json, or the same of the saved model; empty where there is neither.
      summary: summary.json; None: the run is not finished.
      metadata: of its `model.ckpt`; None: there is none that can be read.
    """

    folder: Path
    config: AnyConfig
    record: dict[str, Any]
    summary: dict[str, Any] | None
    metadata: dict[str, Any] | None

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def kind(self) -> str:
        return self.config.experiment.kind

    @property
    def results(self) -> dict[str, dict[str, float | None]]:
        """Metrics by split; empty of a run that is not finished, and of an imported model."""
        found = (self.summary or {}).get("results")
        return found if isinstance(found, dict) else {}


def read_run(folder: Path, missing: list[Missing]) -> RunFiles:
    """Reads the files of a run folder.

    Args:
      folder: of the run.
      missing: gets what is not there.

    Raises:
      UserError: the run has not begun, or what it was trained with cannot be read.
    """
    metadata = None
    if (folder / MODEL_FOLDER / METADATA_FILE).is_file():
        try:
            metadata = read_metadata(folder / MODEL_FOLDER)
        except UserError as error:
            missing.append(Missing("the model", str(error)))
    record, summary = (_json_of(folder / name, missing) for name in (RECORD_FILE, SUMMARY_FILE))
    config = _config(folder, metadata)
    if record is None and metadata is None:
        missing.append(Missing("environment and data", f"{folder / RECORD_FILE} is not there"))
    return RunFiles(folder, config, record or metadata or {}, summary, metadata)


def _config(folder: Path, metadata: Mapping[str, Any] | None) -> AnyConfig:
    path = folder / RESOLVED_FILE
    if path.is_file():
        return load_config(path).config
    if metadata is not None:
        return config_of(metadata["config"])
    kind = load_config(folder / CONFIG_FILE).config.experiment.kind
    command = f"textclf {COMMANDS[kind]} {shlex.quote(folder.resolve().name)}"
    raise UserError(f"{folder}: this run has not begun, so there is nothing to report. Train it first: {command}")


def _json_of(path: Path, missing: list[Missing]) -> dict[str, Any] | None:
    """The content of a JSON file; None where there is none, or nothing that can be read."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        missing.append(Missing(path.name, f"{path} cannot be read ({error})"))
        return None
    if not isinstance(content, dict):
        missing.append(Missing(path.name, f"{path} holds something else than a run's file"))
        return None
    return content


# --- configuration and commands ---------------------------------------------------------------------------------


def flat(sections: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the keys of nested sections with dots between, and their values."""
    for name, value in sections.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def commands_of(run: RunFiles, missing: list[Missing]) -> tuple[str, ...]:
    """The commands that repeat a run, from its own config file on; keys that this has otherwise now are set."""
    lines = []
    commit = run.record.get("git_commit")
    if commit and not commit.endswith("-dirty"):
        lines.append(f"git checkout {commit}")
    what = "the command that repeats the run"
    if run.folder.resolve().parts[-3:-1] != ("experiments", run.kind):
        missing.append(Missing(what, f"{run.folder} is not in experiments/{run.kind}/, where commands look for runs"))
        return ()
    try:
        written = load_config(run.folder / CONFIG_FILE).config
    except UserError as error:
        missing.append(Missing(what, f"its configuration cannot be read: {error}"))
        return ()
    before, used = (dict(flat(config.model_dump())) for config in (written, run.config))
    changed = [f"{key}={format_value(value)}" for key, value in used.items() if before.get(key, ...) != value]
    # known only with the data: a run finds it out by itself
    changed = [text for text in changed if not text.startswith("classification_head.linear.max_tokens=")]
    flags = [" --set", *map(shlex.quote, changed)] if changed else []
    lines.append(f"textclf {COMMANDS[run.kind]} {shlex.quote(run.name)} --fresh{' '.join(flags)}")
    return tuple(lines)


# --- environment and cost ---------------------------------------------------------------------------------------


def environment_of(run: RunFiles) -> dict[str, str]:
    """Versions, device, machine and commit that a run's record tells."""
    record = run.record
    found = {name: record.get(name) for name in ("device", "machine", "git_commit")}
    versions = record.get("versions")
    return {
        name: str(value) for name, value in (found | (versions if isinstance(versions, dict) else {})).items() if value
    }


def readable_csvs(folder: Path, config: AnyConfig, missing: list[Missing]) -> dict[str, Path]:
    """The metrics files of a run by split, but for those that hold something else."""
    paths = csv_paths(folder, config.logging)
    for split, path in list(paths.items()):
        try:
            read_metrics(path)
        except (OSError, ValueError) as error:
            missing.append(Missing(f"what {path.name} of {split} holds", f"{path} cannot be read ({error})"))
            del paths[split]
    return paths


def cost_of(run: RunFiles, parameters: int | None, missing: list[Missing]) -> Cost:
    """What a run has cost, by its log of the speed; older runs have logged less."""
    paths = readable_csvs(run.folder, run.config, missing)
    rows, steps = (read_metrics(paths[name]) if name in paths else [] for name in ("throughput", "train"))
    rows = [{name.removeprefix("throughput/"): value for name, value in row.items()} for row in rows]
    updates = int(steps[-1]["update"]) if steps else None
    if not rows:
        return Cost(updates=updates, parameters=parameters)
    speeds = [row.get("tokens_per_second", 0.0) for row in rows]
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    memory = [row["peak_memory_mb"] for row in rows if "peak_memory_mb" in row]
    minutes = None
    speed = sum(speeds) / len(speeds)
    if len(seconds) == len(rows) and sum(seconds) > 0:
        minutes = sum(seconds) / 60
        speed = sum(s * t for s, t in zip(speeds, seconds, strict=True)) / sum(seconds)
    return Cost(minutes, speed, max(memory, default=None), updates, parameters)


# --- data -------------------------------------------------------------------------------------------------------


def data_of(run: RunFiles, root: Path, missing: list[Missing]) -> DataCard:
    """The data of a run; figures of it where the dataset folder that it was made with is still there."""
    recorded = run.record.get("data")
    recorded = recorded if isinstance(recorded, dict) else {}
    splits, sources, facts = [], (), {}
    for split in (split for split in SPLITS if split in recorded):
        path = Path(recorded[split]["path"])
        told = SplitData(split, _within(path, root), recorded[split]["fingerprint"])
        described = _described(root / path)
        listed = getattr(run.config.data, split).dataset_path  # of a list, the record has but a short name
        given = listed if isinstance(listed, tuple) else str(path)
        if described is not None and _is_the_same(root, given, told.fingerprint):
            told = _with_figures(told, described, run.kind)
            sources, facts = _sources(described), _facts(described)
        splits.append(told)
    if splits and not facts:
        why = f"no {DATASET_FILE} that fits lies beside the data of the run: textclf prepare writes one"
        missing.append(Missing("where the data is from", why))
    return DataCard(tuple(splits), sources, facts)


def _within(path: Path, root: Path) -> str:
    """A path from the project's folder on, where it lies there."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _described(path: Path) -> dict[str, Any] | None:
    for folder in path.parents[:2]:
        if (folder / DATASET_FILE).is_file():
            return _json_of(folder / DATASET_FILE, [])
    return None


def _is_the_same(root: Path, given: Paths, before: str) -> bool:
    """Whether files still have this fingerprint; those whose classes were renumbered count as others."""
    try:
        files = data_files(root, given, "the data of the run")
        return joined_fingerprint([fingerprint(path) for path in files.paths]) == before
    except (OSError, BadZipFile, UserError):
        return False


def _with_figures(told: SplitData, described: Mapping[str, Any], kind: str) -> SplitData:
    figures = (described.get("splits") or {}).get(told.split)
    if not isinstance(figures, dict):
        return told
    texts = figures.get("cls_rows" if kind == "finetuning" else "texts")
    counts = tuple(figures.get("class_counts") or ()) if kind == "finetuning" else ()
    return SplitData(told.split, told.path, told.fingerprint, texts, figures.get("tokens"), counts)


def _sources(described: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    return tuple({name: str(value) for name, value in each.items()} for each in described.get("sources") or ())


def _facts(described: Mapping[str, Any]) -> dict[str, str]:
    """Figures of a dataset.json in words."""
    rows, vocabulary = described.get("rows") or {}, described.get("vocabulary") or {}
    duplicates, empty = described.get("duplicates") or {}, sum((described.get("empty") or {}).values())
    facts = {"rows read": rows.get("read"), "rows without text": empty, "rows without a label": rows.get("unlabelled")}
    facts |= {f"texts that repeat ({place})": count for place, count in duplicates.items()}
    facts |= {"texts with several labels that differ": described.get("contradictions")}
    facts |= {
        "tokens of the vocabulary": vocabulary.get("size"),
        "tokens of a row at most": described.get("max_length"),
    }
    facts = {name: f"{value:,}" for name, value in facts.items() if isinstance(value, int)}
    seed = described.get("seed")
    return facts | ({} if seed is None else {"seed of the split": str(seed)})
