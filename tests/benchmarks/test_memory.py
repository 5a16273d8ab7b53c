import pytest

from benchmarks.memory import KINDS, measure_memory


@pytest.mark.slow
def test_memory_grows_no_faster_than_the_text():
    """At lengths where the parts that do not depend on it (logits, gradients, small blocks) no longer hide it."""
    *_, extra = measure_memory((4096, 8192), "tiny")
    assert set(extra) == set(KINDS)
    growth = {kind: longer / shorter for kind, (shorter, longer) in extra.items()}
    assert 1.6 < min(growth.values()) < max(growth.values()) < 2.3
