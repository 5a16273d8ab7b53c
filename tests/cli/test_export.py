"""`textclf export` on the command line; the formats are tested in tests/interop/test_exporting.py."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.interop import bert
from textclf_jax.cli import main
from textclf_jax.interop.importing import import_huggingface
from textclf_jax.runs.checkpoint import read_metadata
from textclf_jax.runs.model_notes import replace_metadata
from textclf_jax.tasks.confidence import Abstention


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with a classifier `news` and an encoder with MLM head `wiki`."""
    monkeypatch.chdir(tmp_path)
    for kind, name in {"BertForSequenceClassification": "news", "BertForMaskedLM": "wiki"}.items():
        import_huggingface(bert.save(bert.random_model(kind), tmp_path / kind), name)
    return tmp_path


def test_runs_of_both_kinds_by_name(project, capsys):
    assert main(["export", "news", "--format", "hf", "--out", "out"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "wrote out"
    files = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
    assert {path.name for path in Path("out").iterdir()} == files
    # BERT's decoder has a bias, and the reference's has none
    assert main(["export", "wiki", "--format", "reference", "--out", "model.ckpt"]) == 2
    assert "mlm_head.decoder_bias: true" in capsys.readouterr().err


def test_what_an_export_loses_is_said(project, capsys):
    """Probabilities of the exported model are others, and it always gives a label."""
    model = Path("experiments/finetuning/news/model.ckpt")
    metadata = read_metadata(model)
    limit = Abstention(0.05, 0.75, 100, 0.9, 0.04)
    for stored, lost in (
        ({}, ""),
        ({"temperature": 1.5}, "its temperature: divide logits by 1.5000 for the probabilities of predict"),
        ({"temperature": 1.5, **limit.stored()}, "where none of these is above 0.7500"),
    ):
        replace_metadata(model, metadata | stored)
        shutil.rmtree("out", ignore_errors=True)
        assert main(["export", "news", "--format", "hf", "--out", "out"]) == 0
        told = capsys.readouterr().err
        assert lost in told
        assert bool(told) == bool(stored)


def test_a_model_by_its_path(project):
    shutil.copytree("experiments/finetuning/news/model.ckpt", "copy")
    assert main(["export", "copy", "--format", "reference", "--out", "classifier.ckpt"]) == 0
    state = torch.load("classifier.ckpt", weights_only=True)["model_state"]
    assert state["classifier.classifier.weight"].shape == (2, 16)


def test_a_name_of_two_runs(project, capsys):
    shutil.copytree("experiments/finetuning/news", "experiments/pretraining/news")
    assert main(["export", "news", "--format", "hf", "--out", "out"]) == 2
    paths = "experiments/finetuning/news/model.ckpt or experiments/pretraining/news/model.ckpt"
    assert f"there are two runs news. Give the path of one: {paths}" in capsys.readouterr().err


def test_no_such_run_and_no_model_yet(project, capsys):
    assert main(["export", "nwes", "--format", "hf", "--out", "out"]) == 2
    assert 'Did you mean "news"?' in capsys.readouterr().err
    shutil.rmtree("experiments/finetuning/news/model.ckpt")
    assert main(["export", "news", "--format", "hf", "--out", "out"]) == 2
    assert "there is no saved model" in capsys.readouterr().err


def test_the_preset_for_export(tmp_path, monkeypatch, capsys):
    """A classifier that is made with it becomes a plain BERT, and all that is said so before it is trained."""
    pytest.importorskip("onnx")
    pytest.importorskip("flatbuffers")
    monkeypatch.chdir(tmp_path)
    data = tiny.write_data(Path("data"))
    (data / "labels.txt").write_text("bad\nso so\ngood\n")
    (data / "dataset.json").write_text(json.dumps({"max_length": tiny.MAX_LENGTH}))
    small = [f"architecture.{key}" for key in ("embedding_dim=16", "num_layers=1", "mlp_size=32")]
    start = ["new", "finetuning", "topics", "--from-scratch", "--preset", "export", "--data", "data"]
    assert main([*start, "--set", *small, "training.epochs=1", "classification_head.linear.enabled=false"]) == 0
    assert main(["finetune", "topics", "--dry-run"]) == 0
    assert "can be exported as hf, onnx, stablehlo" in capsys.readouterr().out
    assert main(["finetune", "topics"]) == 0
    for name in ("hf", "onnx", "stablehlo"):
        capsys.readouterr()
        assert main(["export", "topics", "--format", name, "--out", name]) == 0
        assert capsys.readouterr().err == ""
    described = json.loads(Path("hf/config.json").read_text())
    assert (described["model_type"], described["architectures"]) == ("bert", ["BertForSequenceClassification"])
    assert described["id2label"] == {"0": "bad", "1": "so so", "2": "good"}
