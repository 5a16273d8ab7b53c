"""Causes of [UNK]."""

import pytest

from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS, bert_normalizer, build_tokenizer, save_tokenizer
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper


def load(tmp_path, *pieces, lowercase, strip_accents=None, max_word_length=100):
    trained = WordPieceTokenizerWrapper().train(texts=["a"])
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, *pieces], bert_normalizer(lowercase, strip_accents), max_word_length)
    trained._adopt(tokenizer, "test")
    save_tokenizer(tmp_path, tokenizer, trained._vocabulary)
    return WordPieceTokenizerWrapper().load(tmp_path)


def test_every_cause_is_counted(tmp_path):
    wrapper = load(tmp_path, "a", "b", "##b", "cafe", lowercase=False, max_word_length=6)
    texts = ["ab AB Abb Café", "abbbbbbb a abbbbbb", "龍 鳳 龍 [UNK] ba"]
    unknown = wrapper.explain_unknown(texts)
    assert unknown.words == wrapper.encode(texts, max_length=20).num_unknown == 10
    assert (unknown.other_case, unknown.too_long, unknown.longest, unknown.max_word_length) == (2, 2, 8, 6)
    assert (unknown.lacking_characters, unknown.missing, unknown.written) == (3, "龍鳳", 1)
    assert unknown.other_accents == 1
    assert unknown.characters == len("ABAbbCaféabbbbbbbabbbbbb龍鳳龍[UNK]ba")  # "ba" has no cause: there is no ##a
    assert (unknown + unknown).words == 20
    assert (unknown + unknown).longest == 8


@pytest.mark.parametrize("strip_accents", [None, True])
def test_a_normalisation_that_does_not_fit_the_pieces(tmp_path, strip_accents):
    wrapper = load(tmp_path, "Café", "cafés", lowercase=True, strip_accents=strip_accents)
    unknown = wrapper.explain_unknown(["Café cafés"])
    assert (unknown.words, unknown.other_case) == (2, 2)


def test_removed_characters(tmp_path):
    stripping = load(tmp_path, "a", lowercase=True)
    assert stripping.removed_characters(["a é\u200d\u200d", "ก่ [x]-^\\ \x01"]) == {
        "é": 1,
        "\u200d": 2,
        "่": 1,
        "\x01": 1,
    }
    keeping = load(tmp_path, "a", lowercase=True, strip_accents=False)
    assert keeping.removed_characters(["a é\u200d", "ก่ İ ẞ 漢\u3000字 \u0344 क़ 한"]) == {"\u200d": 1}
