"""What is told of words that are [UNK] and of characters that are lost, and whether the remedies work."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prepare.cases import write_csv
from textclf_jax.errors import UserError
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper


def sequences(count, length, letters="ACGT", seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices(letters, k=length)) for _ in range(count)]


def rows_of(texts):
    return [(text, "ab"[i % 2]) for i, text in enumerate(texts)]


@pytest.fixture
def made(tmp_path):
    """Prepares texts with two labels; returns the report, its warnings and its notes."""

    def make(texts, **changes):
        table = write_csv(tmp_path / "texts.csv", rows_of(texts))
        report = prepare(PrepareOptions(out=tmp_path / "data", inputs=(table,), force=True, **changes))
        return report, " ".join(report.warnings()), " ".join(report.advice(changes.get("max_length", 128)))

    return make


def test_words_that_are_all_too_long_are_refused_and_the_remedy_works(made):
    texts = sequences(40, 150)
    with pytest.raises(UserError, match=r"more than 100 characters \(the longest has 150\).*--max-word-length 150"):
        made(texts)
    report, warnings, notes = made(texts, max_word_length=150)
    assert report.splits["train"].unknown_tokens == 0
    assert "[UNK]" not in warnings + notes
    with pytest.raises(UserError, match=r"the longest has 2,000.*Remedy: divide them by spaces\.$"):
        made(sequences(40, 2000))


def test_a_split_of_long_words_is_refused(made, tmp_path):
    train = write_csv(tmp_path / "train.csv", rows_of(["ACGT GTCA"] * 20))
    test = write_csv(tmp_path / "test.csv", rows_of(sequences(8, 120)))
    files = {"train": (train,), "test": (test,), "val_fraction": 0}
    with pytest.raises(UserError, match=r"100.0% of the tokens of the test split are \[UNK\].*--max-word-length 120"):
        prepare(PrepareOptions(out=tmp_path / "data", **files))
    assert not (tmp_path / "data").exists()
    prepare(PrepareOptions(out=tmp_path / "data", **files, max_word_length=120))


def test_some_long_words_are_a_note_and_many_a_warning(made):
    short = "a text of some words that all are known to the vocabulary , and that has many of them"
    texts = [short] * 60 + [f"{short} {word}" for word in sequences(4, 130, "ab")]
    report, warnings, notes = made(texts)
    assert sum(split.unknown_tokens for split in report.splits.values()) == 4
    assert "4 words of more than 100 characters are [UNK] (the longest has 130)" in warnings + notes
    assert "--max-word-length 130" in warnings + notes
    texts = [f"two words {word}" for word in sequences(40, 130, "ab")]
    report, warnings, notes = made(texts)
    assert "train 33.3% (92.9% of the characters)" in warnings
    assert "40 words of more than 100 characters are [UNK] (the longest has 130). Remedy" in warnings
    assert "would do" not in notes  # advice on the length of rows that are little else than [UNK]
    assert "would do" in made(texts, max_word_length=130)[2] or made(texts, max_word_length=130)[1] == ""


def ideographs(count=300, seed=0):
    rng = random.Random(seed)
    alphabet = [chr(0x4E00 + i) for i in range(800)]
    return ["".join(rng.choices(alphabet, k=40)) for _ in range(count)]


def test_a_limited_alphabet_is_told_and_the_remedy_works(made):
    report, warnings, notes = made(ideographs(), limit_alphabet=600)
    assert report.vocabulary.num_left_out == 200
    assert "200 characters (15.97% of the training texts)" in notes
    assert 0.05 < report.splits["train"].unknown_rate < 0.5
    assert "words with characters that the vocabulary lacks are [UNK] (" in warnings
    assert "--vocab-size 1610 without --limit-alphabet" in warnings
    report, warnings, notes = made(ideographs(), vocab_size=1610)
    assert "[UNK]" not in warnings + notes
    assert report.splits["test"].unknown_tokens == 0


def test_a_vocabulary_made_for_other_texts(made, tmp_path):
    WordPieceTokenizerWrapper().train(texts=["some words in English"], out_dir=tmp_path / "english")
    with pytest.raises(UserError, match=r"characters that the vocabulary lacks.*leave out --vocab"):
        made(ideographs(40), vocab=tmp_path / "english")
    (tmp_path / "cased.txt").write_text("\n".join([*SPECIAL_TOKENS, "Words", *"wordsi", *map("##{}".format, "wordsi")]))
    _, warnings, _ = made(
        ["words words words words WORDS " + "si" * (1 + i) for i in range(20)], vocab=tmp_path / "cased.txt"
    )
    assert "20 words that the vocabulary has in another case are [UNK]. Remedy: leave out --vocab" in warnings


def test_capitals_and_accents_that_training_lacks(tmp_path):
    train = write_csv(tmp_path / "train.csv", rows_of(["a cafe of the town", "the town of a face"] * 10))
    test = write_csv(tmp_path / "test.csv", rows_of(["a café OF the town"] * 4))
    report = prepare(
        PrepareOptions(out=tmp_path / "data", train=(train,), test=(test,), lowercase=False, val_fraction=0.1)
    )
    (warning,) = report.warnings()
    assert "test 40.0%" in warning
    assert "in another case are [UNK]. Remedy: leave out --no-lowercase." in warning
    assert "with other accents are [UNK]. Remedy: --strip-accents." in warning
    report = prepare(
        PrepareOptions(out=tmp_path / "ok", train=(train,), test=(test,), strip_accents=True, val_fraction=0.1)
    )
    assert not list(report.warnings())
    assert report.splits["test"].unknown_tokens == 0


def test_unknown_words_of_extra_text_are_told(tmp_path):
    train = write_csv(tmp_path / "train.csv", rows_of(["a few words"] * 10))
    (tmp_path / "extra.txt").write_text("\n".join(f"few words {word}" for word in sequences(10, 150)))
    files = {"train": (train,), "extra_text": (tmp_path / "extra.txt",), "val_fraction": 0}
    report = prepare(PrepareOptions(out=tmp_path / "data", **files))
    assert report.splits["train"].unknown_tokens == 0
    (warning,) = report.warnings()
    assert "train with extra text 16.7%" in warning
    assert "10 words of more than 100 characters" in warning
    assert not list(prepare(PrepareOptions(out=tmp_path / "long", **files, max_word_length=150)).warnings())
    report = prepare(PrepareOptions(out=tmp_path / "cls", **files, task="cls", limit_alphabet=5))
    assert report.splits["train"].with_extra_text is None  # which classification does not encode


def test_removed_characters_are_told(made):
    words = ["ก่อน", "นี้", "ทำไม", "ไม่"]
    texts = [f"{words[i % 4]} {words[i // 4 % 4]}" for i in range(40)]
    report, _, notes = made(texts)
    assert report.vocabulary.num_removed == 0
    assert "removes" not in notes
    report, _, notes = made(texts, strip_accents=True)
    assert report.vocabulary.num_removed == sum(text.count(mark) for text in texts for mark in "่ี้ั")
    assert "MAI EK" in notes
    assert "leave out --strip-accents" in notes


def test_small_room_for_pieces_is_told(made):
    _, _, notes = made(["".join(map(chr, range(0x3B1, 0x3C0)))] * 10 + ["αβγδε"] * 30, vocab_size=34)
    assert "Single characters take 29 of the 34 pieces" in notes


CHARACTERS = st.characters(categories=["L", "M", "N", "P", "S", "Cf", "Cc", "Co", "Zs"], exclude_characters="\0\r\n")
TEXTS = st.lists(st.text(CHARACTERS, min_size=1, max_size=30).filter(str.strip), min_size=8, max_size=16)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "lowercase": st.booleans(),
        "strip_accents": st.booleans(),
        "max_word_length": st.integers(2, 20),
        "limit_alphabet": st.integers(5, 100),
        "min_frequency": st.integers(1, 3),
        "task": st.sampled_from(["mlm", "cls"]),
    },
)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(TEXTS, CHANGES)
def test_strangers_never_lose_words_silently(tmp_path_factory, texts, changes):
    """Whatever the script: what is [UNK] is refused, or told with its cause where it is more than a twentieth."""
    folder = tmp_path_factory.mktemp("texts")
    train = write_csv(folder / "train.csv", rows_of(texts + texts))
    try:
        report = prepare(PrepareOptions(out=folder / "data", train=(train,), test=(train,), val_fraction=0, **changes))
    except UserError as refusal:
        told = str(refusal)
        assert any(part in told for part in ("are [UNK]. ", "Remedy", "characters are removed", "all words have"))
        return
    told = " ".join([*report.warnings(), *report.advice(128)])
    for split in report.splits.values():
        assert split.unknown_words.words == split.unknown_tokens <= split.tokens / 2
        if split.unknown_rate > 0.05:
            assert "are [UNK]" in told
            assert "Remedy" in told
        if split.unknown_words.too_long:
            assert "--max-word-length" in told
    if "limit_alphabet" not in changes and "max_word_length" not in changes:
        assert report.splits["train"].unknown_tokens == sum(text.count("[UNK]") for text in texts)
    if report.vocabulary.num_removed > 0.01 * report.vocabulary.num_characters:
        assert "The normalisation removes" in told
