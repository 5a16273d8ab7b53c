"""Predictions on the device: those of a text do not depend on the texts beside it."""

import numpy as np
import pytest

from tests import tiny
from tests.evaluation.test_text_logits import texts_of
from textclf_jax.evaluation.prediction import Predictor

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("full_precision", [False, True])
def test_an_answer_does_not_depend_on_the_other_texts(tmp_path, full_precision):
    predictor = Predictor(tiny.untrained(tmp_path), full_precision=full_precision)
    mine = texts_of(20, seed=0)
    alone = [next(predictor([text])).probabilities for text in mine]
    rng = np.random.default_rng(1)
    for seed in range(5):
        others = texts_of(3000, seed=10 + seed)
        places = rng.choice(len(others), len(mine), replace=False)
        for place, text in zip(places, mine, strict=True):
            others[place] = text
        found = list(predictor(others))
        np.testing.assert_array_equal([found[place].probabilities for place in places], alone)
