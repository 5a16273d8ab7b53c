"""Raw text to a dataset folder."""

import numpy as np
import pytest

from tests.prepare.cases import options, refused, write_csv
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.prepare.texts import ReadOptions
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper


def test_one_labelled_file(out, table):
    stages = []
    report = prepare(options(out, inputs=(table,)), lambda what, done, total: stages.append((what, done, total)))
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    made = {f"{task}/{split}.pt" for task in ("cls", "mlm") for split in ("train", "val", "test")}
    made |= {f"splits/{split}.csv" for split in ("train", "val", "test")}
    assert files == made | {"vocab/vocab.txt", "vocab/tokenizer.json", "labels.txt", "dataset.json"}
    assert [p.name for p in out.parent.iterdir()] == ["animals"]
    assert (out / "labels.txt").read_text() == "fast\nslow\n"
    assert ("encoding train for CLS", 32, 32) in stages
    for split, count in (("train", 32), ("val", 4), ("test", 4)):
        ids, mask, labels = read_tensors(out / "cls" / f"{split}.pt")
        assert (ids.shape, ids.dtype, mask.dtype, labels.dtype) == ((count, 12), np.int64, bool, np.int64)
        assert np.bincount(labels).tolist() == [count // 2] * 2
        assert len(read_tensors(out / "mlm" / f"{split}.pt")) == 2
        assert report.splits[split].class_counts == (count // 2, count // 2)


def test_the_vocabulary_sees_training_texts_only(out, tmp_path):
    train = write_csv(tmp_path / "train.csv", [("cat cat", "a"), ("dog dog", "b")] * 3)
    test = write_csv(tmp_path / "test.csv", [("zzz zzz zzz cat dog cat", "a")])
    report = prepare(options(out, train=(train,), test=(test,), val_fraction=0))
    assert not any("z" in token for token in WordPieceTokenizerWrapper().load(out / "vocab").tokens[5:])
    assert report.splits["test"].unknown_tokens == 3
    assert not (out / "splits").exists()
    assert not (out / "cls" / "val.pt").exists()


def test_validation_split_off_train_and_given_names(out, table, tmp_path):
    train = write_csv(tmp_path / "t.csv", [(f"cat {i}", str(i % 2)) for i in range(20)])
    (tmp_path / "names.txt").write_text("even\nodd\nnever\n")
    report = prepare(options(out, train=(train,), test=(train,), label_names=tmp_path / "names.txt"))
    assert [report.splits[name].cls_rows for name in ("train", "val", "test")] == [18, 2, 20]
    assert report.label_names == ["even", "odd", "never"]
    assert report.splits["train"].class_counts == (9, 9, 0)
    advice = " ".join(report.advice(12))
    assert "never occur in the training rows: never" in advice
    assert "--deduplicate" in advice


def test_unlabelled_text_and_extra_text(out, tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("the cat sat\n\n" * 10 + "the cat sat the cat sat the cat sat the cat sat\n")
    extra = tmp_path / "b.txt"
    extra.write_text("more text\n\u200b\nthe cat sat\n\n")
    report = prepare(options(out, train=(text,), extra_text=(extra,), val_fraction=0.2))
    assert not (out / "cls").exists()
    assert not (out / "labels.txt").exists()
    assert report.empty == {"train": 10, "extra": 1}
    ids, mask = read_tensors(out / "mlm" / "train.pt")
    figures = report.splits["train"]
    assert figures.texts == 9 + 3  # the extra texts, one of which has no token
    assert figures.without_tokens == 1
    assert figures.mlm_rows == len(ids) == len(mask)
    assert np.count_nonzero(~mask) - 2 * len(ids) == figures.tokens  # split, so nothing is lost
    assert (out / "splits" / "val.csv").read_text().startswith("text\n")


def test_labels_of_extra_text_contradict_nothing(out, tmp_path):
    train = write_csv(tmp_path / "t.csv", [("cat", "1.0"), ("dog", "2.0")] * 4)
    extra = write_csv(tmp_path / "e.csv", [("cat", "1"), ("dog", "9")])
    report = prepare(options(out, train=(train,), extra_text=(extra,), val_fraction=0))
    assert (report.contradictions, report.label_names) == (0, ["1", "2"])


def test_deduplicate_keeps_the_train_copy(out, tmp_path):
    train = write_csv(tmp_path / "train.csv", [("a b", "x"), ("c d", "y"), ("a b", "x")])
    val = write_csv(tmp_path / "val.csv", [("c d", "y"), ("b c", "x")])
    report = prepare(options(out, train=(train,), val=(val,), deduplicate=True))
    assert report.duplicates == {"train": 1, "val in train": 1}
    assert [report.splits[name].cls_rows for name in ("train", "val")] == [2, 1]
    with pytest.raises(UserError, match="leaves nothing of val"):
        prepare(options(tmp_path / "x", train=(train,), val=(train,), deduplicate=True))


def test_empty_texts(out, tmp_path):
    train = write_csv(tmp_path / "t.csv", [("a", "x"), (" ", "y"), ("b", "y"), ("", "x"), ("c", "x")])
    with pytest.raises(UserError, match=r"2 labelled rows have no text \(.*t.csv line 3, .*t.csv line 5\)"):
        prepare(options(out, train=(train,), val_fraction=0))
    report = prepare(options(out, train=(train,), val_fraction=0, skip_empty=True))
    assert report.empty == {"train": 2}
    assert report.splits["train"].cls_rows == 3
    prepare(options(tmp_path / "mlm", train=(train,), val_fraction=0, task="mlm"))


def test_existing_vocabulary(out, table, tmp_path):
    prepare(options(out, inputs=(table,)))
    for given in (out / "vocab", out / "vocab" / "vocab.txt", out / "vocab" / "tokenizer.json"):
        other = tmp_path / f"with-{given.name}"
        report = prepare(PrepareOptions(out=other, inputs=(table,), vocab=given, max_length=12))
        assert (other / "vocab" / "vocab.txt").read_bytes() == (out / "vocab" / "vocab.txt").read_bytes()
        assert report.fingerprint == WordPieceTokenizerWrapper().load(given).fingerprint


def test_where_the_files_of_a_vocabulary_differ_is_said(out, table, tmp_path):
    prepare(options(out, inputs=(table,)))
    WordPieceTokenizerWrapper().load(out / "vocab" / "vocab.txt").save(out / "vocab")
    (out / "vocab" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    report = prepare(PrepareOptions(out=tmp_path / "other", inputs=(table,), vocab=out / "vocab", max_length=12))
    (note,) = (note for note in report.notes if "do_lower_case: false" in note)
    assert note.startswith(f"{out / 'vocab'}: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "t", "vocab_size": 10}, "vocab_size 10 is too small"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t"}, "lacks"),
        ({"inputs": "missing"}, "missing.csv: there is no such"),
        ({"inputs": "unlabelled", "task": "cls"}, "has no labels"),
        ({"train": "t", "test": "unlabelled"}, "has no labels"),
        ({"train": "t", "test": "other"}, "other.csv line 2: label 'z' does not occur"),
        ({"inputs": "blank"}, "no row with text"),
    ],
)
def test_faulty_texts_are_refused(tmp_path, out, table, changes, message):
    files = {"t": table, "missing": tmp_path / "missing.csv"}
    files["other"] = write_csv(tmp_path / "other.csv", [("a", "z")])
    files["unlabelled"] = tmp_path / "unlabelled.csv"
    files["unlabelled"].write_text("text\nhello\n")
    files["blank"] = tmp_path / "blank.txt"
    files["blank"].write_text("\n \n")
    refused(out, files, changes, message)


def test_input_is_deduplicated_before_it_is_split(out, table, tmp_path):
    """Two copies of a file give the split that one gives, byte by byte, and the counts add up."""
    once = prepare(options(out, inputs=(table,)))
    twice = prepare(options(tmp_path / "twice", inputs=(table, table), deduplicate=True))
    assert (twice.duplicates, twice.repeated, once.duplicates) == ({"input": 40}, 40, {})
    assert twice.rows_used == once.rows_used == {"train": 32, "val": 4, "test": 4}
    assert twice.rows_read == sum(twice.rows_used.values()) + twice.repeated == 80
    for split in ("train", "val", "test"):
        name = f"cls/{split}.pt"
        assert (out / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    same = prepare(options(tmp_path / "same", inputs=(table,), deduplicate=True))
    assert (same.duplicates, same.rows_used) == ({}, once.rows_used)


def test_train_is_deduplicated_before_val_is_drawn_and_the_copy_in_train_stays(out, table, tmp_path):
    test = write_csv(tmp_path / "test.csv", [("a cat number 0 runs far away", "slow"), ("a hen", "fast")])
    report = prepare(options(out, train=(table, table), test=(test,), deduplicate=True))
    assert report.rows_used == {"train": 36, "val": 4, "test": 1}
    assert report.duplicates["train"] == 40
    assert report.repeated == 41
    assert report.rows_read == 82


def test_texts_of_invisible_characters_are_no_texts(out, tmp_path):
    words = [(f"cat {i}", "xy"[i % 2]) for i in range(10)]
    train = write_csv(tmp_path / "t.csv", [*words, ("\u200b", "x"), ("\ufeff \u200d\x01", "y"), (" ", "y")])
    message = r"3 labelled rows have no text or only invisible characters \(.*t.csv line 12, .*t.csv line 13"
    with pytest.raises(UserError, match=message):
        prepare(options(out, train=(train,), val_fraction=0))
    report = prepare(options(out, train=(train,), val_fraction=0, skip_empty=True))
    assert (report.empty, report.splits["train"].cls_rows) == ({"train": 3}, 10)
    assert not list(report.warnings())


def test_labelled_texts_that_the_normalisation_empties_are_warned_of(out, tmp_path):
    words = [(f"cat {i}", "xy"[i % 2]) for i in range(10)]
    train = write_csv(tmp_path / "t.csv", [*words, ("\u0301\u0301", "x")])
    report = prepare(options(out, train=(train,), val_fraction=0, strip_accents=True))
    (warning,) = report.warnings()
    assert (
        f"have no token, for the vocabulary's normalisation removes all of their characters: 1 ({train} line 12)"
        in warning
    )


def test_a_column_of_texts_and_labels_at_once_is_refused(out, table):
    for read in (ReadOptions(text_column="label"), ReadOptions("text", "text")):
        with pytest.raises(UserError, match=r"all.csv: the column '\w+' is that of the texts and that of the labels"):
            prepare(options(out, inputs=(table,), read=read))
    prepare(options(out, inputs=(table,), read=ReadOptions(text_column="label"), task="mlm"))
    assert (out / "splits" / "val.csv").read_text().startswith("text\n")
