"""Figures of the splits, and advice."""

import json

from tests.prepare.cases import options, write_csv
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper


def test_long_texts(out, tmp_path):
    train = write_csv(tmp_path / "t.csv", [("a b c d e f g h i j k l m n o p", "x"), ("a b", "y")] * 4)
    report = prepare(options(out, train=(train,), val_fraction=0))
    assert report.splits["train"].mlm_rows == 12
    assert report.splits["train"].cls_rows == 8
    assert (report.splits["train"].truncated_texts, report.splits["train"].dropped_tokens) == (4, 24)
    assert "cuts off" in " ".join(report.advice(12))
    report = prepare(options(out, train=(train,), val_fraction=0, long_texts="truncate", task="mlm", force=True))
    assert report.splits["train"].mlm_rows == 8
    assert not (out / "cls").exists()


def test_rows_of_classification_may_go_on_beyond_those_of_mlm(out, tmp_path):
    """MLM rows hold the whole text all the same, in parts."""
    words = "a b c d e f g h i j k l m n o p"
    train = write_csv(tmp_path / "t.csv", [(words, "x"), ("a b", "y")] * 4)
    report = prepare(options(out, train=(train,), val_fraction=0))
    assert "--cls-max-length 24 gives it to the linear path" in " ".join(report.advice(12))
    longer = options(out, train=(train,), val_fraction=0, cls_max_length=24, force=True)
    report = prepare(longer)
    described = json.loads((out / "dataset.json").read_text())
    assert (described["max_length"], described["cls_max_length"]) == (12, 24)
    (mlm, _), (rows, mask, _) = (read_tensors(out / task / "train.pt") for task in ("mlm", "cls"))
    assert (mlm.shape, rows.shape) == ((12, 12), (8, 24))
    whole = WordPieceTokenizerWrapper().load(out / "vocab").encode([words], max_length=24)
    assert rows[0].tolist() == whole.input_ids[0].tolist()
    assert (~mask).sum(axis=1).tolist() == [18, 4] * 4
    assert report.splits["train"].dropped_tokens == 0
    assert not any("max-length" in line for line in report.advice(12, 24))
    assert "--cls-max-length 64 is much: 99% of the texts have at most 18 tokens, so 24" in " ".join(
        report.advice(12, 64)
    )
    too_short = prepare(options(out, train=(train,), val_fraction=0, cls_max_length=16, force=True))
    assert "--cls-max-length 16 cuts off" in " ".join(too_short.advice(12, 16))


def test_a_length_that_is_advised_is_longer_than_the_one_that_cuts(out, tmp_path):
    """Few texts are long, but they hold many tokens."""
    train = write_csv(tmp_path / "t.csv", [("a b", "x"), ("c d", "y")] * 49 + [("e f " * 60, "x"), ("g h " * 50, "y")])
    report = prepare(options(out, train=(train,), val_fraction=0))
    assert report.splits["train"].length_percentiles[1] == 4
    told = " ".join(report.advice(12))
    assert "128 would hold 99% of the texts whole. Where that is more" in told
    assert "--cls-max-length 128" in told


def test_max_length_far_too_big(out, table):
    report = prepare(PrepareOptions(out=out, inputs=(table,), vocab_size=120, max_length=512))
    assert "--max-length 512 is much" in " ".join(report.advice(512))
