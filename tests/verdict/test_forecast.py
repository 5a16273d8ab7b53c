"""What more labels would give: a power law that is known comes out, and what cannot be told is not."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from tests.check.cases import make_rows
from textclf_jax.verdict.forecast import Forecast, Gain, _round_number, extrapolate, forecast


def hits_of(sizes, errors, rows):
    """Rows right or wrong so that exactly these shares are wrong, at different rows by size."""
    rng = np.random.default_rng(0)
    hits = np.ones((len(sizes), rows), bool)
    for i, error in enumerate(errors):
        hits[i, rng.permutation(rows)[: round(error * rows)]] = False
    return hits


@pytest.mark.parametrize(("scale", "power"), [(1.0, 0.3), (2.0, 0.5), (0.5, 0.15)])
def test_a_known_power_law_is_recovered(scale, power):
    sizes = (1000, 2000, 4000)
    errors = [scale * size**-power for size in sizes]
    hits = hits_of(sizes, errors, 100_000)
    for more in (1000, 5000):
        gain = extrapolate(sizes, hits, 5000, more)
        true = scale * (5000**-power - (5000 + more) ** -power)
        assert gain.value == pytest.approx(true, rel=0.02)
        assert gain.low < true < gain.high
        assert gain.low > 0


def test_its_interval_holds_the_true_gain_about_as_often_as_it_says():
    """Of 200 samples of 500 rows each whose errors follow a power law."""
    rng, sizes = np.random.default_rng(1), (100, 200, 400)
    errors = np.array([2 * size**-0.4 for size in sizes])
    true = 2 * (500**-0.4 - 1000**-0.4)
    held = 0
    for _ in range(200):
        gain = extrapolate(sizes, rng.random((3, 500)) >= errors[:, None], 500, 500, draws=300)
        held += gain.low <= true <= gain.high
    assert 175 <= held <= 200


def test_a_flat_curve_promises_nothing():
    sizes = (100, 200, 400)
    gain = extrapolate(sizes, hits_of(sizes, (0.2, 0.2, 0.2), 500), 500, 500)
    assert gain.value == pytest.approx(0.0, abs=1e-9)
    assert gain.low < 0 < gain.high
    told = Forecast(500, sizes, (0.8, 0.8, 0.8), (gain,)).sentence()
    assert told.startswith("Whether more labels would help cannot be told")


def test_a_curve_that_flattens_may_promise_less_than_its_power_law():
    sizes = (500, 1000, 2000)
    gain = extrapolate(sizes, hits_of(sizes, (0.3, 0.2, 0.19), 10_000), 2500, 2500)
    assert gain.low < 0.19 * (1 - 2**-0.05) < gain.value < gain.high


def test_a_steep_curve_is_told_in_points():
    curve = Forecast(800, (160, 320, 640), (0.7, 0.8, 0.85), (Gain(200, 0.015, 0.0101, 0.0209),))
    assert curve.is_told
    assert curve.sentence().startswith("200 more labels: +1.0 to +2.1 points of accuracy")
    assert "70.0% with 160, 80.0% with 320, 85.0% with 640 labels" in curve.sentence()


def test_errors_of_none_have_a_finite_forecast():
    sizes = (100, 200, 400)
    gain = extrapolate(sizes, hits_of(sizes, (0.1, 0.01, 0.0), 300), 400, 400)
    assert np.isfinite([gain.value, gain.low, gain.high]).all()
    rising = extrapolate(sizes, hits_of(sizes, (0.01, 0.2, 0.9), 300), 400, 4000)
    assert -1 <= rising.low <= rising.value <= 0  # an error is never above 1


def test_the_curve_of_real_texts(tmp_path):
    rows = make_rows(300)
    labels = np.array([row.label == "money" for row in rows], np.int64)
    texts = [row.text for row in rows]
    found = forecast(texts, labels, np.arange(300))
    assert found.sizes == (60, 120, 240)
    assert len(found.accuracies) == 3
    assert all(0.5 < accuracy <= 1 for accuracy in found.accuracies)
    assert [gain.more for gain in found.gains] == ([50, 300] if min(1 - a for a in found.accuracies) >= 1 / 30 else [])
    path = tmp_path / "f.json"
    path.write_text(json.dumps(asdict(found)))
    assert Forecast.of_json(path) == found
    # labels that texts do not tell promise nothing that is sure
    noise = np.random.default_rng(0).integers(0, 2, 300)
    assert not forecast(texts, noise, np.arange(300)).is_told


def test_what_cannot_be_told():
    few = forecast(["a b"] * 59, np.zeros(59, np.int64), np.arange(59))
    assert (
        few.sentence()
        == "What more labels would give cannot be told: 59 training rows are too few for a learning curve."
    )
    assert "has a word" in forecast(["!"] * 60, np.arange(60) % 2, np.arange(60)).why_not
    easy = forecast(["good", "bad"] * 50, np.arange(100) % 2, np.arange(100))
    assert "makes 0 mistakes on 100 training rows, too few to see a trend" in easy.sentence()


@pytest.mark.parametrize(("most", "number"), [(1, 1), (4, 2), (15, 10), (49, 20), (50, 50), (199, 100), (2499, 2000)])
def test_round_numbers(most, number):
    assert _round_number(most) == number
