"""Runs that start from a file of the PyTorch reference."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from tests import tiny
from tests.interop import bert
from tests.model.cases import random_variables
from textclf_jax.cli import main
from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import generate_finetuning, generate_pretraining
from textclf_jax.interop.reference import state_dict_from_variables
from textclf_jax.interop.starting import load_start
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier

LSH = {"kind": "lsh", "lsh": {"chunk_size": 4}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def write(path: Path, config, **payload):
    """A file of random weights for a config; returns the variables in it."""
    if hasattr(config, "mlm_head"):
        head, module = config.mlm_head, MaskedLanguageModel(config.architecture, config.mlm_head, tiny.VOCAB_SIZE)
    else:
        head = config.classification_head
        module = SequenceClassifier(config.architecture, head, tiny.VOCAB_SIZE)
    variables = random_variables(module, bert.IDS, bert.LENGTHS)
    arrays = state_dict_from_variables(variables, config.architecture, head)
    state = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    torch.save({"model_state": state, **payload}, path)
    return variables


def test_finetuning_takes_the_encoder_and_switches_the_variants_on(data, tmp_path):
    changes: Any = {"architecture": tiny.architecture(attention=LSH)}
    variables = write(tmp_path / "model.ckpt", tiny.pretraining(data, **changes), epoch=1)
    start, config, notes = load_start(tmp_path / "model.ckpt", tiny.finetuning(data, **changes))
    jax.tree.map(np.testing.assert_array_equal, start.variables["params"], {"encoder": variables["params"]["encoder"]})
    assert (config.architecture.rope.variant, config.architecture.attention.lsh.variant) == ("reference",) * 2
    assert start.architecture == config.architecture
    assert [note.split(" is ")[0] for note in notes] == [
        "architecture.rope.variant",
        "architecture.attention.lsh.variant",
    ]
    assert "mlm.decoder.weight" in start.unread
    assert start.vocabulary is None
    # nothing to switch, nothing to say
    assert load_start(tmp_path / "model.ckpt", config)[1:] == (config, [])


def test_pretraining_takes_the_head_too(data, tmp_path):
    variables = write(tmp_path / "best-model.ckpt", tiny.pretraining(data))
    start, _, _ = load_start(tmp_path, tiny.pretraining(data))
    jax.tree.map(np.testing.assert_array_equal, start.variables, variables)
    write(tmp_path / "best-model.ckpt", tiny.finetuning(data))
    with pytest.raises(UserError, match=r"best-model.ckpt does not fit(.|\n)*missing: mlm\.(.|\n)*over: classifier\."):
        load_start(tmp_path, tiny.pretraining(data))


def test_favor_s_directions_come_along(data, tmp_path):
    changes: Any = {"architecture": tiny.architecture(attention={"kind": "favor", "favor": {"nb_features": 8}})}
    variables = write(tmp_path / "model.ckpt", tiny.pretraining(data, **changes))
    start, _, _ = load_start(tmp_path / "model.ckpt", tiny.finetuning(data, **changes))
    jax.tree.map(np.testing.assert_array_equal, start.variables["features"], variables["features"])


@pytest.fixture
def project(data, tmp_path, monkeypatch) -> Path:
    """A project with a tiny run of each kind on the data, and a `model.ckpt` of the reference in a run of its own."""
    monkeypatch.chdir(tmp_path)
    sizes = {key: value for key, value in tiny.architecture(**{"attention.num_heads": 2}).items() if key != "attention"}
    shared = [f"architecture.{key}={value}" for key, value in sizes.items()]
    shared += [f"tokenizer.vocab_dir={data / 'vocab'}", "training.epochs=1", "data.num_length_buckets=1"]
    for task, kind in {"mlm": "pretraining", "cls": "finetuning"}.items():
        paths = [f"data.{split}.dataset_path={data / task / split}.pt" for split in ("train", "val", "test")]
        if kind == "pretraining":
            generate_pretraining("new", overrides=[*shared, *paths])
        else:
            start = ["pretrained_experiment.path=old", "classification_head.num_labels=3"]
            generate_finetuning("new", None, overrides=[*shared, *paths, *start])
    (tmp_path / "old").mkdir()
    write(tmp_path / "old/model.ckpt", tiny.pretraining(data))
    return tmp_path


def test_a_reference_checkpoint_finetunes(project, capsys):
    assert main(["finetune", "new"]) == 0
    shown = capsys.readouterr()
    assert "note: architecture.rope.variant is reference" in shown.err
    assert "loaded 27 arrays of the encoder from old/model.ckpt" in shown.out
    assert "new: classifier/bias" in shown.out
    assert "not used: mlm.transform.0.weight" in shown.out
    saved = bert.load(project / "experiments/finetuning/new")
    assert saved.metadata["config"]["architecture"]["rope"]["variant"] == "reference"


def test_a_reference_checkpoint_is_pretrained_further(project, capsys):
    assert main(["pretrain", "new", "--dry-run", "--set", "training.resume.path=old"]) == 0
    assert "note: architecture.rope.variant is reference" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "messages"),
    [
        ("architecture.mlp_size=48", ["does not fit the model", "mlp/up/kernel: (16, 32) in the checkpoint, (16, 48)"]),
        ("architecture.num_layers=3", ["old/model.ckpt does not fit", "missing: layers.2.attention_block"]),
        ("architecture.type_vocab_size=2", ["missing: embeddings.token_type_embeddings.weight"]),
        ("pretrained_experiment.checkpoint=x", ["old/x: there is no checkpoint", "holds: model.ckpt"]),
        ("training.resume.path=old", ["training.resume.path old is for pretraining runs"]),
    ],
)
def test_what_does_not_fit_is_listed(project, capsys, override, messages):
    assert main(["finetune", "new", "--dry-run", "--set", override]) == 2
    shown = capsys.readouterr().err
    assert [message for message in messages if message not in shown] == []


def test_another_vocabulary_is_noticed_by_its_size(project, capsys):
    other = tiny.write_vocabulary(project / "other", tiny.VOCAB_SIZE + 2)
    assert main(["finetune", "new", "--dry-run", "--set", f"tokenizer.vocab_dir={other}"]) == 2
    assert "the vocabulary has 62 words, that of old/model.ckpt has 60" in capsys.readouterr().err
