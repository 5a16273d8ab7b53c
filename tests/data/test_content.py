"""Files without text, and padding that would be read as text, are refused or told; sound files are not."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tiny
from textclf_jax.data.content import SpecialTokens
from textclf_jax.data.dataset import load_dataset
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import load_wrapper

SPECIAL = SpecialTokens(np.arange(tiny.VOCAB_SIZE) < len(tiny.SPECIALS), unknown_id=1, mask_id=4)


def load(folder, ids, mask=None, *, special=SPECIAL):
    """Writes rows, whose mask is that of [PAD] unless it is given, and loads them."""
    write_tensors(folder / "data.pt", ids, ids == 0 if mask is None else mask)
    return load_dataset(
        folder / "data.pt", vocab_size=tiny.VOCAB_SIZE, pad_id=0, max_length=tiny.MAX_LENGTH, special=special
    )


def words_to(ids, token, share=1.0):
    """Rows in which a share of the words is another token."""
    rng = np.random.default_rng(0)
    return np.where((ids > 4) & (rng.random(ids.shape) < share), token, ids)


def test_special_tokens_come_from_the_tokenizer(tmp_path):
    folder = tiny.write_vocabulary(tmp_path / "vocab")
    own = SpecialTokens.of(load_wrapper("tokenizer/wordpiece_tokenizer_wrapper.py", str(folder), root=tmp_path))
    assert own is not None
    np.testing.assert_array_equal(own.is_special, SPECIAL.is_special)
    assert own[1:] == (1, 4)
    code = "class W:\n def load(self, d):\n  self.vocab_size, self.pad_id = 9, 0\n def mask_input_for_mlm(self, x): 0\n"
    (tmp_path / "w.py").write_text(code)
    users = SpecialTokens.of(load_wrapper("w.py", str(tmp_path), root=tmp_path))
    assert users is not None
    assert (users.is_special.tolist(), users[1:]) == ([True] + [False] * 8, (-1, -1))
    (tmp_path / "v.py").write_text(code.replace("  self.", "  self.special_ids = list(range(9)); self."))
    assert SpecialTokens.of(load_wrapper("v.py", str(tmp_path), root=tmp_path)) is None


@pytest.mark.parametrize(
    ("token", "share", "told"),
    [
        (4, 1.0, "no row has a token that is not a special one"),
        (1, 1.0, r"100\.0% of the tokens are \[UNK\].* Encode the texts again"),
        (1, 0.6, r"(5|6)\d\.\d% of the tokens are \[UNK\]"),
        (4, 0.7, r"(6|7)\d\.\d% of the tokens are \[MASK\]"),
    ],
)
def test_files_without_text_are_refused(tmp_path, token, share, told):
    ids = tiny.rows(96)[0]
    with pytest.raises(UserError, match=rf"data\.pt: {told}"):
        load(tmp_path, words_to(ids, token, share))
    load(tmp_path, words_to(ids, token, share), special=None)


def test_rows_with_special_tokens_alone_are_counted_and_a_file_of_them_is_refused(tmp_path):
    bare = np.tile([2, 3, 0, 0], (40, 1))
    with pytest.raises(UserError, match="no row has a token that is not a special one"):
        load(tmp_path, bare)
    bare[7, :3] = 2, 9, 3
    data = load(tmp_path, bare)
    assert data.notes == (f"{data.path}: 39 of 40 rows have special tokens alone (the first: row 0)",)
    assert data.num_words == 1


def test_some_unknown_tokens_are_a_warning_and_few_are_none(tmp_path):
    ids = tiny.rows(200)[0]
    (line,) = load(tmp_path, words_to(ids, 1, 0.2)).notes
    assert line.startswith("warning: ")
    assert "% of the tokens are [UNK]" in line
    assert load(tmp_path, words_to(ids, 1, 0.02)).notes == ()


@pytest.mark.parametrize("other", [1, 3, 59])
def test_padding_that_no_mask_marks_is_refused_with_a_remedy_that_works(tmp_path, other):
    ids = tiny.rows(96, length=20)[0]
    ids = np.pad(np.where(ids == 59, 58, ids), ((0, 0), (0, 4)))
    as_text = np.where(ids == 0, other, ids)
    with pytest.raises(UserError, match=rf"96 of 96 rows end in the id {other}, [45] to 2\d times.* input_ids to 0 "):
        load(tmp_path, as_text, np.zeros_like(ids, bool))
    assert load(tmp_path, ids).notes == ()


def test_an_id_that_may_be_a_word_is_a_warning(tmp_path):
    ids = np.pad(tiny.rows(96, length=20)[0], ((0, 0), (0, 4)))
    as_text = np.where(ids == 0, 9, ids)  # a word of other rows, too
    (line,) = load(tmp_path, as_text, np.zeros_like(ids, bool)).notes
    assert line.startswith("warning: ")
    assert "end in the id 9" in line


@settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 60),
    width=st.integers(1, 24),
    vocabulary=st.integers(1, 55),
    full=st.booleans(),
    framed=st.booleans(),
)
def test_strangers_random_rows_raise_no_alarm_and_all_words_are_counted(
    tmp_path, seed, count, width, vocabulary, full, framed
):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 5 + vocabulary, (count, width))
    lengths = np.full(count, width) if full else rng.integers(1, width + 1, count)
    if framed and width > 2:
        lengths = np.maximum(lengths, 3)
        ids[:, 0] = 2
        ids[np.arange(count), lengths - 1] = 3
    ids[np.arange(width) >= lengths[:, None]] = 0
    data = load(tmp_path, ids)
    assert data.num_words == (ids > 4).sum()
    # two or three different words may end most rows alike by chance, and that is a warning at most
    assert data.notes == () or (vocabulary < 4 and full)
