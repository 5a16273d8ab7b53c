"""Equal rows with different labels are counted, and told with an example."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_dataset import load
from textclf_jax.data.equal_rows import contradictions, groups_with_different_labels, hash_rows


def test_a_file_of_equal_rows_with_several_labels_is_told(tmp_path):
    ids = np.tile([2, 7, 8, 3, 0], (96, 1))
    data = load(tmp_path, ids, ids == 0, np.arange(96) % 3, num_labels=3)
    assert data.notes == (
        f"warning: {data.path}: 96 of 96 rows equal another row that has another label (row 0 has 0, row 1 has 1): no "
        "model can tell them apart",
    )
    assert load(tmp_path, ids, ids == 0, np.arange(96) % 3).notes == ()


def test_rows_are_compared_as_they_are_read(tmp_path):
    ids = np.array([[2, 7, 8, 9], [2, 7, 8, 6], [2, 6, 8, 9]])
    sets = (ids, ids == 0, np.array([0, 1, 2]))
    assert not any("equal another row" in note for note in load(tmp_path, *sets, num_labels=3).notes)
    notes = load(tmp_path, *sets, num_labels=3, max_length=3).notes
    assert any("2 of 3 rows equal another row" in note for note in notes)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_strangers_groups_are_those_of_a_dictionary(rows):
    table = np.array(rows, np.int64).reshape(-1, 3)
    hashes, labels = hash_rows(table[:, :2]), table[:, 2]
    found = {}
    for number, (one, other, _) in enumerate(rows):
        found.setdefault((one, other), []).append(number)
    expected = [group for group in found.values() if len({rows[i][2] for i in group}) > 1]
    assert [group.tolist() for group in groups_with_different_labels(hashes, labels)] == expected
    told = contradictions(Path("a.pt"), hashes, labels)
    assert (f"a.pt: {sum(map(len, expected))} of {len(rows)} rows" in told) if expected else told == ""
