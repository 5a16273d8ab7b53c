"""The picture of a confusion matrix: every row of data is in it, whatever the classes are called."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from textclf_jax.observe.confusion_picture import (
    MAX_CLASSES,
    NAME_CHARACTERS,
    confusion_picture,
    drawable_names,
    grouped,
    most_mistaken,
)

ODD = [
    "体育",
    "sport",
    "a very long class name that never ends",
    "a very long class name, too",
    "$x_1$",
    "مرحبا",
    "a\nb",
]


@pytest.mark.parametrize(
    "names", [["no", "yes"], [*ODD, *map(str, range(13))], [f"class_{i}" for i in range(150)]], ids=len
)
def test_pictures_of_few_and_of_many_classes(tmp_path, monkeypatch, names):
    """A letter that the font lacks would be a warning, and so an error here."""
    saved, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (saved.append(self), save(self, *args, **kw)))
    confusion = np.random.default_rng(0).poisson(0.4, (len(names), len(names)))
    confusion[1] = 0
    out = confusion_picture(confusion, names, "best model, 12 rows (test)", tmp_path / "new" / "matrix.png")
    assert out.read_bytes().startswith(b"\x89PNG")
    axes, (width, height) = saved[0].axes[0], saved[0].get_size_inches()
    assert max(width, height) < 20
    assert sum(int(text.get_text()) for text in axes.texts) == confusion.sum()
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [text.get_text() for text in axes.get_xticklabels()]
    if len(names) > MAX_CLASSES:
        assert len(labels) == MAX_CLASSES + 1
        assert labels[-1] == "120 others"
    elif len(names) > 2:
        assert labels[:3] == ["class 0", "sport", "a very long class n… (2)"]
        assert labels[3:7] == ["a very long class n… (3)", "$x_1$", "class 5", "a b"]


def test_large_counts_are_written_short(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, text, **style: written.append(text))
    confusion_picture(np.array([[9_999, 10_400], [999_400, 3_000_000]]), ["a", "b"], "", tmp_path / "matrix.png")
    assert written == ["9999", "10k", "999k", "3M"]


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.integers(2, 60), st.integers(0, 99))
def test_strangers_matrices_keep_their_sum_when_classes_are_grouped(classes, seed):
    confusion = np.random.default_rng(seed).poisson(0.5, (classes, classes))
    chosen = most_mistaken(confusion, MAX_CLASSES)
    shown = grouped(confusion, chosen)
    assert shown.sum() == confusion.sum()
    assert len(shown) == min(classes, MAX_CLASSES + 1)
    np.testing.assert_array_equal(shown[: len(chosen), : len(chosen)], confusion[np.ix_(chosen, chosen)])
    names = drawable_names([chr(0x100 * seed + i) * (i + 1) for i in range(classes)], range(classes))
    assert all(0 < len(name) <= NAME_CHARACTERS for name in names)
