"""The demo's corpus: what is read, what is removed, and that splits share nothing."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.examples.packages import write_packages

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def docstrings():
    """The module, imported as the driver does: its worker processes find it by name."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("docstrings")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def corpus(docstrings, tmp_path_factory):
    folder = write_packages(tmp_path_factory.mktemp("packages"))
    rows = {"train": 60, "val": 20, "test": 20}
    return docstrings.build_corpus(folder, num_packages=3, rows_per_package=rows, max_unlabelled=50)


def test_definitions_have_docstrings_and_modules_have_not(docstrings, tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        '"""Of the module."""\nclass A:\n    """Of a class."""\n    async def f():\n        """Of a method."""\n'
        'def g():\n    "On one line, without triple quotes."\ndef h():\n    return """No docstring."""\n'
    )
    found = docstrings.docstrings(path)
    assert found == ["Of a class.", "Of a method.", "On one line, without triple quotes."]


@pytest.mark.parametrize("source", [b'def f(:\n    """x"""', b'"""\xff\xfe"""', b'x = """a\x00b"""', b""])
def test_files_that_cannot_be_parsed_are_passed_over(docstrings, tmp_path, source):
    path = tmp_path / "bad.py"
    path.write_bytes(source)
    assert docstrings.docstrings(path) == []
    assert docstrings.docstrings(tmp_path / "missing.py") == []


def test_names_are_removed_inside_words_too(docstrings):
    names = docstrings.names_pattern(["torch", "sklearn"])
    text = "Use PyTorch or torch.nn, `torch_xla` and scikit-learn; from sklearn.svm import SVC. Torches!"
    assert docstrings.clean(text, names) == "Use or .nn, ` ` and ; from .svm import SVC. !"


def test_texts_are_cut_between_words(docstrings):
    names = docstrings.names_pattern(["torch"])
    text = docstrings.clean("word " * 200, names)
    assert len(text) <= docstrings.MAX_CHARACTERS
    assert set(text.split()) == {"word"}


def test_splits_share_neither_modules_nor_texts(corpus):
    rows = corpus.splits
    assert list(rows) == ["train", "val", "test"]
    assert min(map(len, rows.values())) > 5
    modules = [{row.module for row in part} for part in rows.values()]
    assert sum(map(len, modules)) == len(set.union(*modules))
    texts = [re.sub(r"[\W\d_]+", " ", row.text.lower()) for part in rows.values() for row in part]
    texts += [re.sub(r"[\W\d_]+", " ", text.lower()) for text in corpus.unlabelled]
    assert len(texts) == len(set(texts))


def test_classes_are_the_packages_with_most_docstrings(corpus):
    assert corpus.packages == ("alpha", "beta", "gamma")
    assert {row.package for row in corpus.splits["test"]} == set(corpus.packages)
    assert not any(name in row.text for part in corpus.splits.values() for row in part for name in corpus.packages)
    assert any("small" in text for text in corpus.unlabelled)


def test_the_same_packages_give_the_same_corpus(docstrings, corpus, tmp_path):
    rows = {"train": 60, "val": 20, "test": 20}
    folder = write_packages(tmp_path)
    assert docstrings.build_corpus(folder, num_packages=3, rows_per_package=rows, max_unlabelled=50) == corpus
