"""The project that faults happen to."""

import shutil
from pathlib import Path

import pytest

from tests import tiny
from tests.faults.harness import Project


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def project(data, tmp_path, monkeypatch, capsys) -> Project:
    """A project with data and one run of each kind, both called tiny."""
    root = tmp_path / "project"
    shutil.copytree(data, root / "data")
    monkeypatch.chdir(root)
    project = Project(root, capsys)
    project.add("pretraining")
    project.add("finetuning")
    return project
