"""The project's tokenizer and users' wrappers, loaded by path."""

import random
import textwrap
from pathlib import Path

import numpy as np
import pytest

from textclf_jax.config.schema import DEFAULT_WRAPPER, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import load_wrapper
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

IDS = np.array([[2, 5, 6, 7, 8, 9, 3, 0], [2, 9, 8, 7, 3, 0, 0, 0]])
PAD = IDS == 0
SETTINGS = MlmHead(mask_p=0.5)
SEED = np.random.SeedSequence([1, 2, 3])

USERS = """
import torch
from torch.utils.data import TensorDataset

class Wrapper:
    vocab_size = 12
    pad_id = 0

    def load(self, vocab_dir):
        self.vocab_dir = vocab_dir

    def encode(self, texts, max_length):
        ids = torch.full((len(texts), max_length), 5)
        return TensorDataset(ids, ids == 0)

    def mask_input_for_mlm(self, input_ids, attention_mask, mask_p, mask_token_p=0.8, random_token_p=0.1):
        assert input_ids.dtype == torch.long and attention_mask.dtype == torch.bool
        chosen = (torch.rand(input_ids.shape) < mask_p) & ~attention_mask
        return torch.where(chosen, 4, input_ids), torch.where(chosen, input_ids, -100)
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "vocab").mkdir()
    (tmp_path / "vocab" / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *"abcdefg"]) + "\n")
    return tmp_path


def load_users(root: Path, code: str = USERS):
    (root / "mine.py").write_text(textwrap.dedent(code))
    return load_wrapper("mine.py", "vocab", root=root)


@pytest.mark.parametrize("path", [DEFAULT_WRAPPER, "src/textclf_transformer/tokenizer/wordpiece_tokenizer_wrapper.py"])
def test_the_default_and_the_path_of_older_configs_are_ours(root, path):
    loaded = load_wrapper(path, "vocab", root=root)
    ours = WordPieceTokenizerWrapper().load(root / "vocab")
    assert (loaded.source, loaded.sha256) == (None, None)
    assert (loaded.vocab_size, loaded.pad_id, loaded.fingerprint) == (12, 0, ours.fingerprint)
    masked, labels = loaded.mask(IDS, PAD, SETTINGS, SEED)
    expected = ours.mask_input_for_mlm(
        IDS, PAD, mask_p=0.5, mask_token_p=0.8, random_token_p=0.1, rng=np.random.default_rng(SEED)
    )
    np.testing.assert_array_equal((masked, labels), expected)
    ids, mask = loaded.encode_texts(["a b", "c"], 4)
    assert ids.tolist() == [[2, 5, 6, 3], [2, 7, 3, 0]]
    assert mask.tolist() == [[False] * 4, [False] * 3 + [True]]


def test_a_users_wrapper(root):
    loaded = load_users(root)
    assert loaded.source == root / "mine.py"
    assert loaded.sha256 is not None
    assert len(loaded.sha256) == 64
    assert (loaded.vocab_size, loaded.pad_id) == (12, 0)
    assert loaded.fingerprint == WordPieceTokenizerWrapper().load(root / "vocab").fingerprint
    ids, mask = loaded.encode_texts(["a", "b"], 6)
    assert (ids.tolist(), mask.any()) == ([[5] * 6] * 2, False)


def test_a_users_masks_depend_on_the_seed_alone(root):
    import torch

    loaded = load_users(root)
    ids = IDS.astype(np.int32)
    random.seed(5)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002
    random.seed(5)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    first = loaded.mask(ids, PAD, SETTINGS, SEED)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected  # noqa: NPY002
    torch.rand(7)
    again = loaded.mask(ids, PAD, SETTINGS, SEED)
    np.testing.assert_array_equal(first, again)
    assert first[0].dtype == first[1].dtype == np.int32
    others = [loaded.mask(ids, PAD, SETTINGS, np.random.SeedSequence(i))[0] for i in range(8)]
    assert any((other != first[0]).any() for other in others)


def test_load_may_return_the_tokenizer_and_masks_may_be_a_dict(root):
    code = """
        import torch
        class Masker:
            vocab_size, pad_id = 12, 0
            def mask_input_for_mlm(self, input_ids, attention_mask, **shares):
                assert set(shares) == {"mask_p", "mask_token_p", "random_token_p"}
                return {"labels": input_ids, "masked_ids": torch.full_like(input_ids, 4)}
        class Wrapper(Masker):
            @classmethod
            def load(cls, vocab_dir):
                return Masker()
    """
    masked, labels = load_users(root, code).mask(IDS, PAD, SETTINGS, SEED)
    np.testing.assert_array_equal(masked, np.where(IDS > 4, 4, IDS))
    np.testing.assert_array_equal(labels, np.where(IDS > 4, IDS, -100))


def test_a_subclass_of_ours_keeps_the_numpy_convention(root):
    code = """
        from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper
        class Everything(WordPieceTokenizerWrapper):
            def mask_input_for_mlm(self, input_ids, attention_mask, **options):
                return super().mask_input_for_mlm(input_ids, attention_mask, **{**options, "mask_p": 1.0})
    """
    loaded = load_users(root, code)
    _, labels = loaded.mask(IDS, PAD, SETTINGS, SEED)
    np.testing.assert_array_equal(labels, np.where(IDS > 4, IDS, -100))
    assert loaded.encode_texts(["a b"], 4)[0].tolist() == [[2, 5, 6, 3]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("vocab_size = 40", 40),
        ("def vocab_size(self): return 41", 41),
        ("tokenizer = type('T', (), {'vocab_size': 42})()", 42),
        ("tokenizer = type('T', (), {'__len__': lambda self: 43})()", 43),
        ("tokenizer = type('T', (), {'get_vocab_size': lambda self: 44})()", 44),
        ("", 12),  # the lines of vocab.txt
    ],
)
def test_where_the_vocabulary_size_comes_from(root, size, expected):
    assert load_users(root, USERS.replace("vocab_size = 12", size)).vocab_size == expected


def refused(root, code, *messages, act=lambda loaded: None):
    with pytest.raises(UserError) as caught:
        act(load_users(root, code))
    for message in (str(root / "mine.py"), *messages):
        assert message in str(caught.value)


def test_files_and_classes_that_do_not_serve(root):
    with pytest.raises(UserError, match="there is no file"):
        load_wrapper("none.py", "vocab", root=root)
    (root / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="not a Python file"):
        load_wrapper("notes.txt", "vocab", root=root)
    refused(root, "import torch.nn", "defines no class")
    refused(root, "from pathlib import Path", "defines no class")
    refused(root, "class A:\n  def mask_input_for_mlm(self): ...", "class A has no load")
    refused(root, "class A:\n  def load(self): ...", "class A has no mask_input_for_mlm")
    two = USERS + USERS.replace("class Wrapper", "class Second")
    refused(root, two, "Wrapper, Second")
    derived = USERS + "\nclass Derived(Wrapper):\n    vocab_size = 99\n"
    assert load_users(root, derived).vocab_size == 99


def test_code_that_raises_shows_the_users_own_traceback(root):
    refused(root, "import a_module_that_is_missing", "importing it", "ModuleNotFoundError", "line 1")
    refused(root, "def broken(:", "importing it", "SyntaxError")
    refused(root, "import sys\nsys.exit(3)", "importing it", "SystemExit")
    raising = "raise ValueError('no such thing')"
    refused(root, USERS.replace("self.vocab_dir = vocab_dir", raising), ".load(", "in load", "no such thing")
    refused(root, USERS.replace("def load", "def __init__(self, x): ...\n    def load"), "Wrapper()", "argument: 'x'")
    for method, act in (
        ("mask_input_for_mlm", lambda loaded: loaded.mask(IDS, PAD, SETTINGS, SEED)),
        ("encode", lambda loaded: loaded.encode_texts(["a"], 4)),
    ):
        code = USERS.replace(f"def {method}(", f"def {method}(self, *_, **__): {raising}\n    def unused(")
        refused(root, code, f"failed in {method}", "mine.py", "ValueError: no such thing", act=act)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("None", "must return a tuple or a dict"),
        ("input_ids", "must return a tuple or a dict"),
        ("(input_ids,)", "must return a tuple or a dict"),
        ("{'labels': input_ids}", "must return a tuple or a dict"),
        ("(input_ids[:1], input_ids)", "masked_ids of shape (1, 8)"),
        ("(input_ids, input_ids[:, 1:])", "labels of shape (2, 7)"),
        ("(input_ids, input_ids.float())", "float32"),
        ("(input_ids + 12, input_ids)", "masked_ids with id 21, outside its vocabulary 0..11"),
        ("(input_ids, input_ids - 9)", "labels with id -4"),
        ("(input_ids, input_ids - 3)", "label 2 in row 0, column 1, where the token is 5"),
        ("(input_ids.fill_(4), input_ids)", "label 4 in row 0, column 1, where the token is 5"),
        ("(input_ids * 0, input_ids * 0)", "label 0 in row 0, column 1"),
    ],
)
def test_wrong_masks_are_refused(root, answer, message):
    code = USERS.replace("chosen = (torch", f"return {answer}\n        chosen = (torch")
    refused(root, code, "mask_input_for_mlm", message, act=lambda loaded: loaded.mask(IDS, PAD, SETTINGS, SEED))


def test_wrong_encodings_and_missing_facts_are_refused(root):
    def encode(loaded):
        return loaded.encode_texts(["a", "b"], 6)

    refused(root, USERS.replace("def encode", "def other"), "has no encode", act=encode)
    refused(root, USERS.replace("(len(texts), max", "(1, max"), "encode returned input_ids of shape (1, 6)", act=encode)
    refused(root, USERS.replace("ids, ids == 0", "ids, ids * 2"), "attention_mask that is not bool", act=encode)
    (root / "vocab" / "vocab.txt").unlink()
    refused(root, USERS.replace("vocab_size = 12", ""), "does not tell its vocabulary's size")
    refused(root, USERS.replace("pad_id = 0", ""), "does not tell which id is [PAD]")
