"""All splits of a run are in the same classes and the same vocabulary, or the run is refused."""

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.data.test_beside import dataset
from textclf_jax.cli import main
from textclf_jax.data.agreement import RunClasses, numbering_of, run_labels, training_classes
from textclf_jax.data.beside import read_beside
from textclf_jax.data.splits import load_splits
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.runs.record import label_names
from textclf_jax.tokenizer.loading import load_wrapper
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

strangers = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

TEXTS = {
    "bad": ["awful dull film", "sad cold plot", "dull sad music", "cold awful scene"],
    "good": ["lovely warm film", "fine great plot", "great warm music", "fine lovely scene"],
    "neutral": ["usual plain film", "okay average plot", "average usual music", "plain okay scene"],
}


def prepare(folder, name: str, rows: list[tuple[str, str]], *flags) -> None:
    """A dataset of (text, label) rows, half of them for the test."""
    (folder / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), "utf-8")
    arguments = ["--out", str(folder / name), "--max-length", "24", "--val-fraction", "0", "--test-fraction", "0.5"]
    assert main(["prepare", str(folder / f"{name}.csv"), *arguments, *map(str, flags)]) == 0


def labelled(*labels: str) -> list[tuple[str, str]]:
    return [(text, label) for label in labels for text in TEXTS[label]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Datasets: train (bad, good, neutral), month (good, neutral) with its vocabulary, own with another one."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, "train", labelled("bad", "good", "neutral"))
    prepare(folder, "month", labelled("good", "neutral"), "--vocab", folder / "train" / "vocab")
    prepare(folder, "own", labelled("good", "neutral"))
    return folder


def config(folder, train="train", test="train", vocab="train/vocab", **changes):
    data = {
        name: {"dataset_path": path and f"{path}/cls/{name}.pt"} for name, path in (("train", train), ("test", test))
    }
    changes = {"classification_head": {"num_labels": 3}, "tokenizer": {"vocab_dir": vocab}, **changes}
    return tiny.finetuning(folder, data={**data, "val": {"dataset_path": None}}, **changes)


def load(folder, run, **options):
    tokenizer = load_wrapper(run.tokenizer.wrapper_path, run.tokenizer.vocab_dir, root=folder)
    return load_splits(run, tokenizer, folder, **options)


def refusal(folder, run, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, run, **options)
    return str(caught.value)


# --- class names ------------------------------------------------------------------------------------------------


def texts_of(folder, data) -> list[str]:
    tokenizer = WordPieceTokenizerWrapper().load(folder / "train" / "vocab")
    return [tokenizer.decode(row) for row in data.input_ids]


def test_labels_of_another_folder_are_mapped_by_their_names(prepared):
    """Each test text has the class that its words have in training."""
    splits = load(prepared, config(prepared, test="month"))
    assert splits["train"].notes == ()
    assert "good 0 -> 1, neutral 1 -> 2" in splits["test"].notes[0]
    names = label_names(config(prepared), splits["train"])
    assert names == ["bad", "good", "neutral"]
    for data in splits.values():
        for text, label in zip(texts_of(prepared, data), data.labels, strict=True):
            assert text in TEXTS[names[label]]
    same = load(prepared, config(prepared))
    assert same["train"].fingerprint == splits["train"].fingerprint
    assert all(name.endswith("cls/test.pt: no row has the label 0") for name in splits["test"].notes[1:])


def test_the_fingerprint_of_data_tells_how_it_was_mapped(prepared):
    mapped = load(prepared, config(prepared, test="month"))["test"]
    as_it_is = load(prepared, config(prepared, "month", "month", classification_head={"num_labels": 2}))["test"]
    assert mapped.fingerprint != as_it_is.fingerprint


def test_the_names_of_a_model_count_where_it_is_evaluated(prepared):
    run = config(prepared, test="month")
    splits = load(prepared, run, splits=("test",), model_classes=["neutral", "good", "bad"])
    assert set(splits) == {"test"}
    assert set(splits["test"].labels.tolist()) == {0, 1}
    assert "good 0 -> 1, neutral 1 -> 0" in splits["test"].notes[0]
    assert splits["test"].class_names == ("neutral", "good", "bad")
    for numbers in (["0", "1", "2"], ["LABEL_0", "LABEL_1", "LABEL_2"]):
        (first, *_) = load(prepared, run, splits=("train",), model_classes=numbers)["train"].notes
        assert "those of the model have no names: the numbers are taken as they are" in first
        assert "which number means which cannot be told" in refusal(
            prepared, run, splits=("test",), model_classes=numbers
        )


def test_classes_that_training_lacks(tmp_path, prepared):
    """Refused where a row has one; otherwise told."""
    head = {"num_labels": 2}
    message = refusal(prepared, config(prepared, "month", "train", classification_head=head))
    for words in (f"{prepared}/train/cls/test.pt", "has the class 'bad'", "label 0", "good, neutral"):
        assert words in message
    path = prepared / "train" / "cls" / "test.pt"
    tensors = torch.load(path, weights_only=False).tensors
    some = tensors[2] > 0
    shutil.copytree(prepared / "train", tmp_path / "few")
    write_tensors(tmp_path / "few" / "cls" / "test.pt", *(tensor[some].numpy() for tensor in tensors))
    data = load(prepared, config(prepared, "month", tmp_path / "few", classification_head=head))["test"]
    np.testing.assert_array_equal(data.labels, tensors[2][some].numpy() - 1)
    assert "no row has a class that the run lacks (bad" in data.notes[-1]


def test_names_that_differ_by_case_are_pointed_out_and_can_be_mended(tmp_path, prepared):
    prepare(
        tmp_path,
        "other",
        [(text, label.upper()) for text, label in labelled("good", "neutral")],
        "--vocab",
        prepared / "train" / "vocab",
    )
    run = config(prepared, test=tmp_path / "other")
    message = refusal(prepared, run)
    assert "Did you mean 'good'?" in message
    assert f"write those, a line for each of GOOD, NEUTRAL, into {tmp_path / 'other'}/labels.txt" in message
    (tmp_path / "other" / "labels.txt").write_text("good\nneutral\n")
    assert set(load(prepared, run)["test"].labels.tolist()) == {1, 2}


def numbered(folder, train, test, labels, count=3):
    """The labels of a test file in the run's numbers, by the names (or None) of both."""
    for name, names in (("train", train), ("test", test)):
        shutil.rmtree(folder / name, ignore_errors=True)
        path = dataset(folder / name, names, fingerprint=None)
        if names is None:
            (folder / name / "dataset.json").unlink()
    numbering = numbering_of(read_beside(path), training_classes(read_beside(folder / "train/cls/x.pt"), count, []), [])
    return labels if numbering is None else run_labels(path, np.array(labels), numbering, []).tolist()


def test_names_that_are_numbers(tmp_path):
    """They are compared as names where those of both can be; else taken as they are, or refused."""
    for train in (None, ["0", "1", "2"]):
        assert numbered(tmp_path, train, ["0", "2"], [0, 1]) == [0, 2]
        assert numbered(tmp_path, train, ["good", "bad", "ugly"], [0, 1, 2]) == [0, 1, 2]
        with pytest.raises(UserError, match="which number means which cannot be told"):
            numbered(tmp_path, train, ["good", "bad"], [0, 1])
    named = ["0", "1", "2"]
    assert numbered(tmp_path, named, ["1", "2", "3"], [0, 1, 1]) == [1, 2, 2]
    with pytest.raises(UserError, match=r"row 2 has the class '3' \(label 2"):
        numbered(tmp_path, named, ["1", "2", "3"], [0, 1, 2])
    assert numbered(tmp_path, None, ["1", "2", "3"], [0, 1, 1]) == [0, 1, 1]
    with pytest.raises(UserError, match="which number means which cannot be told"):
        numbered(tmp_path, None, ["1", "2", "3", "4"], [0, 1, 1])
    of_a_model = RunClasses(3, tuple(named), "the model")
    for names, fits in ((["1", "2", "3"], False), (["1", "2"], True), (named, True)):
        beside = read_beside(dataset(tmp_path / "other" / str(len(names)) / str(fits), names, fingerprint=None))
        if fits:
            numbering_of(beside, of_a_model, [])
        else:
            with pytest.raises(UserError, match=r"cannot be told\. Copy .*train\.pt into another folder"):
                numbering_of(beside, of_a_model, [])
    assert numbered(tmp_path, ["2", "1", "0"], ["0", "2"], [0, 1]) == [2, 0]
    assert numbered(tmp_path, ["good", "bad", "ugly"], None, [0, 1, 2]) == [0, 1, 2]


def test_num_labels_that_is_not_the_number_of_classes(prepared):
    message = refusal(prepared, config(prepared, classification_head={"num_labels": 4}))
    assert "has 3 classes (bad, good, neutral), but classification_head.num_labels is 4. Set it to 3" in message


def plain(folder, name: str, **options):
    """A folder with a file of tensors and, maybe, a labels.txt of its own."""
    (folder / name / "cls").mkdir(parents=True)
    for split in ("train", "test"):
        write_tensors(folder / name / "cls" / f"{split}.pt", *tiny.rows(12, **options))


def test_files_that_nothing_lies_beside_are_taken_as_ever(tmp_path):
    tiny.write_vocabulary(tmp_path / "words")
    plain(tmp_path, "a")
    run = config(tmp_path, "a", "a", "words")
    splits = load(tmp_path, run)
    assert [data.notes for data in splits.values()] == [(), ()]
    assert label_names(run, splits["train"]) == ["0", "1", "2"]


def test_a_labels_txt_that_is_no_list_of_the_classes_is_told(tmp_path):
    tiny.write_vocabulary(tmp_path / "words")
    plain(tmp_path, "a")
    run = config(tmp_path, "a", None, "words")
    for text, words in (("x\ny\n", "has 2 lines, but there are 3 classes"), ("0\n1\n1\n", "not taken for class names")):
        (tmp_path / "a" / "labels.txt").write_text(text)
        splits = load(tmp_path, run)
        assert words in splits["train"].notes[0]
        assert label_names(run, splits["train"]) == ["0", "1", "2"]
    (tmp_path / "a" / "labels.txt").write_text("x\ny\nz\n")
    assert label_names(run, load(tmp_path, run)["train"]) == ["x", "y", "z"]


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=6)


def rewrite(folder, names) -> Path:
    """Gives a folder of `dataset` other class names; returns the path of its cls/train.pt."""
    description = json.loads((folder / "dataset.json").read_text("utf-8"))
    (folder / "dataset.json").write_text(json.dumps({**description, "label_names": names}), "utf-8")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    return folder / "cls" / "train.pt"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two prepared folders to be rewritten."""
    return [dataset(tmp_path_factory.mktemp(name) / name).parent.parent for name in ("train", "other")]


SCRIPTS = st.sampled_from(
    ["0", "1", "2", "10", "01", "-1", "caf\u00e9", "cafe\u0301", "Stra\u00dfe", "STRASSE", "\u6f22", "\uff21", "A", "a"]
)


@strangers
@given(st.data())
def test_strangers_classes_are_the_same_by_name_or_refused(folders, data):
    """Any names in any order on both sides: a label that is taken has its file's name in the run."""

    def canonical(name: str) -> str:
        return unicodedata.normalize("NFC", name.strip())

    names = st.lists(NAMES | SCRIPTS, min_size=2, max_size=6, unique_by=canonical).filter(
        lambda n: all(map(canonical, n))
    )
    ours = data.draw(names)
    some = st.permutations(ours).flatmap(lambda n: st.integers(1, len(n)).map(lambda k: n[:k]))
    form = data.draw(st.sampled_from(["NFC", "NFD"]))
    theirs = [unicodedata.normalize(form, name) for name in data.draw(some | names)]
    paths = [rewrite(folder, classes) for folder, classes in zip(folders, (ours, theirs), strict=True)]
    train, other = map(read_beside, paths)
    classes, notes = training_classes(train, len(ours), []), []
    labels = np.arange(10) % len(theirs)
    known = {canonical(name): i for i, name in enumerate(ours)}
    expected = [known.get(canonical(theirs[label])) for label in labels]
    try:
        numbering = numbering_of(other, classes, notes)
        found = labels if numbering is None else run_labels(other.path, labels, numbering, notes)
    except UserError as error:
        assert None in expected
        assert str(folders[1]) in str(error)  # noqa: PT017
        return
    if None in expected:  # only where the run has no names but numbers
        assert ours == [str(i) for i in range(len(ours))]
        assert "the numbers are taken as they are" in notes[0]
    else:
        assert found.tolist() == expected
        assert found.tolist() == labels.tolist() or "mapped to the classes of" in notes[0]


# --- the vocabulary -----------------------------------------------------------------------------------------------


def test_another_vocabulary_is_refused_and_both_are_named(prepared):
    message = refusal(prepared, config(prepared, test="own"))
    for words in (f"{prepared}/own/cls/test.pt", f"{prepared}/own/vocab", f"{prepared}/train/vocab", "fingerprint"):
        assert words in message
    message = refusal(prepared, config(prepared, vocab="own/vocab"))
    assert f"Set tokenizer.vocab_dir to {prepared}/train/vocab" in message
    assert f"--vocab {prepared}/own/vocab" in message


def test_the_same_vocabulary_elsewhere_is_sound(tmp_path, prepared):
    WordPieceTokenizerWrapper().load(prepared / "train" / "vocab").save(tmp_path / "copy")
    assert load(prepared, config(prepared, vocab=str(tmp_path / "copy")))["train"].notes == ()


def test_pretraining_compares_the_vocabulary_and_wants_no_names(tmp_path, prepared):
    def pretraining(path, vocab_dir):
        data = {name: {"dataset_path": str(path)} for name in ("train", "val", "test")}
        return tiny.pretraining(prepared, tokenizer={"vocab_dir": str(vocab_dir)}, data=data)

    assert "is another one" in refusal(prepared, pretraining("train/mlm/train.pt", "own/vocab"))
    folder = tmp_path / "copy"
    path = dataset(folder, fingerprint=None)
    (folder / "labels.txt").write_bytes(b"\xff\n\n")
    write_tensors(path, *tiny.rows(12))
    assert load(folder, pretraining(path, folder / "vocab"))["train"].notes == ()


def test_a_vocabulary_beside_the_file_counts_without_a_description(tmp_path):
    for name in ("a", "b"):
        plain(tmp_path, name)
        tiny.write_vocabulary(tmp_path / name / "vocab")
    text = (tmp_path / "b" / "vocab" / "vocab.txt").read_text()
    (tmp_path / "b" / "vocab" / "vocab.txt").write_text(text.replace("word7\n", "other\n"))
    message = refusal(tmp_path, config(tmp_path, "a", "b", "a/vocab"))
    assert f"{tmp_path}/b/vocab" in message
    assert f"If {tmp_path}/b/vocab is not that of this file, move one of the two" in message
    assert load(tmp_path, config(tmp_path, "b", "b", "b/vocab"))["train"].notes == ()
    (tmp_path / "b" / "vocab" / "vocab.txt").write_bytes(b"\xff")
    assert "test.pt: the vocabulary beside it cannot be read" in refusal(
        tmp_path, config(tmp_path, "a", "b", "a/vocab")
    )
    (tmp_path / "b" / "vocab").rename(tmp_path / "elsewhere")
    assert load(tmp_path, config(tmp_path, "a", "b", "a/vocab"))["test"].notes == ()


def test_a_vocabulary_that_was_extended_is_told(tmp_path):
    """Ids of the shorter one mean the same in the longer one."""
    plain(tmp_path, "a")
    tiny.write_vocabulary(tmp_path / "a" / "vocab")
    tiny.write_vocabulary(tmp_path / "longer", tiny.VOCAB_SIZE + 5)
    (note,) = load(tmp_path, config(tmp_path, "a", "a", "longer"))["train"].notes
    assert "is the run's without the last 5 pieces" in note


@pytest.mark.parametrize(
    ("change", "words"),
    [({"lowercase": False}, "capital letters"), ({"lowercase": True, "strip_accents": False}, "accents")],
)
def test_the_same_pieces_under_other_rules(tmp_path, change, words):
    """A vocabulary that has all letters: the same pieces, but texts were split otherwise than new ones would be."""
    texts = ["the cat sat", "a dog ran", "\u00e9t\u00e9"]
    for name, rules in (("a", {"lowercase": True, "strip_accents": True}), ("b", change)):
        plain(tmp_path, name)
        WordPieceTokenizerWrapper().train(texts=texts, vocab_size=60, **rules).save(tmp_path / name / "vocab")
    pieces = [(tmp_path / name / "vocab" / "tokenizer.json").read_text() for name in "ab"]
    vocabulary = pieces[0][pieces[0].index('"model"') :]
    (tmp_path / "b" / "vocab" / "tokenizer.json").write_text(pieces[1][: pieces[1].index('"model"')] + vocabulary)
    (tmp_path / "b" / "vocab" / "vocab.txt").write_bytes((tmp_path / "a" / "vocab" / "vocab.txt").read_bytes())
    for name in "ab":
        for split in ("train", "test"):
            ids, mask, labels = tiny.rows(12)
            write_tensors(tmp_path / name / "cls" / f"{split}.pt", ids % 20, mask, labels)
    message = refusal(tmp_path, config(tmp_path, "a", "b", "a/vocab"))
    assert f"has the pieces of {tmp_path}/a/vocab but treats" in message
    assert words in message


@pytest.mark.parametrize(
    ("flags", "words"), [((), "accents"), (("--max-word-length", "200"), "accents and long words")]
)
def test_a_lone_vocab_txt_cannot_say_how_texts_are_treated(tmp_path, flags, words):
    """The same pieces, few words of new texts would be treated otherwise: told."""
    prepare(tmp_path, "data", labelled("bad", "good", "neutral"), *flags)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_bytes((tmp_path / "data" / "vocab" / "vocab.txt").read_bytes())
    for lone in ("bert", "bert/vocab.txt", "data/vocab/vocab.txt"):
        (note,) = load(tmp_path, config(tmp_path, "data", "data", lone))["train"].notes
        assert f"has the pieces of {tmp_path}/{lone} but treats {words} otherwise. {tmp_path}/{lone} has no tok" in note
        assert f"texts to predict will be treated as by {tmp_path}/{lone}. To have" in note
        assert f"Set tokenizer.vocab_dir to {tmp_path}/data/vocab, or prepare" in note
    for known in ("data/vocab", "data/vocab/tokenizer.json"):
        assert load(tmp_path, config(tmp_path, "data", "data", known))["train"].notes == ()


def test_a_lone_vocab_txt_under_rules_that_change_many_words_is_refused(tmp_path):
    prepare(tmp_path, "cased", labelled("bad", "good", "neutral"), "--no-lowercase")
    message = refusal(tmp_path, config(tmp_path, "cased", "cased", "cased/vocab/vocab.txt"))
    assert "treats capital letters and accents otherwise. Set tokenizer.vocab_dir to" in message
    prepare(tmp_path, "plain", labelled("bad", "good", "neutral"), "--strip-accents")
    assert load(tmp_path, config(tmp_path, "plain", "plain", "plain/vocab/vocab.txt"))["train"].notes == ()


WRAPPER = """
class Wrapper:
    {attributes}
    def load(self, folder):
        return self
    def mask_input_for_mlm(self, input_ids, attention_mask):
        return input_ids, input_ids
"""


def test_a_wrapper_that_does_not_tell_its_pieces_is_told(tmp_path, prepared):
    (tmp_path / "wrapper.py").write_text(WRAPPER.format(attributes="vocab_size, pad_id = 500, 0"))
    (tmp_path / "vocab").mkdir()

    def run(vocab_dir):
        return config(prepared, tokenizer={"wrapper_path": str(tmp_path / "wrapper.py"), "vocab_dir": str(vocab_dir)})

    assert "whether its ids fit cannot be told" in load(prepared, run(tmp_path / "vocab"))["train"].notes[0]
    assert "is another one" in refusal(prepared, run("own/vocab"))  # its vocab.txt tells them
    assert load(prepared, run("train/vocab"))["train"].notes == ()
