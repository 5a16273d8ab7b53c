"""Options that make no sense are refused by the flag's name."""

import pytest

from tests.prepare.cases import refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either INPUT files.*or --train"),
        ({"inputs": "t", "train": "t"}, "either INPUT files.*or --train"),
        ({"inputs": "t", "test": "t"}, "--val and --test go with --train"),
        ({"inputs": "t", "val_fraction": 1.5}, "--val-fraction 1.5"),
        ({"inputs": "t", "val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"inputs": "t", "max_length": 2}, "--max-length 2"),
        ({"inputs": "t", "seed": -1}, "--seed -1"),
        ({"inputs": "t", "vocab": "t"}, "--vocab-size is for training one"),
        ({"inputs": "t", "vocab_size": 0}, "--vocab-size 0 must be at least 1"),
        ({"inputs": "t", "min_frequency": -2}, "--min-frequency -2 must be at least 1"),
        ({"inputs": "t", "limit_alphabet": 0}, "--limit-alphabet 0 must be at least 1"),
        ({"inputs": "t", "max_word_length": 0}, "--max-word-length 0 must be at least 1"),
        ({"inputs": "t", "max_word_length": 1001}, "--max-word-length 1001 must be at most 1000"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "max_word_length": 9}, "--max-word-length is for training"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "strip_accents": True}, "--strip-accents is for training"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "min_frequency": 3}, "--min-frequency is for training"),
    ],
)
def test_faulty_options_are_refused(out, table, changes, message):
    refused(out, {"t": table}, changes, message)
