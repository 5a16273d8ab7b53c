"""Products of bfloat16 operands train as products of float32 ones do."""

import pytest

from tests import tiny
from textclf_jax.runs.metrics_files import read_metrics
from textclf_jax.runtime.device import compute_precision
from textclf_jax.training.fit import fit


def test_losses_of_200_steps_agree(tmp_path):
    data = tiny.write_data(tmp_path / "data", train=400)
    losses = {}
    for use_amp in (True, False):
        training = {"use_amp": use_amp, "epochs": 4, "batch_size": 8}
        config = tiny.pretraining(data, training=training, logging={"log_interval_updates": 20})
        if use_amp and not compute_precision(config.training).rounds_products:
            pytest.skip("this device multiplies float32 only")
        folder = tmp_path / str(use_amp)
        assert fit(config, folder) == 0
        losses[use_amp] = [row["train/loss"] for row in read_metrics(folder / "metrics" / "train" / "metrics.csv")]
    assert len(losses[True]) == 10
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.02)
    # and something was learned
    assert losses[True][-1] < 0.9 * losses[True][0]
