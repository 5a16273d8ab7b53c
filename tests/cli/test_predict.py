"""`textclf predict`: one prediction a row, with the row's other columns."""

import csv
import io
import json
import os
import re
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.plain_torch_files import write_plain_tensors
from textclf_jax.cli import main
from textclf_jax.config.schema import DEFAULT_WRAPPER
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.kernels.precision import FULL
from textclf_jax.runs.checkpoint import load_model, save_model
from textclf_jax.tasks import ClassificationTask
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.loading import load_wrapper


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A classifier of at most 24 tokens, as it is before training."""
    return str(tiny.untrained(tmp_path_factory.mktemp("run")))


@pytest.fixture
def predict(model, capsys, tmp_path, monkeypatch):
    """Runs the command on a file of these bytes; returns what it printed on both streams."""
    monkeypatch.chdir(tmp_path)

    def predict(raw: bytes | str, *flags: str, name: str = "in.csv", code: int = 0) -> tuple[str, str]:
        Path(name).write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        assert main(["predict", model, "--file", name, *flags]) == code
        return capsys.readouterr()

    return predict


def rows_of(printed: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(printed, newline="")))


def test_ids_and_all_columns_are_kept(predict):
    raw = 'id,text,when\n7,"word1, ""word2""\nword3",monday\n5, word4 ,"a\rb"\n'
    out, err = predict(raw, "--format", "csv")
    rows = rows_of(out)
    assert [(row["id"], row["text"], row["when"]) for row in rows] == [
        ("7", 'word1, "word2"\nword3', "monday"),
        ("5", " word4 ", "a\rb"),
    ]
    assert {row["label"] for row in rows} <= {"0", "1", "2"}
    for row in rows:
        assert sum(float(row[f"p({label})"]) for label in "012") == pytest.approx(1, abs=1e-5)
    assert "already" not in err
    out, _ = predict(raw, "--format", "json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {key: row[key] for key in ("id", "text", "when", "label")}
        | {"probabilities": {label: float(row[f"p({label})"]) for label in "012"}}
        | {"empty": False, "cut": False}
        for row in rows
    ]


def test_names_that_the_input_has_are_said(predict):
    raw = "text,label,p(0),probabilities,predicted_label,label\nword1,true,0.5,x,y,\n"
    out, err = predict(raw, "--format", "csv")
    header = next(csv.reader([out.splitlines()[0]]))
    assert header[:6] == ["text", "label", "p(0)", "probabilities", "predicted_label", "label"]
    assert header[6:] == ["predicted_label_2", "predicted_p(0)", "p(1)", "p(2)", "empty", "cut"]
    assert "'label' is 'predicted_label_2', 'p(0)' is 'predicted_p(0)'" in err
    out, err = predict(raw, "--format", "json")
    (row,) = map(json.loads, out.splitlines())
    assert (row["label"], row["label_2"], row["predicted_label"]) == ("true", "", "y")
    assert set(row["predicted_probabilities"]) == {"0", "1", "2"}
    assert "'label' is 'label_2'" in err


def test_every_row_gets_a_prediction_and_doubtful_ones_are_counted(predict):
    texts = ["word1", "", "word2 " * 23, "\u200b", " ", "word3 " * 22]
    out, err = predict("".join(text + "\n" for text in texts), "--format", "csv", name="in.txt")
    assert [row["text"].strip() for row in rows_of(out)] == [text.strip() for text in texts]
    assert all(row["label"] for row in rows_of(out))
    assert [row["empty"] for row in rows_of(out)] == ["false", "true", "false", "true", "true", "false"]
    assert [row["cut"] for row in rows_of(out)] == ["false", "false", "true", "false", "false", "false"]
    assert "warning: 3 of 6 texts are empty or have no token" in err
    assert "(line 2, line 4, line 5)" in err
    assert "warning: 1 of 6 texts are longer than the model's 24 tokens: their ends were not read (line 3)" in err
    out, err = predict("word1\nword2\n", name="in.txt")
    assert (len(out.splitlines()), err) == (5, "")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_output_files(predict, form):
    raw = "text\nword1 é\n"
    printed, _ = predict(raw, "--format", form)
    _, err = predict(raw, "--out", f"out.{form}")
    assert Path(f"out.{form}").read_bytes() == printed.encode()
    assert f"out.{form}: 1 predictions" in err
    Path("link").symlink_to(f"out.{form}")
    predict("text\nword2\n", "--out", "link", "--format", form)
    assert Path("link").is_symlink()
    assert "word2" in Path(f"out.{form}").read_text()
    assert not list(Path().glob(".*"))


def test_outputs_that_cannot_be_are_refused_at_once(predict):
    Path("folder").mkdir()
    os.mkfifo("pipe")
    for out, message in (
        ("in.csv", "is the file that is read"),
        ("folder", "is a folder"),
        ("pipe", "is a special file"),
        ("none/out.csv", "none is not a folder"),
    ):
        _, err = predict("text\nword1\n", "--out", out, code=2)
        assert message in err
    assert Path("in.csv").read_text() == "text\nword1\n"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("labels.tsv", "its ending tells no format. End it in .csv, .json, .jsonl, .txt"),
        ("labels", "its ending tells no format"),
        ("labels.csv.gz", "is written without compression"),
    ],
)
def test_endings_of_output_files_that_tell_no_format_are_refused(predict, out, message):
    _, err = predict("text\nword1\n", "--out", out, code=2)
    assert message in err
    assert not Path(out).exists()
    if ".gz" not in out:
        predict("text\nword1\n", "--out", out, "--format", "csv")
        assert Path(out).read_text().startswith("text,label")
    else:
        assert message in predict("text\nword1\n", "--out", out, "--format", "csv", code=2)[1]


def test_a_table_goes_to_a_txt(predict):
    predict("text\nword1\n", "--out", "labels.TXT")
    assert Path("labels.TXT").read_text() == predict("text\nword1\n")[0]


@pytest.mark.parametrize("flag", ["--text-column", "--delimiter", "--encoding", "--text-unit", "--no-quotes"])
def test_flags_of_files_are_refused_with_texts(model, capsys, flag):
    value = {"--delimiter": ["tab"], "--text-unit": ["line"], "--no-quotes": []}.get(flag, ["x"])
    assert main(["predict", model, "--text", "word1", flag, *value]) == 2
    name = "--quoting" if flag == "--no-quotes" else flag
    assert f"{name} says how" in capsys.readouterr().err


def test_reading_flags_and_labels_that_are_to_be_filled_in(predict):
    raw = 'body|label\n"word1|\n"word2|\n'.encode("utf-16")
    out, err = predict(raw, "--text-column", "body", "--quoting", "off", "--format", "csv", name="in.tsv")
    assert [(row["body"], row["label"]) for row in rows_of(out)] == [('"word1', ""), ('"word2', "")]
    assert all(row["predicted_label"] for row in rows_of(out))
    assert "UTF-16" in err
    assert "separated by pipe" in err
    out, _ = predict("body;label\nwéird;\n".encode("cp1252"), "--text-column", "body", "--encoding", "cp1252")
    assert "wéird" in out
    _, err = predict("text\nwéird\n".encode("cp1252"), code=2)
    assert "line 2: byte 2 is not UTF-8" in err
    assert "--encoding WINDOWS-1252" in err


def test_programs_are_kept_for_later_processes(model, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        assert Predictor(Path(model)).max_length == tiny.MAX_LENGTH
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_model_trained_with_flash_attention_predicts_without(model, tmp_path):
    saved = load_model(Path(model))
    config = {**saved.metadata["config"], "training": {**saved.metadata["config"]["training"], "device": "cuda"}}
    attention = {**config["architecture"]["attention"], "mha": {"implementation": "cudnn"}}
    config["architecture"] = {**config["architecture"], "attention": attention}
    keep = partial(shutil.copytree, saved.vocab_dir, dirs_exist_ok=True)
    folder = save_model(tmp_path, saved.variables, saved.metadata | {"config": config}, keep)
    expected, found = (next(Predictor(path)(["word1 word2"])) for path in (Path(model), folder))
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_texts_that_the_vocabulary_does_not_know_are_counted_with_the_cause(predict):
    texts = ["word1 word2", "привет всем", "word1 жук", "жук word1 жук", "x" * 150]
    out, err = predict("".join(text + "\n" for text in texts), "--format", "csv", name="in.txt")
    assert len(rows_of(out)) == 5
    assert "warning: 3 of 5 texts are [UNK] to the model for the most part, 4 words with characters" in err
    assert "'ж' U+0436" in err
    assert "1 word of more than 100 characters (the longest has 150): their labels say little" in err
    assert "(line 2, line 4, line 5)" in err
    assert predict("word1\nword1 жук\n\n", name="in.txt")[1].count("[UNK]") == 0


def test_encoded_rows_get_the_answers_of_their_texts(predict, model):
    ids, mask, labels = tiny.rows(20)
    write = write_tensors if find_spec("torch") else write_plain_tensors
    write(Path("test.pt"), ids, mask, labels)
    out, _ = predict(Path("test.pt").read_bytes(), "--format", "csv", name="test.pt")
    rows = rows_of(out)
    assert [row.pop("row") for row in rows] == [str(number) for number in range(20)]
    words = ("".join(f"word{i - len(tiny.SPECIALS)} " for i in row if i >= len(tiny.SPECIALS)) for row in ids)
    out, _ = predict("text\n" + "\n".join(words), "--format", "csv")
    assert [{key: row[key] for key in row if key != "text"} for row in rows_of(out)] == rows
    assert predict(Path("test.pt").read_bytes(), name="test.pt")[0].splitlines()[3].startswith("row 0 ")
    assert "--encoding says how text files are read" in predict(b"PK", "--encoding", "utf-8", name="a.pt", code=2)[1]
    assert "a.pt" in predict(b"PK", name="a.pt", code=2)[1]


def test_standard_input_is_read_like_a_file(model, predict, capsys, monkeypatch):
    raw = 'id;text\n1;"word1\nword2"\n2;word3\n'.encode("utf-16")
    expected, _ = predict(raw, "--format", "csv")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert main(["predict", model, "--stdin", "csv", "--format", "csv"]) == 0
    assert capsys.readouterr().out == expected
    assert main(["predict", model, "--stdin", "csv", "--text", "word1"]) == 2
    assert main(["predict", model, "--text", "word1", "--fresh"]) == 2
    assert "--fresh is for an --out" in capsys.readouterr().err


SEVERAL = ("a|b", "c", "d")


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> str:
    """A classifier of texts with several labels, before training: "c" is always predicted, and "d" never."""
    folder = tmp_path_factory.mktemp("several")
    vocabulary = tiny.write_vocabulary(folder / "vocab")
    head = {"num_labels": 3, "multi_label": True}
    config = tiny.finetuning(folder, classification_head=head, training={"batch_size": 4})
    tokenizer = load_wrapper(DEFAULT_WRAPPER, str(vocabulary), root=Path())
    module = ClassificationTask(config, tokenizer).module(FULL)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32))
    metadata = {"config": config.model_dump(mode="json"), "labels": list(SEVERAL)}
    metadata |= Thresholds([0.5, 0.0, 1.0], []).stored()
    return str(save_model(folder, variables, metadata, tokenizer.save))


def test_several_labels_by_their_thresholds_in_every_format(several, capsys):
    texts = [f"word{i} word{2 * i}" for i in range(8)]
    arguments = ["predict", several, *(part for text in texts for part in ("--text", text))]

    def printed(form: str) -> str:
        assert main([*arguments, "--format", form]) == 0
        return capsys.readouterr().out

    objects = [json.loads(line) for line in printed("json").splitlines()]
    for row in objects:
        assert list(row) == ["text", "labels", "probabilities", "empty", "cut"]
        assert row["labels"] == ["a|b"] * (row["probabilities"]["a|b"] >= 0.5) + ["c"]
        assert sum(row["probabilities"].values()) != pytest.approx(1, abs=1e-3)
    assert main([*arguments, "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    rows = rows_of(out)
    assert [row["labels"].split(";") for row in rows] == [row["labels"] for row in objects]
    assert [float(row["p(d)"]) for row in rows] == [row["probabilities"]["d"] for row in objects]
    assert "labels of a text are separated by ';'" in err
    table = printed("table").splitlines()
    assert table[1].split() == ["text", "labels"]
    assert table[3].endswith(
        ", ".join(f"{name} {objects[0]['probabilities'][name]:.4f}" for name in objects[0]["labels"])
    )


def test_a_text_without_a_label_is_told_from_one_with_an_empty_name(several, capsys, monkeypatch):
    original = Predictor.answers

    def answers(self, read):
        return [p._replace(several=("c", "d") if p.text == "word2" else ()) for p in original(self, read)]

    monkeypatch.setattr(Predictor, "answers", answers)
    assert main(["predict", several, "--text", "word1", "--text", "word2"]) == 0
    cells = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[3:]]
    assert cells[0] == "(none)"
    assert re.fullmatch(r"c 0\.\d{4}, d 0\.\d{4}", cells[1])
