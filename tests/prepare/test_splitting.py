"""Splits, duplicates and class ids."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.prepare.splitting import (
    class_ids,
    count_contradictions,
    count_duplicates,
    drop_duplicates,
    random_split,
    read_label_names,
    stratified_split,
)
from textclf_jax.prepare.texts import Row


def rows(*pairs):
    return [Row(text, label, Path("a.csv"), number) for number, (text, label) in enumerate(pairs, start=2)]


def labelled(*labels):
    return rows(*((f"text {i}", label) for i, label in enumerate(labels)))


class_sizes = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(class_sizes, st.sampled_from([(0.1, 0.1), (0.25, 0.0), (0.0, 0.3), (0.4, 0.4)]), st.integers(0, 99))
def test_split_is_a_partition_in_which_each_class_has_its_share(sizes, fractions, seed):
    labels = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
    parts = stratified_split(labels, fractions[0], fractions[1], seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    held_out = len(parts[1]) + len(parts[2])
    wanted = sum(max(round(len(labels) * fraction), 1) for fraction in fractions if fraction)
    assert held_out == min(wanted, len(labels) - len(sizes))
    train, *others = (Counter(labels[i] for i in part) for part in parts)
    for i, size in enumerate(sizes):
        assert train[str(i)] >= 1
        share = held_out * (size - 1) / max(len(labels) - len(sizes), 1)
        assert abs(sum(other[str(i)] for other in others) - share) <= 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 300), st.sampled_from([(0.1, 0.1), (0.0, 0.3), (0.4, 0.0), (0.0, 0.0)]), st.integers(0, 99))
def test_a_random_split_is_that_of_rows_without_labels(count, fractions, seed):
    parts = random_split(count, *fractions, seed)
    for number, rows in enumerate(stratified_split([None] * count, *fractions, seed)):
        assert np.flatnonzero(parts == number).tolist() == rows.tolist()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 12), st.integers(12, 400), st.sampled_from([(0.1, 0.1), (0.0, 0.3), (0.4, 0.5)]), st.integers(0, 99)
)
def test_split_of_label_sets_keeps_each_class_in_train(num_labels, count, fractions, seed):
    """The sizes are exact, and each label's share is within a few rows: one for each rarer label it may stand with."""
    rates = np.minimum(0.6, 0.9 / np.arange(1, num_labels + 1))
    labels = np.random.default_rng(seed).random((count, num_labels)) < rates
    sets = [tuple(f"label{i}" for i in np.flatnonzero(row)) for row in labels]
    parts = stratified_split(sets, *fractions, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    train, val, test = (labels[part].sum(0) for part in parts)
    occurs = labels.any(0)
    assert (train[occurs] >= 1).all()
    wanted = [max(round(count * fraction), 1) if fraction else 0 for fraction in fractions]
    if sum(wanted) <= count - num_labels:
        assert [len(part) for part in parts[1:]] == wanted
    held_out = sum(wanted) / count
    assert (np.abs(val + test - held_out * labels.sum(0)) <= 2 + num_labels).all()


def test_split_of_label_sets_depends_on_the_seed():
    sets = [("a",), ("a", "b"), (), ("c", "b")] * 25
    one, again, other = (stratified_split(sets, 0.1, 0.2, seed) for seed in (3, 3, 4))
    assert [len(part) for part in one] == [70, 10, 20]
    for part, same in zip(one, again, strict=True):
        np.testing.assert_array_equal(part, same)
    assert one[2].tolist() != other[2].tolist()


def test_the_last_rows_of_a_label_do_not_all_leave_train():
    """Each row of "y" has a rarer label, of which a row of its own stays in train."""
    sets = [("x1", "y"), ("x1",), ("x2", "y"), ("x2",), *[("z",)] * 8]
    for seed in range(20):
        train = stratified_split(sets, 0.0, 0.7, seed)[0]
        assert {label for row in train for label in sets[row]} == {"x1", "x2", "y", "z"}


def test_split_depends_on_the_seed_and_keeps_the_order():
    labels = [None] * 200
    parts = stratified_split(labels, 0.1, 0.2, 3)
    assert [len(part) for part in parts] == [140, 20, 40]
    for part, again, other in zip(
        parts, stratified_split(labels, 0.1, 0.2, 3), stratified_split(labels, 0.1, 0.2, 4), strict=True
    ):
        np.testing.assert_array_equal(part, again)
        assert part.tolist() != other.tolist()
        assert (np.diff(part) > 0).all()


def test_classes_of_one_row_stay_in_train():
    train, val, test = stratified_split(["a"] * 20 + ["rare"], 0.2, 0.2, 0)
    assert 20 in train
    assert (len(val), len(test)) == (4, 4)


def test_duplicates():
    splits = {
        "train": rows(("a", "1"), ("b", "1"), ("a", "2")),
        "val": rows(("c", "1"), ("c", "1"), ("b", "1")),
        "test": rows(("a", "1"), ("c", "1"), ("d", "1")),
    }
    assert count_duplicates(splits) == {
        "train": 1,
        "val": 1,
        "val in train": 1,
        "test in train": 1,
        "test in val": 1,
    }
    assert count_contradictions(splits) == 1
    kept = drop_duplicates(splits)
    assert {name: [row.text for row in part] for name, part in kept.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": ["d"],
    }
    assert count_duplicates(kept) == {}


def test_class_ids_sort_numbers_by_value_and_names_by_letters():
    names, ids = class_ids({"train": labelled("10", "9", "-1"), "val": labelled("9")}, None)
    assert names == ["-1", "9", "10"]
    assert (ids["train"].tolist(), ids["val"].tolist()) == ([2, 1, 0], [1])
    assert class_ids({"train": labelled("pos", "10", "neg")}, None)[0] == ["10", "neg", "pos"]


def test_label_names():
    names = ["World", "Sports", "Never"]
    found, ids = class_ids({"train": labelled("1", "0")}, names)
    assert (found, ids["train"].tolist()) == (names, [1, 0])
    assert class_ids({"train": labelled("Sports", "World")}, names)[1]["train"].tolist() == [1, 0]
    with pytest.raises(UserError, match=r"a.csv line 3: label '3' is neither .* from 0 to 2"):
        class_ids({"train": labelled("1", "3")}, names)
    with pytest.raises(UserError, match=r"label 'sports' is neither .* Did you mean 'Sports'"):
        class_ids({"train": labelled("World", "sports")}, names)
    with pytest.raises(UserError, match=r"label 'World' is one of the label names, and other labels are numbers"):
        class_ids({"train": labelled("1", "World")}, names)


@pytest.mark.parametrize(
    ("names", "labels"),
    [(["1", "2", "3"], ["1", "2"]), (["2", "1", "0"], ["0", "1", "2"]), (["0.5", "1", "0"], ["0", "1"])],
)
def test_labels_that_are_names_and_numbers_of_other_classes_are_refused(names, labels):
    with pytest.raises(UserError, match=r"a.csv: label '\d' may be the name of class \d, or the number of") as told:
        class_ids({"train": labelled(*labels)}, names)
    assert f"name of class {names.index(labels[0])}, or the number of class '{names[int(labels[0])]}'" in str(
        told.value
    )
    # what the message advises, in both cases
    words = [f"class {name}" for name in names]
    assert class_ids({"train": labelled(*labels)}, words)[1]["train"].tolist() == [int(label) for label in labels]
    ids = class_ids({"train": labelled(*(f"class {label}" for label in labels))}, words)[1]["train"]
    assert ids.tolist() == [names.index(label) for label in labels]


def test_labels_that_can_be_read_in_one_way_are_taken():
    for names, labels, ids in (
        (["1", "2", "3"], ["1", "2", "3"], [0, 1, 2]),  # 3 is no number of three classes
        (["1", "2", "3"], ["0", "2"], [0, 2]),  # 0 is no name
        (["0", "1", "2"], ["2", "0"], [2, 0]),  # both ways are the same
        (["0", "2", "1", "3"], ["0", "3"], [0, 3]),
    ):
        assert class_ids({"train": labelled(*labels)}, names)[1]["train"].tolist() == ids


def test_unknown_labels_and_single_classes():
    with pytest.raises(UserError, match=r"a.csv line 3: label 'c' does not occur in the training rows \(a, b\)"):
        class_ids({"train": labelled("a", "b"), "test": labelled("a", "c")}, None)
    with pytest.raises(UserError, match="one class only"):
        class_ids({"train": labelled("a", "a")}, None)


def test_label_name_files(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("World\nSports \n")
    assert read_label_names(path) == ["World", "Sports"]
    path.write_text("World\n\nSports\n")
    with pytest.raises(UserError, match="line 2: the class name is blank"):
        read_label_names(path)
    path.write_text("World\nSports\nWorld\n")
    with pytest.raises(UserError, match="line 1 and line 3 are both 'World': class names must differ"):
        read_label_names(path)
