"""What counts as a prediction; the figures are tested in tests/tasks/test_metrics.py."""

import numpy as np
import pytest

from textclf_jax.evaluation.evaluator import predicts


@pytest.mark.parametrize(("value", "fine"), [(1e30, True), (np.nan, False), (np.inf, False), (-np.inf, False)])
def test_a_model_predicts_where_all_its_logits_are_finite(value, fine):
    assert predicts(np.array([[0.0, 1.0], [value, 0.0]])) is fine
