"""Models of earlier versions load in this one, and say what they said then."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.trained import run
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.runs.pretrained import load_pretrained

VERSIONS = sorted(path for path in Path(__file__).parent.iterdir() if (path / "predictions.json").exists())


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_a_classifier_says_what_it_said(folder):
    expected = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    for prediction in Predictor(folder / "classifier.ckpt", full_precision=True)(list(expected)):
        np.testing.assert_allclose(prediction.probabilities, expected[prediction.text], atol=1e-5)


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_an_encoder_is_finetuned(folder, tmp_path, capsys):
    config = tiny.finetuning(tiny.write_data(tmp_path / "data"), training={"epochs": 1})
    run(config, tmp_path / "run", pretrained=load_pretrained(folder / "encoder.ckpt"))
    assert "encoder.ckpt" in capsys.readouterr().out
