"""Names that users of the PyTorch reference know, what the package offers at its top, and how it is installed."""

import importlib
import re
import tomllib
from functools import reduce
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import textclf_jax

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "from-the-reference.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`(textclf_jax(?:\.\w+)+)`", PAGE)))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def resolve(name: str) -> object:
    """The thing that a dotted name stands for: a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[length:], module)
    raise AssertionError(name)


@pytest.mark.parametrize("name", NAMES)
def test_new_names_of_the_page_exist(name):
    assert resolve(name) is not None


def test_the_page_has_the_names_that_are_asked_for():
    assert {"textclf_jax.training.loop.TrainingLoop", "textclf_jax.WordPieceTokenizerWrapper"} <= set(NAMES)
    assert "| `pad_is_true_mask=True` |" in PAGE


def test_the_package_offers_what_it_says():
    assert set(textclf_jax.__all__) == set(textclf_jax._MODULES)
    for name, module in textclf_jax._MODULES.items():
        assert getattr(textclf_jax, name) is getattr(importlib.import_module(f"textclf_jax.{module}"), name)
    assert set(textclf_jax.__all__) <= set(dir(textclf_jax))
    with pytest.raises(AttributeError, match="'textclf_jax' has no attribute 'Transfromer'"):
        _ = textclf_jax.Transfromer  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ImportError):
        exec("from textclf_jax import load_everything")


def lines_of(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


REQUIRED = ("torch", "report", "wandb", "tensorboard", "serve", "bench")  # extras of requirements.txt


def test_requirements_name_no_version_of_their_own():
    """pyproject.toml has the packages, the lock file their versions: this file only points at both."""
    assert lines_of("requirements.txt") == ["-c requirements.lock", f"-e .[{','.join(REQUIRED)}]"]
    assert set(REQUIRED) <= set(PROJECT["optional-dependencies"])


def test_locked_versions_are_those_that_the_project_allows():
    locked = dict(line.split("==") for line in lines_of("requirements.lock"))
    locked = {name.lower().replace("_", "-"): number for name, number in locked.items()}
    extras = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *(text for name in REQUIRED for text in extras[name]),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name == "textclf-jax":  # one extra that takes in another
            continue
        assert requirement.specifier.contains(locked[requirement.name.lower()]), requirement
    assert version("textclf-jax") == PROJECT["version"] == textclf_jax.__version__
