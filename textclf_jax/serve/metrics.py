"""What a server counts, in the text format of Prometheus."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Histogram:
    """How many observations were at most each of some bounds, and their sum."""

    def __init__(self, bounds: Sequence[float]):
        """`bounds` ascend."""
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """The samples."""
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum}"
        yield f"{name}_count {total}"


class Metrics:
    """Counts of a server's life. Threads may share it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._texts = 0
        self._batches, self._seconds = Histogram(BATCH_BOUNDS), Histogram(SECONDS_BOUNDS)

    def count_request(self, path: str, status: int) -> None:
        """Counts an answer; `path` is one of a fixed set, for each value is kept."""
        with self._lock:
            self._requests[path, status] += 1

    def count_prediction(self, texts: int, seconds: float) -> None:
        """Counts a request for predictions that was answered."""
        with self._lock:
            self._texts += texts
            self._seconds.observe(seconds)

    def count_batch(self, texts: int) -> None:
        """Counts a batch that was computed."""
        with self._lock:
            self._batches.observe(texts)

    def text(self, *, waiting_texts: int, requests_in_progress: int) -> str:
        """All of it, with what is the case now."""
        with self._lock:
            requests = [
                f'textclf_requests_total{{path="{path}",status="{status}"}} {count}'
                for (path, status), count in sorted(self._requests.items())
            ]
            parts = (
                ("requests_total", "counter", "Answers, by path and status.", requests),
                ("texts_total", "counter", "Texts that were classified.", [f"textclf_texts_total {self._texts}"]),
                ("batch_texts", "histogram", "Texts of a batch.", self._batches.lines("textclf_batch_texts")),
                (
                    *("predict_seconds", "histogram", "Seconds from a request to its predictions."),
                    self._seconds.lines("textclf_predict_seconds"),
                ),
                (
                    *("waiting_texts", "gauge", "Texts that wait to be computed."),
                    [f"textclf_waiting_texts {waiting_texts}"],
                ),
                (
                    *("requests_in_progress", "gauge", "Requests that are read, waiting or being computed."),
                    [f"textclf_requests_in_progress {requests_in_progress}"],
                ),
            )
            lines = [
                line
                for name, kind, told, samples in parts
                for line in (f"# HELP textclf_{name} {told}", f"# TYPE textclf_{name} {kind}", *samples)
            ]
        return "\n".join([*lines, ""])
