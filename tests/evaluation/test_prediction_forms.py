"""Predictions as csv and JSON lines: whatever columns the input has, they come out as they went in."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.evaluation.prediction import Prediction
from textclf_jax.evaluation.prediction_forms import CsvForm, JsonForm, separator_of

NAMES = st.sampled_from(["text", "label", "label_2", "predicted_label", "probabilities", "p(a)", "", "\r", "é"])
CELLS = st.text(st.sampled_from('a,"\n\r;é\u2028'), max_size=5)


@given(st.lists(st.tuples(NAMES, CELLS, CELLS), min_size=1, max_size=5))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_strangers_columns_come_out_as_they_went_in(columns):
    """Whatever names they have: none is lost to another, and every reader finds the same rows."""
    names, *records = map(list, zip(*columns, strict=True))
    predictions = [Prediction("", label, np.array([0.25, 0.75]), is_cut=label == "a") for label in ("a", "b\n")]
    stream = io.StringIO(newline="")
    form = CsvForm(names, ["a", "b\n"], several=False)
    form.write_header(stream)
    form.write_rows(zip(records, predictions, strict=True), stream)
    header, *rows = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert header[: len(names)] == names
    assert len(set(header[len(names) :]) | set(names)) == len(set(names)) + 5
    ours = ["0.250000", "0.750000", "false"]
    assert rows == [
        [*record, p.label, *ours, str(p.is_cut).lower()] for record, p in zip(records, predictions, strict=True)
    ]
    stream = io.StringIO(newline="")
    form = JsonForm(names, ["a", "b\n"], several=False)
    form.write_header(stream)
    form.write_rows(zip(records, predictions, strict=True), stream)
    for line, record, p in zip(stream.getvalue().splitlines(), records, predictions, strict=True):
        *fields, label, probabilities, empty, cut = json.loads(line).values()
        assert (fields, label, probabilities) == (record, p.label, {"a": 0.25, "b\n": 0.75})
        assert (empty, cut) == (False, p.is_cut)


@pytest.mark.parametrize(
    ("names", "separator"), [(["a", "b"], "|"), (["a|b", "c;"], ","), (["|;,/", "b"], "||"), (["|||", ";,/"], "||||")]
)
def test_no_name_has_what_separates_labels(names, separator):
    assert separator_of(names) == separator
