"""What all exports have in common: the model to write, and a place that is made whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textclf_jax.config.file import AnyConfig, config_of
from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.errors import UserError
from textclf_jax.files import json_text
from textclf_jax.interop.layout import Head
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.runs.pretrained import require_head


def model_of(saved: SavedModel) -> tuple[AnyConfig, Head]:
    """Reads the config of a saved model, and its head; raises UserError for an encoder without one."""
    config = config_of(saved.metadata["config"])
    if isinstance(config, FinetuningConfig):
        return config, config.classification_head
    require_head(saved)
    return config, config.mlm_head


def refuse(saved: SavedModel, whose: str, missing: list[str]) -> None:
    """Raises UserError where `whose` format has nothing for some keys of a model, a line each."""
    if missing:
        raise UserError("\n  ".join([f"{saved.folder} cannot be exported: {whose} has nothing for", *missing]))


def require_new(out: Path) -> None:
    """Raises UserError where a path is taken, or its folder is not there."""
    if os.path.lexists(out):
        raise UserError(f"{out} exists already. Take another name, or remove it first.")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: there is no such folder. Make it first.")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name `out` once all is written, and is removed after an error.

    Raises:
      UserError: it cannot be written.
    """
    unfinished = None
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        yield unfinished
        unfinished.chmod(0o755)
        os.replace(unfinished, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error}") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a small file."""
    path.write_text(json_text(content) + "\n", encoding="utf-8")
