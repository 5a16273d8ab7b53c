"""Packages that only parts of the project need: each belongs to an extra of pyproject.toml.

Where one is missing, the message has the command that installs it, which depends on how the project was installed.
"""

import importlib.util
import json
import shlex
from importlib.metadata import distribution
from pathlib import Path

from textclf_jax.errors import UserError

DISTRIBUTION = "textclf-jax"
# the extra that brings each package, by the name that it is imported by
EXTRAS = {
    "torch": "torch",
    "wandb": "wandb",
    "tensorboardX": "tensorboard",
    "matplotlib": "report",
    "jinja2": "report",
    "pyarrow": "parquet",
    "starlette": "serve",
    "uvicorn": "serve",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "flatbuffers": "stablehlo",
}


def is_installed(module: str) -> bool:
    """Whether a package of `EXTRAS` can be imported; imports nothing."""
    assert module in EXTRAS, module
    return importlib.util.find_spec(module) is not None


def require(module: str, purpose: str) -> None:
    """Raises UserError where a package is missing.

    Args:
      module: a package of `EXTRAS`, by the name that it is imported by.
      purpose: what it is needed for, as the beginning of a sentence.
    """
    if not is_installed(module):
        raise UserError(f"{purpose} needs {module}, which is not installed: {install_line(EXTRAS[module])}")


def install_line(extra: str) -> str:
    """The command that adds an extra to the project as it was installed: a copy of the repository, a file, or an index.

    Where an installed package comes from stands in its `direct_url.json` (PEP 610).
    """
    repository = Path(__file__).resolve().parent.parent
    if (repository / "pyproject.toml").is_file():
        here = "." if repository == Path.cwd() else str(repository)
        return f"pip install -e {shlex.quote(f'{here}[{extra}]')}"
    origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    at = f" @ {origin['url']}" if "url" in origin else ""
    return f"pip install {shlex.quote(f'{DISTRIBUTION}[{extra}]{at}')}"
