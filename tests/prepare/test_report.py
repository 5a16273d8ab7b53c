"""Figures of the splits, and advice."""

from tests.prepare.cases import options, write_csv
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare


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


def test_max_length_far_too_big(out, table):
    report = prepare(PrepareOptions(out=out, inputs=(table,), vocab_size=120, max_length=512))
    assert "--max-length 512 is much" in " ".join(report.advice(512))
