"""The example of a user's own tokenizer keeps the contract that it shows."""

import string
from pathlib import Path

import numpy as np

from textclf_jax.config.schema import MlmHead
from textclf_jax.tokenizer.loading import load_wrapper
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "tokenizer_wrapper.py"


def test_it_encodes_and_masks(tmp_path, capsys):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *string.ascii_lowercase]) + "\n")
    loaded = load_wrapper(str(EXAMPLE), str(tmp_path), root=Path())
    assert (loaded.vocab_size, loaded.pad_id) == (31, 0)
    ids, padding = loaded.encode_texts(["abc", "z?" * 99], 100)
    assert ids[0, :6].tolist() == [2, 5, 6, 7, 3, 0]
    assert ids[1, :3].tolist() == [2, 30, 1]
    assert (~padding).sum(axis=1).tolist() == [5, 100]
    ids = np.tile(np.arange(31), (200, 1))
    masked, labels = loaded.mask(ids, ids == 0, MlmHead(mask_p=0.3), np.random.SeedSequence(0))
    chosen = labels != -100
    assert not chosen[:, :5].any()
    assert abs(chosen[:, 5:].mean() - 0.3) < 0.03
    assert abs((masked == 4)[chosen].mean() - 0.8) < 0.05
    assert (masked == ids)[~chosen].all()
    assert capsys.readouterr().err.count("\n") == 1  # whose code runs; nothing to complain of
