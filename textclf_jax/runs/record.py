"""What a result depends on besides the code of the project; stored with each run and in each model."""

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from textclf_jax import __version__
from textclf_jax.config.schema import FinetuningConfig, RunConfig
from textclf_jax.data.dataset import Dataset
from textclf_jax.errors import UserError, listed
from textclf_jax.tokenizer.loading import LoadedTokenizer

RECORD_FILE, SUMMARY_FILE = "record.json", "summary.json"
# of `textclf report`, in the folder of the run
PAGE_FILE, CARD_FILE, FIGURES_FOLDER = "report.html", "MODEL_CARD.md", "report_figures"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers", "torch")
GIT_SECONDS = 5.0


def record_of(
    config: RunConfig, tokenizer: LoadedTokenizer, splits: Mapping[str, Dataset], root: Path
) -> dict[str, Any]:
    """Config, vocabulary, labels, data fingerprints, versions, device and git commit of a run, JSON-able.

    Args:
      config: of the run.
      tokenizer: its vocabulary and code.
      splits: its data, "train" and others.
      root: the folder whose commit is recorded.
    """
    return {
        "config": config.model_dump(mode="json"),
        "vocab_size": tokenizer.vocab_size,
        "vocabulary": tokenizer.fingerprint,
        "wrapper_sha256": tokenizer.sha256,
        "labels": label_names(config, splits["train"]),
        "data": {
            name: {"path": str(data.path), "fingerprint": data.fingerprint, "columns": data.columns}
            for name, data in splits.items()
        },
        "versions": {"textclf-jax": __version__, "python": platform.python_version()}
        | {name: number for name in PACKAGES if (number := _installed(name))},
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.system()} {platform.machine()}",
        "git_commit": git_commit(root),
    }


def _installed(package: str) -> str | None:
    """Its version; None where it is not there, as torch need not be to train."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def renamed_classes(run_dir: Path, names: list[str] | None) -> str | None:
    """Compares class names with those that a run had when it was last begun.

    Returns:
      A line for classes that have other names now; None where nothing changed or nothing is recorded.

    Raises:
      UserError: a class has another number now.
    """
    try:
        before = json.loads((run_dir / RECORD_FILE).read_bytes())["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not names or not isinstance(before, list) or before == names:
        return None
    told = f"the classes are {listed(names, 20)} now; when this run was last begun they were {listed(before, 20)}"
    if any(name in before and before.index(name) != number for number, name in enumerate(names)):
        raise UserError(
            f"{told}: numbers of classes have changed their meaning. Undo this change, or start over with --fresh."
        )
    return told


def git_commit(folder: Path) -> str | None:
    """The commit that a folder is at, with "-dirty" where files differ from it; None outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def label_names(config: RunConfig, data: Dataset) -> list[str] | None:
    """The names of the classes, or their numbers where nothing names them; None for MLM."""
    if not isinstance(config, FinetuningConfig):
        return None
    return list(data.class_names or map(str, range(config.classification_head.num_labels)))
