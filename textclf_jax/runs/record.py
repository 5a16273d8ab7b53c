"""What a result depends on besides the code of the project; stored with each run and in each model."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from textclf_jax import __version__
from textclf_jax.config.schema import FinetuningConfig, RunConfig
from textclf_jax.data.dataset import Dataset
from textclf_jax.tokenizer.loading import LoadedTokenizer

RECORD_FILE, SUMMARY_FILE = "record.json", "summary.json"
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
        "labels": _label_names(config, splits["train"].path),
        "data": {name: {"path": str(data.path), "fingerprint": data.fingerprint} for name, data in splits.items()},
        "versions": {"textclf-jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.system()} {platform.machine()}",
        "git_commit": git_commit(root),
    }


def git_commit(folder: Path) -> str | None:
    """The commit that a folder is at, with "-dirty" where files differ from it; None outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _label_names(config: RunConfig, data: Path) -> list[str] | None:
    """The names in `labels.txt` beside the data or one folder up, where they fit; otherwise the numbers."""
    if not isinstance(config, FinetuningConfig):
        return None
    count = config.classification_head.num_labels
    for folder in data.parents[:2]:
        file = folder / "labels.txt"
        if file.is_file() and len(names := file.read_text(encoding="utf-8").splitlines()) == count:
            return names
    return [str(i) for i in range(count)]
