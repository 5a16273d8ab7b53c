"""Reproducible training, and vocabulary files."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

# many ties: each word occurs equally often, as do most pairs and letters
WORDS = [a + b + c for a in "abcdefgh" for b in ("lo", "mi", "nu") for c in "pqrst"]
TEXTS = [" ".join(WORDS[i::7]) for i in range(7)] * 2
ODD_PIECES = ["\u0448", "\u2028", "\x0b", "\x85", "\xa0", "##\u0301", "a\ufeff", "\U0001f600"]
TRAIN = """
import sys, json
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper
wrapper = WordPieceTokenizerWrapper().train(texts=json.load(sys.stdin), vocab_size=70, limit_alphabet=12)
print(wrapper.fingerprint)
"""


def test_training_is_the_same_in_every_process():
    fingerprints = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": "true"}
        done = subprocess.run(
            [sys.executable, "-c", TRAIN], input=json.dumps(TEXTS), capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        fingerprints.add(done.stdout.strip())
    assert len(fingerprints) == 1


def test_order_of_ids_and_limit_of_the_alphabet():
    tokens = WordPieceTokenizerWrapper().train(texts=["bab bac bad"] * 3, vocab_size=13, limit_alphabet=3).tokens
    # b, a and one of the equally frequent c, d: the one with the smaller code point
    assert tokens[:8] == (*SPECIAL_TOKENS, "a", "b", "c")
    assert tokens[8:11] == ("##a", "##b", "##c")
    assert len(tokens) == 13


@pytest.mark.golden
def test_training_agrees_with_the_reference_but_for_its_ties(golden):
    entry = next(e for e in golden.entries("tokenizer") if e["file"] == "tokenizer/vocab/vocab.txt")
    config = entry["config"]
    wrapper = WordPieceTokenizerWrapper().train(
        golden.path / "tokenizer" / "corpus.txt",
        vocab_size=config["vocab_size"],
        min_frequency=config["min_frequency"],
        lowercase=config["lowercase"],
        strip_accents=config["strip_accents"],
    )
    theirs = WordPieceTokenizerWrapper().load(golden.path / "tokenizer" / "vocab")
    fixed = entry["expected"]["ids_below_are_specials_then_sorted_alphabet"]
    assert wrapper.tokens[:fixed] == theirs.tokens[:fixed]
    ours, reference = set(wrapper.tokens), set(theirs.tokens)
    assert len(ours & reference) / len(ours | reference) >= 0.95


def test_vocab_size_too_small_and_no_text():
    with pytest.raises(UserError, match=r"vocab_size 6 is too small: .* take 1\d"):
        WordPieceTokenizerWrapper().train(texts=["abc abc"], vocab_size=6)
    with pytest.raises(UserError, match="no text"):
        WordPieceTokenizerWrapper().train(texts=["", "  "])


@pytest.fixture
def vocab_dir(tmp_path):
    WordPieceTokenizerWrapper().train(texts=["some Words to learn"] * 3, vocab_size=60, out_dir=tmp_path / "vocab")
    return tmp_path / "vocab"


def test_either_file_alone_gives_the_same_tokenizer(vocab_dir):
    both = WordPieceTokenizerWrapper().load(vocab_dir)
    for name in ("vocab.txt", "tokenizer.json"):
        alone = WordPieceTokenizerWrapper().load(vocab_dir / name)
        assert alone.fingerprint == both.fingerprint
        text = ["Some wörds [MASK] too"]
        assert (alone.encode(text, max_length=20).input_ids == both.encode(text, max_length=20).input_ids).all()


def test_case_of_a_lone_vocab_txt(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "Word", "word"]) + "\n")
    cased = WordPieceTokenizerWrapper().load(tmp_path)
    assert cased.encode(["Word word"], max_length=4).input_ids.tolist() == [[2, 5, 6, 3]]
    folded = WordPieceTokenizerWrapper().load(tmp_path, lowercase=True)
    assert folded.encode(["Word word"], max_length=4).input_ids.tolist() == [[2, 6, 6, 3]]


@given(
    st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans(), st.lists(st.sampled_from(ODD_PIECES), unique=True)
)
@settings(deadline=None, derandomize=True, max_examples=20)
def test_strangers_vocab_txt_of_other_line_ends_and_with_a_byte_order_mark(tmp_path_factory, end, last_end, mark, odd):
    tokens = [*SPECIAL_TOKENS, "word", *odd]
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_bytes(("\ufeff" * mark + end.join(tokens) + end * last_end).encode())
    for place in (path, path.parent):
        assert WordPieceTokenizerWrapper().load(place).tokens == tuple(tokens)


def test_special_tokens_may_have_any_id(tmp_path):
    order = ["word", "[MASK]", "[SEP]", "[UNK]", "[PAD]", "[CLS]"]
    (tmp_path / "vocab.txt").write_text("\n".join(order))
    wrapper = WordPieceTokenizerWrapper().load(tmp_path)
    assert (wrapper.pad_id, wrapper.unk_id, wrapper.cls_id, wrapper.sep_id, wrapper.mask_id) == (4, 3, 5, 2, 1)
    assert wrapper.encode(["word other"], max_length=5).input_ids.tolist() == [[5, 0, 3, 2, 4]]


def test_faulty_vocabularies_are_refused(vocab_dir, tmp_path):
    def refused(message, path=tmp_path):
        with pytest.raises(UserError, match=message) as caught:
            WordPieceTokenizerWrapper().load(path)
        assert str(tmp_path) in str(caught.value)

    refused("no such vocabulary", tmp_path / "none")
    refused("holds neither tokenizer.json nor vocab.txt")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nword\n")
    refused(r"lacks \[CLS\], \[MASK\], \[SEP\]")
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "a", "b", "a"]))
    refused("line 8: 'a' is already on line 6")
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "a", "", "b"]))
    refused("line 7: is blank")
    (tmp_path / "vocab.txt").write_bytes("\r".join([*SPECIAL_TOKENS, "a"]).encode())
    refused("lacks")
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIAL_TOKENS))
    refused("nothing but special tokens")
    (tmp_path / "tokenizer.json").write_text("{")
    refused("not a serialised tokenizer", tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    refused("holds a BPE tokenizer", tmp_path / "tokenizer.json")
    text = (vocab_dir / "vocab.txt").read_text().splitlines()
    (vocab_dir / "vocab.txt").write_text("\n".join([*text[:10], "other", *text[11:]]))
    refused("disagree.*first difference at id 10", vocab_dir)


def test_the_wrapper_needs_neither_torch_nor_jax():
    code = (
        "import sys; import textclf_jax.tokenizer.wordpiece_tokenizer_wrapper as w; "
        "w.WordPieceTokenizerWrapper().train(texts=['a b']*3).encode(['a'], max_length=4); "
        "assert not {'torch', 'jax', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
