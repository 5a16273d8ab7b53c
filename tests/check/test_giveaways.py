"""What tells the label without the text."""

import numpy as np
import pytest

from tests.check.cases import make_rows
from textclf_jax.check.giveaways import OF_TEXTS, find_giveaways, rule_accuracy


def test_columns_that_tell_the_label():
    rows = make_rows(200)
    rng = np.random.default_rng(0)
    columns = {
        "copy": [{"sport": "S1", "money": "M1"}[row.label] for row in rows],
        "id": [str(i if row.label == "sport" else 5000 + i) for i, row in enumerate(rows)],
        "unique": [f"x{i}" for i in range(200)],
        "chance": [str(rng.integers(3)) for _ in rows],
        "empty": [""] * 200,
    }
    found = {each.name: each for each in find_giveaways(rows, columns)}
    assert {name for name, each in found.items() if each.tells} == {"copy", "id"}
    assert found["copy"].accuracy == 1.0
    assert found["unique"].accuracy == pytest.approx(0.5, abs=0.12)
    assert set(OF_TEXTS) < found.keys()


@pytest.mark.parametrize(("form", "name"), [("__{1} {0}", OF_TEXTS[0]), ("{0} #{1}", OF_TEXTS[1])])
def test_labels_in_the_texts(form, name):
    rows = [row._replace(text=form.format(row.text, row.label)) for row in make_rows(100)]
    (told,) = [each for each in find_giveaways(rows, {}) if each.tells]
    assert (told.name, told.is_of_text) == (name, True)


def test_the_rule_by_hand():
    """Two values, of which 9 in 10 rows have the value of their label: a rule of values has 0.9."""
    labels = np.array([0, 1] * 50)
    codes = np.where(np.arange(100) % 10 < 2, 1 - labels, labels)
    assert rule_accuracy(codes, labels) == pytest.approx(0.8)
    assert rule_accuracy(np.zeros(100, int), np.array([0] * 70 + [1] * 30)) == pytest.approx(0.7)
