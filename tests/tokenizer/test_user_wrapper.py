"""Users' wrappers of many kinds: what they are called with, what they may return, and what is made of it."""

import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.config.schema import MlmHead, Tokenizer
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import load_kept, load_wrapper
from textclf_jax.tokenizer.rows import unmarked_padding
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS

IDS = np.array([[2, 5, 6, 7, 8, 9, 3, 0], [2, 9, 8, 1, 3, 0, 0, 0]])
PAD = IDS == 0
ORDINARY = IDS > 4
SETTINGS = MlmHead(mask_p=0.5)
SEED = np.random.SeedSequence([1, 2, 3])

# the way of the PyTorch reference: every position is chosen alike, special tokens and padding too
REFERENCE = """
import torch

class FastTokenizer:
    vocab_size, pad_token_id, mask_token_id = 12, 0, 4

    def get_vocab(self):
        return {token: i for i, token in enumerate("[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g".split())}

    def __call__(self, texts, padding, truncation, max_length):
        assert (padding, truncation) == ("max_length", True)
        vocabulary = self.get_vocab()
        rows = [[2, *(vocabulary.get(word, 1) for word in text.split()), 3] for text in texts]
        return {
            "input_ids": [row + [0] * (max_length - len(row)) for row in rows],
            "attention_mask": [[1] * len(row) + [0] * (max_length - len(row)) for row in rows],
        }

class WordPieceTokenizerWrapper:
    def __init__(self):
        self.tokenizer = None

    def load(self, tokenizer_dir="./BERT_original"):
        self.tokenizer = FastTokenizer()

    def encode(self, input, max_length, labels=None):
        return [open(path).read() for path in input]

    def mask_input_for_mlm(self, input_ids, mask_p=0.15, mask_token_p=0.8, random_token_p=0.1):
        assert input_ids.dtype == torch.long
        chosen = torch.rand(input_ids.shape) < mask_p
        masked = torch.where(chosen, self.tokenizer.mask_token_id, input_ids)
        return masked, torch.where(chosen, input_ids, -100)
"""

SIMPLE = """
import collections, functools
import numpy as np
import torch

class Wrapper:
    vocab_size, pad_id = 12, 0
    special_ids = [0, 1, 2, 3, 4]
    def load(self, vocab_dir):
        self.vocab_dir = vocab_dir
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "vocab").mkdir()
    (tmp_path / "vocab" / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *"abcdefg"]) + "\n")
    return tmp_path


def load(root: Path, code: str):
    (root / "mine.py").write_text(textwrap.dedent(code))
    return load_wrapper("mine.py", "vocab", root=root)


def method(
    body: str, head: str = "(self, input_ids, mask_p, mask_token_p, random_token_p)", decorator: str = ""
) -> str:
    return f"{SIMPLE}    {decorator}\n    def mask_input_for_mlm{head}:\n        {body}\n"


def test_a_wrapper_of_the_reference_works_unchanged(root, capsys):
    loaded = load(root, REFERENCE)
    masked, labels = loaded.mask(IDS, PAD, SETTINGS, SEED)
    chosen = labels != -100
    assert chosen.any()
    assert not (chosen & ~ORDINARY).any()
    np.testing.assert_array_equal(labels[chosen], IDS[chosen])
    np.testing.assert_array_equal(masked, np.where(chosen, 4, IDS))
    capsys.readouterr()
    for seed in range(5):
        loaded.mask(IDS, PAD, SETTINGS, np.random.SeedSequence(seed))
    assert capsys.readouterr().err == ""  # said once, with the first batch


def test_chosen_special_tokens_are_spoken_of_once(root, capsys):
    loaded = load(root, REFERENCE)
    capsys.readouterr()
    for seed in range(20):
        loaded.mask(IDS, PAD, SETTINGS, np.random.SeedSequence(seed))
    said = capsys.readouterr().err
    assert said.count("\n") == said.count("special tokens or padding") == 1


def test_the_references_tokenizer_encodes_texts_which_its_encode_would_take_for_files(root):
    ids, padding = load(root, REFERENCE).encode_texts(["a b", "vocab g", ""], 5)
    assert ids.tolist() == [[2, 5, 6, 3, 0], [2, 1, 11, 3, 0], [2, 3, 0, 0, 0]]
    assert padding.sum(axis=1).tolist() == [1, 1, 3]


@pytest.mark.parametrize(
    ("head", "decorator"),
    [
        ("(self, input_ids, attention_mask, mask_p, mask_token_p, random_token_p)", ""),
        ("(self, input_ids, mask_p, mask_token_p, random_token_p, attention_mask=None)", ""),
        ("(self, input_ids, attention_mask, /, *, mask_p, **options)", ""),
        ("(input_ids, *, attention_mask, mask_p, **options)", "@staticmethod"),
        ("(cls, input_ids, attention_mask, mask_p, **options)", "@classmethod"),
    ],
)
def test_the_attention_mask_arrives_as_a_tensor_where_it_is_asked_for(root, head, decorator):
    body = "assert attention_mask.dtype == torch.bool\n        assert mask_p == 0.5\n        "
    body += "return torch.where(attention_mask, input_ids, 4), torch.where(attention_mask, -100, input_ids)"
    masked, labels = load(root, method(body, head, decorator)).mask(IDS, PAD, SETTINGS, SEED)
    np.testing.assert_array_equal(masked, np.where(ORDINARY, 4, IDS))
    np.testing.assert_array_equal(labels, np.where(ORDINARY, IDS, -100))


@pytest.mark.parametrize(
    "answer",
    [
        "masked, labels",
        "[masked, labels]",
        "masked.numpy(), labels.numpy()",
        "masked.int(), labels.short()",
        "{'masked_ids': masked, 'labels': labels}",
        "{'labels': labels, 'masked_input_ids': masked.numpy()}",
        "collections.UserDict(input_ids=masked, labels=labels)",
        "collections.namedtuple('Masks', 'ids labels')(masked, labels)",
        "masked, labels, chosen",
    ],
)
def test_answers_in_many_forms(root, answer):
    body = "chosen = input_ids == 8\n        masked = torch.where(chosen, 4, input_ids)\n        "
    body += f"labels = torch.where(chosen, input_ids, -100)\n        return {answer}"
    masked, labels = load(root, method(body)).mask(IDS.astype(np.int32), PAD, SETTINGS, SEED)
    assert masked.dtype == labels.dtype == np.int32
    np.testing.assert_array_equal(masked, np.where(IDS == 8, 4, IDS))
    np.testing.assert_array_equal(labels, np.where(IDS == 8, 8, -100))


def test_shares_without_a_parameter_and_other_shares_are_said(root, capsys):
    code = method("return torch.full_like(input_ids, 4), input_ids", "(self, input_ids, mask_token_p)")
    ids = np.full((4, 50), 7)
    loaded = load(root, code)
    capsys.readouterr()
    for _ in range(3):
        loaded.mask(ids, ids == 0, MlmHead(mask_p=0.15), SEED)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("mine.py: ")[2] for line in lines] == [
        "mask_input_for_mlm has no parameter mask_p: mlm_head.mask_p has no effect",
        "mask_input_for_mlm has no parameter random_token_p: mlm_head.random_token_p has no effect",
        "mask_input_for_mlm chose 200 of 200 tokens of a batch; only about mlm_head.mask_p 0.15 of them are predicted. "
        "Labels are -100 where nothing is to be predicted; if so many are meant, set mask_p to their share.",
    ]


@pytest.mark.parametrize(
    ("facts", "special"),
    [
        ("special_ids = [0, 7]", {0, 7}),
        ("all_special_ids = (0, 8, 40)", {0, 8}),
        ("cls_id, sep_token_id = 5, None", {0, 5}),
        ("def bos_id(self): return 6\n    def eos_id(self, of): return 7", {0, 6}),
        ("tokenizer = type('T', (), {'all_special_ids': [0, 9]})()", {0, 9}),
        ("tokenizer = type('T', (), {'get_vocab': lambda self: {'<s>': 5, 'a': 6, '</s>': 7}})()", {0, 5, 7}),
    ],
)
def test_where_special_tokens_are_found(root, facts, special):
    (root / "vocab" / "vocab.txt").unlink()
    code = method("return input_ids, input_ids").replace("special_ids = [0, 1, 2, 3, 4]", facts)
    assert set(np.flatnonzero(load(root, code).is_special)) == special


def refused(root, code, *messages, act=lambda loaded: loaded.mask(IDS, PAD, SETTINGS, SEED)):
    with pytest.raises(UserError) as caught:
        act(load(root, code))
    for message in (str(root / "mine.py"), *messages):
        assert message in str(caught.value)


CONTRACT = "load(vocab_dir) and mask_input_for_mlm(input_ids, mask_p=..., mask_token_p=..., random_token_p=...)"


def test_errors_of_calling_state_the_contract(root):
    strange = "(self, input_ids, pad_mask, mask_p, mask_token_p, random_token_p)"
    refused(root, method("pass", strange), "asks for pad_mask", CONTRACT, "docs/how-to/tokenizer.md")
    hidden = "lambda f: lambda *a, **k: f(*a, **k)"
    code = method("return input_ids, input_ids", "(self, input_ids, attention_mask, **shares)", f"@({hidden})")
    refused(root, code, "missing 1 required positional argument: 'attention_mask'", CONTRACT)
    refused(root, method("return input_ids"), CONTRACT)
    refused(root, "x = 1", CONTRACT)
    refused(root, SIMPLE, "has no mask_input_for_mlm", CONTRACT)


def test_of_several_classes_the_references_name_decides(root):
    both = REFERENCE + method("return input_ids, input_ids")
    assert type(load(root, both).wrapper).__name__ == "WordPieceTokenizerWrapper"
    imported = "from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper"
    assert load(root, imported).vocab_size == 12


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("ids != 0", "not that of row 0"),  # True = real: the other convention
        ("ids == 5", "not that of row 0"),
        ("torch.roll(ids == 0, 1, 1)", "not that of row 0"),
        ("torch.zeros_like(ids)", "does not mark the padding (id 0) at the end of row 0"),
        ("ids == 0", None),
    ],
)
def test_a_wrong_mask_of_encode_is_refused(root, mask, message):
    body = "return input_ids, input_ids\n    def encode(self, texts, max_length):\n        "
    body += f"ids = torch.tensor([[2, 5, 5, 3, 0, 0]] * len(texts))\n        return ids, {mask}"
    code = method(body)
    if message:
        refused(root, code, message, act=lambda loaded: loaded.encode_texts(["a"], 6))
    assert message or load(root, code).encode_texts(["a"], 5)[0].tolist() == [[2, 5, 5, 3, 0]]
    if not message:
        refused(root, code, "a row of 4 tokens", act=lambda loaded: loaded.encode_texts(["a"], 3))


@pytest.mark.parametrize(
    ("rows", "lengths", "row"),
    [
        ([[2, 5, 6, 3], [2, 5, 3, 0]], [4, 4], 1),  # padded to the longest, and nothing is marked
        ([[2, 5, 0, 0], [2, 5, 6, 0]], [3, 4], None),  # each text ends with this id
        ([[2, 5, 6, 7, 8, 9], [2, 5, 0, 0, 0, 0]], [6, 3], None),  # ... unless it is cut
        ([[2, 0, 5, 3], [2, 5, 3, 0]], [4, 3], None),  # it stands in a text
        ([[0, 0, 0], [2, 3, 0]], [0, 2], None),
        ([[0, 0, 0], [2, 3, 0]], [3, 2], 0),
    ],
)
def test_padding_that_the_mask_leaves_out_is_found(rows, lengths, row):
    ids = np.array(rows)
    mask = np.arange(ids.shape[1]) >= np.array(lengths)[:, None]
    assert unmarked_padding(ids == 0, mask, 6) == row


@pytest.mark.parametrize(
    ("name", "content"),
    [("spm.model", b"\x00\xff\xfe"), ("tokenizer.json", b'{\n"a": 1\n}\n'), ("vocab.txt", "n\xe4\n".encode("latin-1"))],
)
def test_a_vocabulary_of_another_form_is_the_wrappers_own_matter(root, name, content):
    (root / name).write_bytes(content)
    (root / "mine.py").write_text(method("return input_ids, input_ids"))
    loaded = load_wrapper("mine.py", name, root=root)
    assert (loaded.vocab_size, loaded.pad_id, loaded.tokens) == (12, 0, None)
    without_size = method("return input_ids, input_ids").replace("vocab_size, pad_id = 12, 0", "pad_id = 0")
    (root / "mine.py").write_text(without_size)
    with pytest.raises(UserError, match=r"Give it an attribute vocab_size, or let tokenizer\.vocab_dir"):
        load_wrapper("mine.py", name, root=root)


def test_added_tokens_that_are_none_name_the_call(root):
    code = method("return input_ids, input_ids")
    code += "    @property\n    def tokenizer(self):\n        return self\n"
    code += "    def get_added_tokens_decoder(self):\n        return {0: '[PAD]'}\n"
    refused(root, code, "failed in tokenizer.get_added_tokens_decoder", act=lambda loaded: None)


def test_encodings_of_one_dimension_are_refused(root):
    body = "return input_ids, input_ids\n    def encode(self, texts, max_length):\n        "
    code = method(body + "ids = torch.tensor([5] * len(texts))\n        return ids, ids == 0")
    refused(root, code, "input_ids of shape (2,)", act=lambda loaded: loaded.encode_texts(["a", "b"], 6))


def test_files_that_a_model_keeps(root):
    vocab = root / "vocab"
    for name in ("tokenizer_config.json", "rules.txt", "spiece.model", "pytorch_model.bin", "x.safetensors", ".hidden"):
        (vocab / name).write_bytes(b"{}" if name.endswith(".json") else b"x")
    with (vocab / "corpus.txt").open("wb") as file:
        file.truncate(11_000_000)
    (vocab / "folder").mkdir()
    loaded = load(root, REFERENCE)
    assert set(loaded.files) == {"vocab.txt", "tokenizer_config.json", "rules.txt", "spiece.model", "mine.py"}
    assert [Path(note.split(" ")[0]).name for note in loaded.notes] == [
        "corpus.txt",
        "pytorch_model.bin",
        "x.safetensors",
    ]
    # the project's own reads no others, so there is nothing to say
    (vocab / "tokenizer_config.json").unlink()
    own = load_wrapper("tokenizer/wordpiece_tokenizer_wrapper.py", "vocab", root=root)
    (root / "kept").mkdir()
    own.save(root / "kept")
    assert {path.name for path in (root / "kept").iterdir()} == {"vocab.txt", "tokenizer.json"}
    assert own.notes == ()
    assert load_kept(root / "kept", Tokenizer(vocab_dir="vocab")).fingerprint == own.fingerprint


@pytest.mark.parametrize("vocab_dir", ["vocab", "vocab/vocab.txt"])
def test_a_class_that_was_given_a_file_gets_a_file_again(root, vocab_dir):
    (root / "mine.py").write_text(method("return input_ids, input_ids"))
    settings = Tokenizer(wrapper_path="mine.py", vocab_dir=vocab_dir)
    loaded = load_wrapper(settings.wrapper_path, settings.vocab_dir, root=root)
    kept = root / "kept"
    kept.mkdir()
    loaded.save(kept)
    again = load_kept(kept, settings)
    assert again.fingerprint == loaded.fingerprint
    assert Path(again.wrapper.vocab_dir) == (kept / "vocab.txt" if vocab_dir.endswith(".txt") else kept)


@pytest.fixture(scope="module")
def of_the_reference(tmp_path_factory):
    return load(tmp_path_factory.mktemp("reference"), REFERENCE)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.integers(0, 2**32), st.floats(0.01, 1.0), st.floats(0.0, 1.0))
def test_strangers_batches_never_predict_special_tokens(of_the_reference, seed, mask_p, mask_token_p):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 12, (rng.integers(1, 5), rng.integers(1, 30)))
    padding = np.arange(ids.shape[1]) >= rng.integers(0, ids.shape[1] + 1, (len(ids), 1))
    ids[padding] = 0
    head = MlmHead(mask_p=mask_p, mask_token_p=mask_token_p, random_token_p=0.0)
    masked, labels = of_the_reference.mask(ids, padding, head, np.random.SeedSequence(seed))
    chosen = labels != -100
    assert not (chosen & ((ids < 5) | padding)).any()
    assert (labels[chosen] == ids[chosen]).all()
    assert (masked == np.where(chosen, 4, ids)).all()
