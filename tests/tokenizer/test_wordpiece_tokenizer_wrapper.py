"""Encoding and masking."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.tokenizer import wordpiece_tokenizer_wrapper
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

LETTERS = "abcdefghij"


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory):
    """Ids 5..14 are the letters a..j; every other word is [UNK]."""
    folder = tmp_path_factory.mktemp("vocab")
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *LETTERS]))
    return WordPieceTokenizerWrapper().load(folder)


# --- encoding -------------------------------------------------------------------------------------------------


@pytest.mark.golden
def test_encodings_are_those_of_the_reference(golden):
    folder = golden.path / "tokenizer"
    recorded = golden.load("tokenizer/encodings.npz")
    texts = json.loads((folder / "texts.json").read_text())
    ours = WordPieceTokenizerWrapper().load(folder / "vocab")
    lengths = [int(key.rsplit("_", 1)[1]) for key in recorded if key.startswith("out/input_ids_")]
    for length in lengths:
        encoded = ours.encode(texts, labels=recorded["in/labels"], max_length=length)
        np.testing.assert_array_equal(encoded.input_ids, recorded[f"out/input_ids_{length}"])
        np.testing.assert_array_equal(encoded.attention_mask, recorded[f"out/attention_mask_{length}"])
        np.testing.assert_array_equal(encoded.labels, recorded["out/labels"])
        lines = ours.encode(files=folder / "lines_with_blanks.txt", max_length=length, skip_blank=True)
        np.testing.assert_array_equal(lines.input_ids, recorded[f"file/input_ids_{length}"])
        np.testing.assert_array_equal(lines.attention_mask, recorded[f"file/attention_mask_{length}"])


def test_truncation_keeps_sep_and_counts_what_is_lost(wrapper):
    encoded = wrapper.encode(["a b c d e", "a", ""], labels=[2, 0, 1], max_length=4)
    assert encoded.input_ids.tolist() == [[2, 5, 6, 3], [2, 5, 3, 0], [2, 3, 0, 0]]
    assert encoded.attention_mask.tolist() == [[False] * 4, [False] * 3 + [True], [False, False, True, True]]
    assert (encoded.input_ids.dtype, encoded.attention_mask.dtype, encoded.labels.dtype) == (np.int64, bool, np.int64)
    assert encoded.labels.tolist() == [2, 0, 1]
    assert encoded.num_tokens.tolist() == [5, 1, 0]
    assert (encoded.num_truncated, encoded.num_dropped_tokens) == (1, 3)


def test_split_loses_nothing(wrapper):
    encoded = wrapper.encode(["a b c d e", "f g", ""], max_length=4, overflow="split")
    assert encoded.input_ids.tolist() == [[2, 5, 6, 3], [2, 7, 8, 3], [2, 9, 3, 0], [2, 10, 11, 3], [2, 3, 0, 0]]
    assert (encoded.num_truncated, encoded.num_dropped_tokens) == (0, 0)
    with pytest.raises(UserError, match="labels cannot follow"):
        wrapper.encode(["a"], labels=[0], max_length=4, overflow="split")


@pytest.mark.parametrize(
    ("cls", "sep", "expected"),
    [(True, False, [2, 5, 6]), (False, True, [5, 6, 3]), (False, False, [5, 6, 7])],
)
def test_special_tokens_can_be_left_out(wrapper, cls, sep, expected):
    encoded = wrapper.encode(["a b c d"], max_length=3, include_cls=cls, include_sep=sep)
    assert encoded.input_ids.tolist() == [expected]


def test_pad_written_in_a_text_is_a_token_of_it(wrapper):
    encoded = wrapper.encode(["a [PAD] zzz"], max_length=6)
    assert encoded.input_ids.tolist() == [[2, 5, 0, 1, 3, 0]]
    assert encoded.attention_mask.tolist() == [[False] * 5 + [True]]
    assert encoded.num_unknown == 1


def test_batches_do_not_change_the_result(wrapper, monkeypatch):
    texts = [" ".join(LETTERS[: i % 11]) for i in range(50)]
    whole = wrapper.encode(texts, max_length=7, overflow="split")
    monkeypatch.setattr(wordpiece_tokenizer_wrapper, "CHARACTERS_PER_BATCH", 30)
    seen = []
    pieces = wrapper.encode(texts, max_length=7, overflow="split", progress=seen.append)
    np.testing.assert_array_equal(whole.input_ids, pieces.input_ids)
    assert len(seen) > 5
    assert seen[-1] == 50


def test_blank_lines_of_a_file(wrapper, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("a\n \n b \r\n")
    assert wrapper.encode(files=path, max_length=3).input_ids.tolist() == [[2, 5, 3], [2, 3, 0], [2, 6, 3]]
    assert len(wrapper.encode(files=[path, str(path)], max_length=3, skip_blank=True).input_ids) == 4
    with pytest.raises(UserError, match=r"lines.txt line 2: is blank, but every label"):
        wrapper.encode(files=path, labels=[0, 1], max_length=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either texts or files"),
        ({"texts": ["a"], "files": "x.txt"}, "either texts or files"),
        ({"texts": "a text"}, "is one string"),
        ({"texts": ["a", None]}, "row 1 is None"),
        ({"texts": ["a", float("nan")]}, "row 1 is nan"),
        ({"files": "missing.txt"}, "missing.txt: there is no such"),
        ({"texts": ["a"], "labels": [0, 1]}, "2 labels for 1 texts"),
        ({"texts": ["a"], "labels": [0.5]}, "whole numbers"),
        ({"texts": ["a"], "labels": [True]}, "whole numbers"),
        ({"texts": ["a"], "max_length": 2}, "leaves no room"),
    ],
)
def test_wrong_arguments_are_refused(wrapper, arguments, message):
    with pytest.raises(UserError, match=message):
        wrapper.encode(**{"max_length": 8, **arguments})


def test_no_texts_and_no_vocabulary(wrapper):
    assert wrapper.encode([], labels=[], max_length=5).input_ids.shape == (0, 5)
    with pytest.raises(UserError, match="no vocabulary yet"):
        WordPieceTokenizerWrapper().encode(["a"], max_length=5)


def test_pandas(wrapper):
    import pandas as pd

    frame = pd.DataFrame({"body": ["a", "b c"], "class": [1, 0]})
    encoded = wrapper.encode_pandas(frame, "body", "class", max_length=4)
    assert encoded.input_ids.tolist() == [[2, 5, 3, 0], [2, 6, 7, 3]]
    assert encoded.labels.tolist() == [1, 0]
    assert wrapper.encode_pandas(frame, "body", max_length=4).labels is None
    with pytest.raises(UserError, match="no column 'text'; it has body, class"):
        wrapper.encode_pandas(frame, "text", max_length=4)
    frame.loc[1, "body"] = None
    with pytest.raises(UserError, match="row 1"):
        wrapper.encode_pandas(frame, "body", max_length=4)


def test_decode(wrapper):
    ids = wrapper.encode(["A b [MASK]"], max_length=8).input_ids[0]
    assert wrapper.decode(ids) == "a b"
    assert wrapper.decode(ids[:5], skip_special_tokens=False) == "[CLS] a b [MASK] [SEP]"


# --- masking --------------------------------------------------------------------------------------------------


def draw_masks(wrapper, ids, pad, **shares):
    rng = np.random.default_rng(shares.pop("seed", 0))
    return wrapper.mask_input_for_mlm(ids, pad, rng=rng, **shares)


def never_masked(wrapper, ids, pad):
    return pad | np.isin(ids, wrapper.special_ids)


@pytest.mark.golden
def test_masking_follows_the_law_of_the_reference(golden):
    entry = next(e for e in golden.entries("tokenizer") if e["file"] == "tokenizer/masking.npz")
    recorded = golden.load(entry)
    ours = WordPieceTokenizerWrapper().load(golden.path / "tokenizer" / "vocab")
    ids, never = recorded["in/input_ids"], recorded["in/never_masked"]
    np.testing.assert_array_equal(never_masked(ours, ids, ids == ours.pad_id), never)
    for case in entry["expected"]:
        shares = {name: case[name] for name in ("mask_p", "mask_token_p", "random_token_p")}
        selected = mask = other = draws = 0
        for seed in range(40):
            masked, labels = draw_masks(ours, ids, ids == ours.pad_id, seed=seed, random_tokens="any", **shares)
            chosen = labels != -100
            selected += chosen.sum()
            mask += (chosen & (masked == ours.mask_id)).sum()
            other += (chosen & (masked != ours.mask_id) & (masked != ids)).sum()
            draws += (~never).sum()
        for name, seen, total in (
            ("selected_of_eligible", selected, draws),
            ("mask_of_selected", mask, selected),
            ("changed_to_other_of_selected", other, selected),
        ):
            law = case["law"][name]
            assert abs(seen / total - law) <= 4 * math.sqrt(law * (1 - law) / total) + 1e-12, name


shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: (pair[0], (1 - pair[0]) * pair[1]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), shares, st.sampled_from(["ordinary", "any"]))
def test_masking_invariants(wrapper, seed, mask_p, shares, random_tokens):
    ids = np.random.default_rng(seed).integers(0, wrapper.vocab_size, (6, 9))
    pad = np.arange(9) >= np.arange(4, 10)[:, None]
    before = ids.copy()
    arguments = {"mask_p": mask_p, "mask_token_p": shares[0], "random_token_p": shares[1], "seed": seed}
    masked, labels = draw_masks(wrapper, ids, pad, random_tokens=random_tokens, **arguments)
    again = draw_masks(wrapper, ids, pad, random_tokens=random_tokens, **arguments)
    np.testing.assert_array_equal(ids, before)
    np.testing.assert_array_equal((masked, labels), again)
    assert masked.shape == labels.shape == ids.shape
    assert masked.dtype == labels.dtype == ids.dtype
    chosen = labels != -100
    assert not (chosen & never_masked(wrapper, ids, pad)).any()
    np.testing.assert_array_equal(labels[chosen], ids[chosen])
    np.testing.assert_array_equal(masked[~chosen], ids[~chosen])
    if random_tokens == "ordinary":
        assert np.isin(masked[chosen], [wrapper.mask_id, *range(5, wrapper.vocab_size)]).all()


def test_shares_that_add_up_to_one_leave_nothing_as_it_was(wrapper):
    """mask_p * (0.9 + 0.1) can round below mask_p: no token may slip through the gap."""
    ids = np.full((300, 300), 5)
    pad = np.zeros_like(ids, dtype=bool)
    masked, labels = draw_masks(wrapper, ids, pad, mask_p=0.3, mask_token_p=1.0, random_token_p=0.0)
    assert (masked[labels != -100] == wrapper.mask_id).all()
    masked, labels = draw_masks(wrapper, ids, pad, mask_p=1.0, mask_token_p=0.9, random_token_p=0.1)
    assert (labels == 5).all()
    kept = (masked == 5).mean()  # equal draws: one random token of ten is the same one
    assert abs(kept - 0.01) < 4 * math.sqrt(0.01 * 0.99 / ids.size)


class EdgeDraws:
    """A generator whose draws are the largest number below mask_p."""

    def random(self, shape):
        return np.full(shape, np.nextafter(0.7, 0))

    def integers(self, low, high, size):
        return np.zeros(size, dtype=np.int64)


def test_rounding_of_the_shares(wrapper):
    ids = np.full((1, 4), 9)
    for mask_token_p in (0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9):
        masked, labels = wrapper.mask_input_for_mlm(
            ids,
            ids == 0,
            mask_p=0.7,
            mask_token_p=mask_token_p,
            random_token_p=1 - mask_token_p - 1e-16,
            rng=EdgeDraws(),
        )
        assert (labels == 9).all()
        assert (masked != 9).all()


def test_nothing_to_mask_and_foreign_ids(wrapper):
    ids = np.array([[2, 1, 3, 0]])
    masked, labels = draw_masks(wrapper, ids, ids == 0, mask_p=1.0, mask_token_p=0.8, random_token_p=0.1)
    np.testing.assert_array_equal(masked, ids)
    assert (labels == -100).all()
    for wrong in (-1, wrapper.vocab_size):
        with pytest.raises(UserError, match=r"0\.\.14"):
            draw_masks(wrapper, ids + wrong, ids == 0, mask_p=0.5, mask_token_p=0.8, random_token_p=0.1)
