"""The alphabet, words that are too long, accents: what training keeps of the texts."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

IDEOGRAPHS = [chr(0x4E00 + i) for i in range(3000)]


def train(texts, **settings):
    return WordPieceTokenizerWrapper().train(texts=texts, **settings)


def left_out(wrapper):
    """Number and share of the characters that the vocabulary has no room for."""
    assert wrapper.trained is not None
    return wrapper.trained.num_left_out, pytest.approx(wrapper.trained.left_out_rate)


def words_of(wrapper, text):
    """The pieces of a text."""
    encoded = wrapper.encode([text], max_length=300, include_cls=False, include_sep=False)
    return [wrapper.tokens[i] for i in encoded.input_ids[0][~encoded.attention_mask[0]]]


def test_all_characters_are_in_the_vocabulary_while_they_fit():
    for size in (3005, 30_000):
        wrapper = train(["".join(IDEOGRAPHS)], vocab_size=size)
        assert set(IDEOGRAPHS) <= set(wrapper.tokens)
        assert left_out(wrapper) == (0, 0.0)
    limited = train(["".join(IDEOGRAPHS)], limit_alphabet=100)
    assert limited.tokens[5:] == tuple(IDEOGRAPHS[:100])
    assert left_out(limited) == (2900, 2900 / 3000)


def test_rare_characters_give_way_where_not_all_fit():
    common, rare = IDEOGRAPHS[:100], IDEOGRAPHS[100:160]
    wrapper = train(["".join(common)] * 50 + ["".join(rare)], vocab_size=130)
    assert set(common) <= set(wrapper.tokens)
    assert set(rare[:25]) <= set(wrapper.tokens)  # what is free after merging is filled, equal ones by code point
    assert len(wrapper.tokens) == 130
    assert left_out(wrapper) == (35, 35 / 5060)
    with pytest.raises(UserError, match=r"vocab_size 90 is too small: .* take 165"):
        train(["".join(common)] * 50 + ["".join(rare)], vocab_size=90)


def test_rare_characters_leave_room_for_words():
    words = ["abc bca cab"] * 200
    wrapper = train([*words, "".join(IDEOGRAPHS[:60])], vocab_size=40)
    assert left_out(wrapper)[0] > 0
    assert {"abc", "bca", "cab"} <= set(wrapper.tokens)


def test_words_over_the_limit_are_unknown_and_train_nothing(tmp_path):
    texts = ["qz" * 60 + " abba", "qz" * 60 + " baab"] * 3
    wrapper = train(texts, out_dir=tmp_path / "short")
    assert not any("q" in token for token in wrapper.tokens)
    assert words_of(wrapper, "qz" * 60)[0] == "[UNK]"
    train(texts, max_word_length=120, out_dir=tmp_path / "long")
    loaded = WordPieceTokenizerWrapper().load(tmp_path / "long")
    assert words_of(loaded, "qz" * 60) == ["qz" * 60]
    assert words_of(loaded, "qz" * 60 + "q") == ["[UNK]"]
    with pytest.raises(UserError, match=r"all words have more than 3 characters \(the longest has 120\).*length 120"):
        train(["qz" * 60], max_word_length=3)


@pytest.mark.parametrize("name", ["vocab_size", "min_frequency", "limit_alphabet", "max_word_length"])
@pytest.mark.parametrize("number", [0, -1])
def test_zero_is_no_number_to_train_with(name, number):
    with pytest.raises(UserError, match=f"{name} is {number}"):
        train(["a b"], **{name: number})


def test_texts_of_removed_characters_alone():
    with pytest.raises(UserError, match="private-use and unassigned characters are removed"):
        train(["\ue000\ue001"])


PAIRS = [("ก่อน", "กอน"), ("मेल", "मैल"), ("がく", "かく"), ("résumé", "resume"), ("שָׁלוֹם", "שלום"), ("مَرْحَبا", "مرحبا")]


@pytest.mark.parametrize(("marked", "bare"), PAIRS)
def test_accents_are_kept_or_removed_as_asked(marked, bare, tmp_path):
    kept = train([f"{marked} {bare}"] * 3, strip_accents=False, out_dir=tmp_path)
    assert words_of(kept, marked) != words_of(kept, bare)
    alone = WordPieceTokenizerWrapper().load(tmp_path / "vocab.txt")
    for form in ("NFC", "NFD"):
        assert words_of(kept, unicodedata.normalize(form, marked)) == words_of(kept, marked)
        assert words_of(alone, unicodedata.normalize(form, marked)) == words_of(kept, marked)
    for strip_accents in (True, None):
        stripped = train([f"{marked} {bare}"] * 3, strip_accents=strip_accents)
        assert len(words_of(stripped, marked)) == len(words_of(stripped, bare))
        assert not any(unicodedata.category(c) == "Mn" for token in stripped.tokens for c in token)


WORDS = st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=12)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.lists(WORDS, min_size=1, max_size=12), st.booleans(), st.integers(3, 12))
def test_strangers_have_no_unknown_word_but_the_long_ones(words, lowercase, limit):
    """Every word that trained the vocabulary is encoded, whatever its script; the number of others is told."""
    text = " ".join(words)
    try:
        wrapper = train([text], strip_accents=False, lowercase=lowercase, max_word_length=limit, min_frequency=1)
    except UserError as refusal:
        assert any(part in str(refusal) for part in ("no text", "all words have more than"))  # noqa: PT017
        return
    encoded = wrapper.encode([text], max_length=2000)
    unknown = wrapper.explain_unknown([text])
    assert unknown.words == unknown.too_long == encoded.num_unknown
    assert unknown.longest > limit or not unknown.words
    assert not wrapper.removed_characters([text])
