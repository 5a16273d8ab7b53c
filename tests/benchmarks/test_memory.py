import pytest

from benchmarks.memory import KINDS, measure_memory


@pytest.mark.slow
def test_memory_grows_no_faster_than_the_text():
    """From lengths on where the parts that do not depend on it (logits, gradients, small blocks) no longer hide it."""
    *_, extra = measure_memory((2048, 4096, 8192), "tiny")
    assert set(extra) == set(KINDS)
    growth = {kind: (values[2] - values[1]) / (values[1] - values[0]) for kind, values in extra.items()}
    assert max(growth.values()) < 2.3
