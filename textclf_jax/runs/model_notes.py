"""Changes what a saved model tells of itself, and nothing of its arrays."""

from pathlib import Path
from typing import Any

from textclf_jax.experiments.folders import METADATA_FILE
from textclf_jax.files import finite, json_text, write_whole
from textclf_jax.runs.checksums import sealed


def replace_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Writes the metadata of a `model.ckpt` folder anew, whole or not at all.

    Args:
      folder: the model.
      metadata: as `read_metadata` gives it, with changes.

    Raises:
      UserError: it cannot be written; the old one stays.
    """
    write_whole(folder / METADATA_FILE, json_text(sealed(finite(metadata))))
