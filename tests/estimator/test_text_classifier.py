"""`textclf_jax.TextClassifier`: what it trains, where it writes, what it refuses."""

import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.estimator.stand_in import train_in_no_time
from tests.estimator.texts import TINY, texts_and_labels
from textclf_jax import Classifier, TextClassifier, UserError
from textclf_jax.cli import main
from textclf_jax.config.file import load_config
from textclf_jax.errors import ArgumentError
from textclf_jax.estimator import project, text_classifier
from textclf_jax.estimator.project import FLAGS, Project
from textclf_jax.training.budget import RunCost
from textclf_jax.training.speed import MeasuredLength

SMALL = {"max_length": 16, "vocab_size": 200, "random_state": 3}
TEXTS, LABELS = texts_and_labels(40)
OF_TRAINING = {key: value for key, value in TINY.items() if not key.startswith("architecture.")}


def scratch(**arguments) -> TextClassifier:
    """One that is trained in a moment."""
    return TextClassifier(**{"pretrain": False, "finetuning_settings": TINY, **SMALL, **arguments})


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """An empty current folder, and an empty one for temporary files."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


# --- trained ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_named_folder_is_a_project_for_the_commands(own_folders, capfd):
    """Data, a pretrained encoder and the classifier; nothing is printed, and nothing lies elsewhere."""
    settings = {"pretraining_settings": TINY, "finetuning_settings": OF_TRAINING}
    estimator = TextClassifier(folder="topics", **settings, **SMALL)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert estimator.fit(TEXTS, LABELS, extra_texts=["goal and bank", " "]) is estimator
    assert capfd.readouterr() == ("", "")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert Path.cwd() == own_folders / "here"
    assert sorted(path.name for path in Path().iterdir()) == ["topics"]
    assert list((own_folders / "temporary").iterdir()) == []
    assert estimator.classes_.tolist() == ["money", "sport"]
    assert estimator.predict(TEXTS).tolist() == LABELS
    run = Path("topics/experiments/finetuning/classifier")
    config = load_config(run / "config.yaml", kind="finetuning").config
    assert (config.pretrained_experiment.path, config.architecture.embedding_dim) == (
        "experiments/pretraining/encoder",
        16,
    )
    np.testing.assert_array_equal(Classifier.load(run).predict_proba(TEXTS), estimator.predict_proba(TEXTS))
    os.chdir("topics")
    assert main(["predict", "classifier", "--text", TEXTS[0], "--format", "csv"]) == 0
    assert capfd.readouterr().out.splitlines()[1].startswith(f"{TEXTS[0]},{LABELS[0]},")
    with pytest.raises(ArgumentError, match=r"folder .*topics: there is something already"):
        TextClassifier(folder=own_folders / "here" / "topics", **SMALL).fit(TEXTS, LABELS)


def test_equal_seeds_give_equal_bits_also_in_another_thread(own_folders, capsys):
    """One is verbose, and prints what the commands print; the other prints nothing."""
    one = scratch(verbose=True).fit(TEXTS, LABELS).predict_proba(TEXTS)
    out = capsys.readouterr().out
    assert "rows: 40 read = 36 train + 4 val" in out
    assert "results of the best model" in out
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(lambda: scratch().fit(TEXTS, LABELS).predict_proba(TEXTS)).result()
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(one, other)
    assert not (own_folders / "here").joinpath("experiments").exists()
    assert [*Path().iterdir(), *(own_folders / "temporary").iterdir()] == []


def test_several_labels_a_text():
    """A matrix of 0 and 1 and the same as lists are one model, which answers as it was asked."""
    both = [f"{text} {other}" for text, other in zip(TEXTS[::2], TEXTS[1::2], strict=True)]
    texts, lists = [*TEXTS, *both], [*([label] for label in LABELS), *([["money", "sport"]] * len(both))]
    matrix = np.array([["money" in of, "sport" in of] for of in lists], np.int8)
    estimator = scratch().fit(texts, matrix)
    found = estimator.predict(texts)
    assert (found.shape, found.dtype) == (matrix.shape, np.int8)
    assert (found == matrix).mean() > 0.9
    assert estimator.predict_proba(texts).shape == matrix.shape
    assert estimator.score(texts, matrix) == (found == matrix).all(axis=1).mean()


# --- around the training ----------------------------------------------------------------------------------------


def test_labels_come_back_as_they_were_given(monkeypatch):
    train_in_no_time(monkeypatch)
    numbers = {"money": 10, "sport": 9}
    for labels in (
        [numbers[label] for label in LABELS],
        [label == "money" for label in LABELS],
        [f" {label}\n" for label in LABELS],
        [[label] for label in LABELS],
    ):
        estimator = scratch().fit(TEXTS, labels)
        assert [*estimator.classes_] == sorted(estimator.classes_)
        assert list(estimator.predict(TEXTS)) == [tuple(each) if isinstance(each, list) else each for each in labels]
        assert estimator.score(TEXTS, labels) == 1.0
    assert estimator.score(TEXTS[:2], [["money"], ["money"]]) == 0.5


def test_texts_without_a_character_are_left_out_and_told(monkeypatch):
    train_in_no_time(monkeypatch)
    seen = []
    monkeypatch.setattr(Project, "train", lambda self: seen.append(self.examples) or self)
    with pytest.warns(UserWarning, match=r"no visible character: 2 of 42 texts \(texts\[0\], texts\[41\]\)"):
        scratch().fit(["\u200b", *TEXTS, " "], ["sport", *LABELS, "money"])
    (examples,) = seen
    assert [row.text for row in examples.rows] == TEXTS
    assert [examples.classes.names[i] for i in examples.numbers] == LABELS
    told = pytest.raises(ArgumentError, match=r"no text of these classes .*: none")
    with pytest.warns(UserWarning, match="no visible character: 1 of 41 texts"), told:
        scratch().fit([*TEXTS, ""], [*LABELS, "none"])


def test_the_seed_is_drawn_as_scikit_learn_draws(monkeypatch):
    fits = train_in_no_time(monkeypatch)
    for state in (3, 3, 4, np.random.RandomState(3), None, None):
        scratch(random_state=state).fit(TEXTS, LABELS)
    seeds = [recipe.seed for recipe in fits]
    assert seeds[0] == seeds[1] == seeds[3]
    assert len(set(seeds)) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"validation_fraction": 1}, "validation_fraction 1 must be at least 0 and below 1"),
        ({"max_length": 2}, "max_length 2 must be at least 3"),
        ({"vocab_size": 0}, "vocab_size 0 must be at least 1"),
        ({"minutes": 0}, "minutes 0 must be above 0"),
        ({"minutes": 1, "finetuning_settings": TINY}, "training.epochs is decided by minutes"),
        ({"finetuning_settings": {"experiment.seed": 1}}, "experiment.seed is decided by random_state"),
        ({"pretraining_settings": TINY}, "pretraining_settings are given, and pretrain is False"),
        ({"pretrain": True}, "architecture.embedding_dim is that of the pretrained encoder"),
        ({"preset": "bert-huge"}, "bert-huge.yaml. There are: bert-base"),
        ({"finetuning_settings": {"training.epoch": 1}}, 'training.epoch=1 .*Did you mean "epochs"'),
        ({"vocab_size": 10}, "the vocabulary size of 10|vocab_size is vocab_size|--vocab-size"),
    ],
)
def test_wrong_arguments_are_refused_and_leave_nothing(own_folders, arguments, told):
    with pytest.raises(UserError, match=told):
        scratch(folder="topics", **arguments).fit(TEXTS, LABELS)
    assert list(Path().iterdir()) == []


def test_texts_and_labels_must_be_as_many():
    with pytest.raises(ArgumentError, match="40 texts and labels of 39"):
        scratch().fit(TEXTS, LABELS[1:])
    with pytest.raises(ArgumentError, match="extra_texts are to pretrain on"):
        scratch().fit(TEXTS, LABELS, extra_texts=["a text"])


def test_flags_in_messages_of_prepare_are_explained(own_folders):
    with pytest.raises(UserError) as error:
        scratch(vocab_size=10).fit(TEXTS, LABELS)
    assert "--vocab-size" in str(error.value)
    assert str(error.value).endswith(FLAGS)


def test_an_existing_empty_folder_stays_where_nothing_was_made(own_folders):
    Path("topics").mkdir()
    with pytest.raises(UserError):
        scratch(folder="topics", preset="bert-huge").fit(TEXTS, LABELS)
    assert list(Path("topics").iterdir()) == []


# --- data and length --------------------------------------------------------------------------------------------


class Machine:
    """Data and configs are made on it, but runs are not trained.

    Attributes:
      now: the clock, in seconds.
      training: seconds that each run takes.
      asked: (name of the run, minutes it is to take), in their order.
    """

    def __init__(self, monkeypatch):
        self.now, self.training, self.asked = 100.0, 0.0, []
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(project, "time", clock)
        monkeypatch.setattr(text_classifier, "time", clock)
        monkeypatch.setattr(project, "length_within", self.length_within)
        monkeypatch.setattr(Project, "_run", lambda project, kind, path: self.run(path))
        monkeypatch.setattr(text_classifier, "Classifier", SimpleNamespace(load=Path))

    def length_within(self, minutes, config, root, *, measuring_counts) -> MeasuredLength:
        assert measuring_counts
        self.asked.append((config.experiment.name, minutes))
        return MeasuredLength(400, 100, RunCost(1.0, 0.5, 1.0, 1.0, 4, 1, 0), minutes)

    def run(self, path: Path) -> Path:
        self.now += self.training
        return path


@pytest.fixture
def not_trained(monkeypatch) -> Machine:
    return Machine(monkeypatch)


def test_minutes_are_shared_as_in_a_study(tmp_path, not_trained):
    not_trained.training = 8 * 60
    TextClassifier(folder=tmp_path / "topics", minutes=10, **SMALL).fit(TEXTS, LABELS)
    assert not_trained.asked == [("encoder", 8.5), ("classifier", 2.0)]
    configs = [
        load_config(tmp_path / "topics" / "experiments" / kind / name / "config.yaml", kind=kind).config.training
        for kind, name in (("pretraining", "encoder"), ("finetuning", "classifier"))
    ]
    assert [(config.max_updates, config.epochs) for config in configs] == [(400, 100), (20, 5)]


def test_from_scratch_all_minutes_are_for_the_classifier(tmp_path, not_trained):
    scratch(folder=tmp_path / "topics", minutes=10, finetuning_settings=None).fit(TEXTS, LABELS)
    assert not_trained.asked == [("classifier", 10.0)]


def test_finetuning_has_its_share_where_pretraining_took_too_long(tmp_path, not_trained):
    not_trained.training = 11 * 60
    TextClassifier(folder=tmp_path / "topics", minutes=10, **SMALL).fit(TEXTS, LABELS)
    assert not_trained.asked == [("encoder", 8.5), ("classifier", 1.5)]


@pytest.mark.parametrize(("fraction", "rows"), [(0.1, 4), (0.25, 10), (0.0, 0)])
def test_the_validation_split_has_its_share_of_each_class(tmp_path, not_trained, fraction, rows):
    from textclf_jax.data.dataset import load_dataset

    scratch(folder=tmp_path / "topics", validation_fraction=fraction).fit(TEXTS, LABELS)
    file = tmp_path / "topics" / "data" / "cls" / "val.pt"
    assert file.exists() == bool(rows)
    if rows:
        data = load_dataset(file, vocab_size=200, pad_id=0, max_length=16, num_labels=2)
        assert np.bincount(data.labels).tolist() == [rows / 2] * 2
    config = load_config(tmp_path / "topics" / "experiments" / "finetuning" / "classifier" / "config.yaml").config
    assert (config.data.val.dataset_path is not None) == bool(rows)
    assert config.data.test.dataset_path is None


def test_of_one_text_a_class_none_is_for_validation(tmp_path, not_trained):
    scratch(folder=tmp_path / "topics").fit(["goal goal team", "bank bank loan"], ["sport", "money"])
    assert sorted(path.name for path in (tmp_path / "topics" / "data" / "cls").iterdir()) == ["train.pt"]
