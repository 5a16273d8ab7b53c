"""Packages that only parts of the project need: what is said where one is missing."""

import importlib.metadata
import json
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from tests import tiny
from tests.test_docs import ROOT
from tests.trained import run
from textclf_jax import extras
from textclf_jax.cli import main
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.extras import EXTRAS, install_line, is_installed, require


def without(monkeypatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_each_package_is_in_its_extra():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for module, extra in EXTRAS.items():
        assert module in {Requirement(text).name for text in declared[extra]}


def test_a_missing_package_is_said_with_its_line(monkeypatch):
    assert is_installed("torch")
    require("torch", "this")
    without(monkeypatch, "torch")
    assert not is_installed("torch")
    with pytest.raises(UserError) as error:
        require("torch", "writing x.pt")
    assert str(error.value) == f"writing x.pt needs torch, which is not installed: {install_line('torch')}"


def test_the_line_fits_a_copy_of_the_repository(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert install_line("torch") == "pip install -e '.[torch]'"
    monkeypatch.chdir(tmp_path)
    assert shlex.split(install_line("torch")) == ["pip", "install", "-e", f"{ROOT}[torch]"]


@pytest.mark.parametrize(
    ("origin", "last"),
    [
        (None, "textclf-jax[torch]"),
        (
            {"url": "file:///a/x-1-py3-none-any.whl", "archive_info": {}},
            "textclf-jax[torch] @ file:///a/x-1-py3-none-any.whl",
        ),
    ],
)
def test_the_line_fits_an_installed_package(monkeypatch, tmp_path, origin, last):
    class Installed(importlib.metadata.Distribution):
        def read_text(self, filename):
            return json.dumps(origin) if origin and filename == "direct_url.json" else None

        def locate_file(self, path):
            return Path(path)

    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site-packages/textclf_jax/extras.py"))
    monkeypatch.setattr(extras, "distribution", lambda name: Installed())
    assert shlex.split(install_line("torch")) == ["pip", "install", last]


def test_files_are_written_only_with_torch(monkeypatch, tmp_path):
    without(monkeypatch, "torch")
    with pytest.raises(UserError, match=r"x\.pt: writing \.pt files needs torch"):
        write_tensors(tmp_path / "x.pt", np.zeros(3))
    (tmp_path / "a.txt").write_text("some text\n" * 20)
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "a.txt", "--out", "data/a"]) == 2
    assert not Path("data").exists()


def test_a_run_needs_neither_torch_nor_matplotlib(monkeypatch, tmp_path, capsys):
    config = tiny.pretraining(tiny.write_data(tmp_path / "data"), logging={"use_wandb": True})
    without(monkeypatch, "torch", "matplotlib", "wandb")
    folder = run(config, tmp_path / "run")
    assert not (folder / "learning_curves.png").exists()
    out, err = capsys.readouterr()
    assert f"pictures are not drawn, as matplotlib is not installed: {install_line('report')}" in out
    assert f"warning: W&B: it is not installed: {install_line('wandb')}. The CSV files have every metric." in err
    (folder / "config.yaml").touch()
    assert main(["report", str(folder)]) == 2
    assert "textclf report needs matplotlib" in capsys.readouterr().err
