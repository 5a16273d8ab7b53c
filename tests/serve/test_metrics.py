"""Metrics in the text format of Prometheus, read by its own client."""

import pytest

from textclf_jax.serve.metrics import Histogram, Metrics


def test_buckets_are_cumulative_and_have_their_bounds_in():
    histogram = Histogram((1, 2.5, 4))
    for value in (0.5, 1, 1.5, 2.5, 9):
        histogram.observe(value)
    assert list(histogram.lines("x")) == [
        'x_bucket{le="1"} 2',
        'x_bucket{le="2.5"} 4',
        'x_bucket{le="4"} 4',
        'x_bucket{le="+Inf"} 5',
        "x_sum 14.5",
        "x_count 5",
    ]


def test_prometheus_reads_them():
    parser = pytest.importorskip("prometheus_client.parser")
    metrics = Metrics()
    for status in (200, 200, 422):
        metrics.count_request("/predict", status)
    metrics.count_request("other", 404)
    metrics.count_prediction(3, 0.02)
    metrics.count_batch(3)
    text = metrics.text(waiting_texts=5, requests_in_progress=2)
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    kinds = {name: family.type for name, family in families.items()}
    assert kinds == {
        "textclf_requests": "counter",
        "textclf_texts": "counter",
        "textclf_batch_texts": "histogram",
        "textclf_predict_seconds": "histogram",
        "textclf_waiting_texts": "gauge",
        "textclf_requests_in_progress": "gauge",
    }
    samples = {(s.name, *s.labels.values()): s.value for family in families.values() for s in family.samples}
    assert samples["textclf_requests_total", "/predict", "200"] == 2
    assert samples["textclf_requests_total", "other", "404"] == 1
    assert samples["textclf_texts_total",] == 3
    assert (samples["textclf_batch_texts_bucket", "2"], samples["textclf_batch_texts_bucket", "4"]) == (0, 1)
    assert samples["textclf_predict_seconds_sum",] == 0.02
    assert (samples["textclf_waiting_texts",], samples["textclf_requests_in_progress",]) == (5, 2)
