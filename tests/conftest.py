"""Fixtures shared by all tests."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


class Golden:
    """Recorded numbers of the reference: arrays and the manifest that describes them."""

    def __init__(self, path: Path):
        self.path = path
        manifest = json.loads((path / "manifest.json").read_text())
        self.manifest: list[dict[str, Any]] = manifest["entries"]

    def entries(self, family: str) -> list[dict[str, Any]]:
        """Manifest entries of one family, in file order."""
        return [entry for entry in self.manifest if entry["family"] == family]

    def load(self, entry: dict[str, Any] | str) -> dict[str, np.ndarray]:
        """The arrays of one `.npz` file by key."""
        name = entry if isinstance(entry, str) else entry["file"]
        with np.load(self.path / name, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}


def golden_folder() -> Path | None:
    """The folder of recorded numbers, or None on a machine that has none."""
    path = Path(os.environ.get("TEXTCLF_GOLDEN", ROOT.parent / "shared" / "golden"))
    return path if (path / "manifest.json").is_file() else None


@pytest.fixture(scope="session")
def golden() -> Golden:
    """The golden folder; skips the test where there is none."""
    path = golden_folder()
    if path is None:
        pytest.skip("no golden folder (set TEXTCLF_GOLDEN)")
    return Golden(path)
