"""Words, characters and their sequences for TF-IDF, in every script."""

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.evaluation.words import SPACELESS, count_units

SCIKIT_LEARN = re.compile(r"(?u)\b\w+\b")


def test_words_and_pairs():
    assert count_units("A cat, a_b 3!") == ["a", "cat", "a_b", "3", "a cat", "cat a_b", "a_b 3"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("cafe\u0301 İ", ["café", "i\u0307"]),
        ("می\u200cروم x\u200d", ["می\u200cروم", "x"]),
        ("日本語。X5型", ["日", "本", "語", "x5", "型"]),
        ("ก่อน ok", ["ก่", "อ", "น", "ok"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("ລາວ", ["ລ", "າ", "ວ"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("1\ufe0f\u20e3 ❤\ufe0f", ["1"]),
        ("\u0301\u0301 !", []),
    ],
)
def test_words_of_other_scripts(text, words):
    text = unicodedata.normalize("NFC", text)
    assert count_units(text)[: len(words)] == [unicodedata.normalize("NFC", word) for word in words]
    assert (len(words) > 0) == bool(count_units(text))


def test_sequences_of_three_characters_stay_within_a_run():
    assert count_units("日本語学 東京 a") == [
        *("日", "本", "語", "学", "東", "京", "a"),
        *("日 本", "本 語", "語 学", "学 東", "東 京", "京 a"),
        *("日 本 語", "本 語 学"),
    ]


LATIN = st.characters(max_codepoint=0x24F, exclude_categories=["Cs"]) | st.sampled_from("αβγжя—…“”’€")


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.text(LATIN, max_size=60))
def test_strangers_have_their_latin_words_as_before(text):
    composed = unicodedata.normalize("NFC", text.lower())
    words = SCIKIT_LEARN.findall(composed)
    if not re.search("[\u0300-\u036f]", composed):
        assert count_units(text) == words + [f"{a} {b}" for a, b in pairwise(words)]


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.text(st.characters(categories=["L", "Mn", "Mc", "Nd", "Zs", "Po"]), min_size=1, max_size=40))
def test_strangers_lose_no_letter(text):
    """Every letter and digit of any script is in one word, in order; marks only follow letters."""
    composed = unicodedata.normalize("NFC", text.lower())
    units = count_units(text)
    letters = "".join(c for c in composed if c.isalnum())
    size = next((n for n in range(len(units) + 1) if "".join(filter(str.isalnum, "".join(units[:n]))) == letters), None)
    assert size is not None
    assert all(word[0].isalnum() and not re.search(f"[{SPACELESS}].*[^\\W\\d_]", word[1:]) for word in units[:size])
