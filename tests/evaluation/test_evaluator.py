"""What counts as a prediction; the figures are tested in tests/tasks/test_metrics.py."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from textclf_jax.data.collate import BatchRows
from textclf_jax.evaluation.evaluator import Evaluator, predicts


@pytest.mark.parametrize(("value", "fine"), [(1e30, True), (np.nan, False), (np.inf, False), (-np.inf, False)])
def test_a_model_predicts_where_all_its_logits_are_finite(value, fine):
    assert predicts(np.array([[0.0, 1.0], [value, 0.0]])) is fine


def test_weights_come_to_the_device_once():
    """And not for each batch, where they are numpy arrays, as a loaded model's are."""
    seen = []

    class Task:
        config = SimpleNamespace(experiment=SimpleNamespace(seed=0))

        def of_model(self, variables):
            return self

        def batch(self, *_, **__):
            return {}

    class EveryShape:
        def __getitem__(self, shape):
            return lambda variables, arrays: ({}, seen.append(variables["table"]))

    plans = [BatchRows(np.arange(2), (2, 4))] * 3
    task: Any = Task()
    programs: Any = EveryShape()
    batching: Any = SimpleNamespace(evaluation=lambda lengths: plans)
    data: Any = SimpleNamespace(lengths=np.full(6, 4))
    assert len(list(Evaluator(task, programs, batching).results({"table": np.ones(3)}, data))) == 3
    assert isinstance(seen[0], jax.Array)
    assert all(table is seen[0] for table in seen)
