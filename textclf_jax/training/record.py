"""What a result depends on besides the code of the project: kept with each run and in each model."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from textclf_jax import __version__
from textclf_jax.config import FinetuningConfig
from textclf_jax.training.run import Run

RECORD_FILE = "record.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers", "torch")
GIT_SECONDS = 5.0


def record_of(run: Run) -> dict[str, Any]:
    """Config, vocabulary, labels, data fingerprints, versions, device and git commit of a run, JSON-able."""
    return {
        "config": run.config.model_dump(mode="json"),
        "vocab_size": run.tokenizer.vocab_size,
        "vocabulary": run.tokenizer.fingerprint,
        "wrapper_sha256": run.tokenizer.sha256,
        "labels": _label_names(run),
        "data": {name: {"path": str(data.path), "fingerprint": data.fingerprint} for name, data in run.splits.items()},
        "versions": {"textclf-jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.system()} {platform.machine()}",
        "git_commit": git_commit(run.root),
    }


def git_commit(folder: Path) -> str | None:
    """The commit that a folder is at, with "-dirty" where files differ from it; None outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _label_names(run: Run) -> list[str] | None:
    """The names in `labels.txt` beside the data or one folder up, where they fit; otherwise the numbers."""
    if not isinstance(run.config, FinetuningConfig):
        return None
    count = run.config.classification_head.num_labels
    for folder in run.train.path.parents[:2]:
        file = folder / "labels.txt"
        if file.is_file() and len(names := file.read_text(encoding="utf-8").splitlines()) == count:
            return names
    return [str(i) for i in range(count)]
