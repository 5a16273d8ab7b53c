"""ONNX Runtime computes what this project does, from the exported folder alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests import tiny
from tests.interop import bert
from tests.interop.test_exporting import classifier, mlm
from tests.trained import run
from textclf_jax.cli import main
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.interop.onnx_model import FACTS, MODEL, QUANTISED, export_onnx
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.tasks.confidence import Abstention
from textclf_jax.tasks.thresholds import Thresholds

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

MASK = (np.arange(bert.IDS.shape[1]) < bert.LENGTHS[:, None]).astype(np.int64)
HEAD: dict[str, Any] = {"num_labels": 3, "linear": {"enabled": True, "max_features": 3000}}


def outputs_of(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes."""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    given = {name: value.astype(np.int64) for name, value in inputs.items()}
    return dict(zip(names, session.run(names, given), strict=True))


def their_logits(folder: Path) -> np.ndarray:
    return outputs_of(folder / MODEL, input_ids=bert.IDS, attention_mask=MASK)["logits"]


def probabilities(folder: Path, texts: list[str], model: str = MODEL) -> np.ndarray:
    """As a program would that has nothing but the folder."""
    facts = json.loads((folder / FACTS).read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def rows(limit: int) -> tuple[np.ndarray, np.ndarray]:
        tokenizer.enable_truncation(limit)
        tokenizer.enable_padding()
        encoded = tokenizer.encode_batch(texts)
        return np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded])

    ids, mask = rows(facts["max_length"])
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "whole_max_length" in facts:
        inputs["whole_input_ids"], _ = rows(facts["whole_max_length"])
    assert sorted(inputs) == sorted(facts["inputs"])
    return outputs_of(folder / model, **inputs)["probabilities"]


@pytest.mark.parametrize(
    "architecture",
    [
        {"rope": {"rope_base": 500.0, "rope_scale": 0.5}},
        {"rope": {"variant": "reference"}},
        {"pos_encoding": "learned", "type_vocab_size": 2},
        {"pos_encoding": "sinusoidal", "attention": {"kind": "mha", "attention_embedding_dim": 8}},
        {"attention": {"kind": "mha", "projection_bias": False}},
    ],
    ids=["rope", "reference", "learned", "sinusoidal", "no bias"],
)
def test_encoders(tmp_path, architecture):
    saved = classifier(tmp_path, architecture=tiny.architecture(**architecture))
    assert export_onnx(saved, tmp_path / "out") == []
    bert.check_same_logits(bert.our_logits(saved), their_logits(tmp_path / "out"))


@pytest.mark.parametrize(
    "head",
    [
        {"pooling": "mean", "pooler_type": None},
        {"pooling": "max"},
        {"pooling": "min", "pooler_type": "roberta"},
        {"pooling": "strided_mean", "pooling_stride": 5},
    ],
)
def test_poolings(tmp_path, head):
    saved = classifier(tmp_path, classification_head={"num_labels": 3, **head})
    export_onnx(saved, tmp_path / "out")
    bert.check_same_logits(bert.our_logits(saved), their_logits(tmp_path / "out"))


@pytest.mark.parametrize("head", [{"decoder_bias": True}, {"tie_mlm_weights": False}])
def test_masked_language_models(tmp_path, head):
    saved = mlm(tmp_path, mlm_head=head)
    export_onnx(saved, tmp_path / "out")
    bert.check_same_logits(bert.our_logits(saved), their_logits(tmp_path / "out"))


def test_several_labels_a_text(tmp_path):
    saved = classifier(tmp_path, classification_head={"num_labels": 3, "multi_label": True})
    saved.metadata.update(Thresholds([0.25, 0.5, 0.75], []).stored())
    (note,) = export_onnx(saved, tmp_path / "out")
    assert "thresholds" in note
    assert json.loads((tmp_path / "out" / FACTS).read_text())["thresholds"] == [0.25, 0.5, 0.75]
    found = outputs_of(tmp_path / "out" / MODEL, input_ids=bert.IDS, attention_mask=MASK)
    np.testing.assert_allclose(found["probabilities"], 1 / (1 + np.exp(-bert.our_logits(saved))), atol=1e-5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A classifier whose linear path reads more tokens than its encoder."""
    folder = tmp_path_factory.mktemp("run")
    rng, files = np.random.default_rng(0), {}
    for name, count in (("train", 120), ("val", 60), ("test", 60)):
        labels = rng.integers(0, 3, count)
        ids = rng.integers(10, 50, (count, 20))
        ids[:, 0], ids[:, 3], ids[:, 15], ids[:, 19] = 2, 45 + labels, 50 + labels, 3
        files[name] = {"dataset_path": str(folder / f"{name}.pt")}
        write_tensors(folder / f"{name}.pt", ids, np.zeros(ids.shape, bool), labels)
    data = tiny.write_data(folder / "data")
    architecture = tiny.architecture(max_sequence_length=8)
    config = tiny.finetuning(data, classification_head=HEAD, data=files, architecture=architecture)
    return run(config, folder / "run")


TEXTS = [
    " ".join(f"word{(i * j) % 50}" for j in range(1, 4 + 3 * i)) for i in range(12)
]  # some longer than the encoder reads, some longer than the linear path does


def test_a_trained_classifier_gives_the_probabilities_of_predict(finished, tmp_path):
    """Encoder, linear path, their weights and the temperature; short, long and cut texts, one of them alone too."""
    assert (
        main(["export", str(finished / "model.ckpt"), "--format", "onnx", "--out", str(tmp_path / "out"), "--int8"])
        == 0
    )
    expected = np.array([p.probabilities for p in Predictor(finished / "model.ckpt", full_precision=True)(TEXTS)])
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(probabilities(tmp_path / "out", TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(probabilities(tmp_path / "out", TEXTS[:1]), expected[:1], atol=1e-5)
    quantised = probabilities(tmp_path / "out", TEXTS, QUANTISED)
    np.testing.assert_allclose(quantised, expected, atol=0.05)
    assert not np.array_equal(quantised, expected.astype(np.float32))
    facts = json.loads((tmp_path / "out" / FACTS).read_text())
    assert facts["labels"] == Predictor(finished / "model.ckpt").labels
    assert (facts["max_length"], facts["whole_max_length"]) == (8, 20)


def test_a_limit_on_errors_is_told(finished, tmp_path):
    saved = load_model(finished / "model.ckpt")
    saved.metadata.update(Abstention(0.05, 0.7, 100, 0.8, 0.04).stored())
    (note,) = export_onnx(saved, tmp_path / "out")
    assert "no_label_up_to" in note
    assert json.loads((tmp_path / "out" / FACTS).read_text())["no_label_up_to"] == 0.7


def test_other_attention_is_refused(tmp_path):
    saved = mlm(tmp_path, architecture=tiny.architecture(attention={"kind": "local"}))
    with pytest.raises(UserError, match=r"architecture\.attention\.kind: local, not mha"):
        export_onnx(saved, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_int8_is_for_onnx(finished, tmp_path, capsys):
    assert (
        main(["export", str(finished / "model.ckpt"), "--format", "hf", "--out", str(tmp_path / "out"), "--int8"]) == 2
    )
    assert "--int8 is for --format onnx" in capsys.readouterr().err
