"""Texts that become equal when they are encoded, though their labels differ."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prepare.cases import write_csv
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare


def prepared(folder, rows, **changes):
    table = write_csv(folder / "texts.csv", rows)
    return prepare(PrepareOptions(out=folder / "data", inputs=(table,), force=True, **changes))


FILL = [(f"some other text {i}", "ab"[i % 2]) for i in range(20)]


@pytest.mark.parametrize(
    ("one", "other", "changes", "cause", "remedy"),
    [
        ("the Polish shoe", "the polish shoe", {}, "case", "--no-lowercase"),
        ("ก่อน นี้", "กอน นี้", {"strip_accents": True}, "accents", "leaving out --strip-accents"),
        ("a " + "q" * 101, "a " + "r" * 102, {}, "[UNK]", None),
        ("one two three four five", "one two three four six", {"max_length": 6}, "length", "a larger --max-length"),
        ("caf\u00e9", "cafe\u0301", {}, "other", None),
        ("a \u200b b", "a b", {}, "other", None),
    ],
)
def test_causes(tmp_path, one, other, changes, cause, remedy):
    rows = [(one, "a"), (other, "b"), (one, "a"), *FILL]
    report = prepared(tmp_path, rows, min_frequency=1, **changes)
    found = report.equal_rows
    assert (found.num_rows, found.num_texts, found.causes) == (1, 2, {cause: 1})
    assert {label for _, label in found.example} == {"a", "b"}
    told = next(line for line in report.advice(128) if "become equal" in line)
    assert told.startswith("2 texts that differ")
    assert ("What keeps them apart" in told) == (remedy is not None)
    assert remedy is None or remedy in told


def test_sound_texts_are_not_told(tmp_path):
    rows = [("the Polish shoe", "a"), ("the polish shoe", "a"), ("the polish shoe", "b"), *FILL]
    report = prepared(tmp_path, rows[:2] + FILL)
    assert report.equal_rows.num_rows == 0
    assert prepared(tmp_path, rows[1:]).equal_rows.num_rows == 0  # one text with two labels is counted as such
    assert prepared(tmp_path, rows).equal_rows.num_rows == 1
    assert prepared(tmp_path, rows, lowercase=False).equal_rows.num_rows == 0


PIECES = st.sampled_from(["é", "e", "E", "e\u0301", " ", "  ", "ก่", "ก", "漢", "ab", "AB", "\u200d", "z" * 101, "."])
ROWS = st.lists(
    st.tuples(
        st.lists(PIECES, min_size=1, max_size=4).map("".join).filter(lambda text: text.strip(" \u200d")),
        st.sampled_from("xy"),
    ),
    min_size=4,
    max_size=30,
)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(ROWS, st.booleans(), st.booleans(), st.integers(3, 8))
def test_strangers_are_counted_as_by_hand(tmp_path_factory, rows, lowercase, strip_accents, max_length):
    folder = tmp_path_factory.mktemp("rows")
    words = [("ab e é ก 漢 ก่ . ab e AB E É " * 3, label) for label in "xy"]
    rows = [*rows, *words]
    report = prepared(
        folder, rows, val_fraction=0, test_fraction=0, task="cls", max_length=max_length,
        lowercase=lowercase, strip_accents=strip_accents, min_frequency=1,
    )  # fmt: skip
    ids, _, labels = read_tensors(folder / "data/cls/train.pt")
    texts: dict[bytes, set[str]] = {}
    classes: dict[bytes, set[int]] = {}
    for (text, _), row, label in zip(rows, ids, labels, strict=True):
        texts.setdefault(row.tobytes(), set()).add(text.strip())
        classes.setdefault(row.tobytes(), set()).add(int(label))
    equal = [row for row, found in classes.items() if len(found) > 1 and len(texts[row]) > 1]
    assert report.equal_rows.num_rows == len(equal) == sum(report.equal_rows.causes.values())
    assert report.equal_rows.num_texts == sum(len(texts[row]) for row in equal)
    assert any("become equal" in line for line in report.advice(max_length)) == bool(equal)
