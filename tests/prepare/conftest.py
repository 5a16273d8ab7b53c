"""A table of two classes, and the folder to make of it."""

import pytest

from tests.prepare.cases import write_csv

ANIMALS = ("cat", "dog", "cow", "hen")


@pytest.fixture
def table(tmp_path):
    """40 rows of two classes."""
    rows = [(f"a {ANIMALS[i % 4]} number {i} runs far away", "fast" if i % 2 else "slow") for i in range(40)]
    return write_csv(tmp_path / "all.csv", rows)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "data" / "animals"
