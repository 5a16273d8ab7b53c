import threading
import time

import pytest

from textclf_jax.data.prefetch import prefetched


def test_prefetching_keeps_order_and_raises_the_error_of_the_thread():
    def items():
        yield from range(5)
        raise ValueError("broken row")

    seen = []
    with pytest.raises(ValueError, match="broken row"):
        seen.extend(prefetched(items(), lambda x: x * x))
    seen = []
    stream = prefetched(items(), lambda x: x * x)
    for value in stream:
        seen.append(value)
        if value == 9:
            break
    assert seen == [0, 1, 4, 9]
    stream.close()


def test_closing_ends_the_thread():
    def endless():
        while True:
            yield time.monotonic()

    stream = prefetched(endless(), lambda x: x)
    next(stream)
    assert any(thread.name == "prefetch" for thread in threading.enumerate())
    stream.close()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())
