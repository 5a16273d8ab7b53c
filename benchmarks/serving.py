"""How a server holds several clients: latencies, errors, and how many texts its batches have.

    textclf serve NAME
    python benchmarks/serving.py http://127.0.0.1:8000 --clients 8 --seconds 60

Each client sends a text, waits for its answer, and sends the next one, over a connection that it keeps. Exits with 1
where there was an error, or where p99 is above the budget.
"""

import argparse
import http.client
import json
import random
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

WORDS = [f"word{i}" for i in range(1000)]
TIMEOUT_SECONDS = 60


@dataclass
class Load:
    """What clients found.

    Attributes:
      seconds: from a request to its answer, of each request that was answered.
      errors: what went wrong.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description="Send requests to a server that textclf serve has started.")
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="after which no request is sent (default: 60)")
    parser.add_argument("--requests", type=int, default=100_000, help="most requests of all clients together")
    parser.add_argument("--budget-ms", type=float, default=100.0, help="that p99 is compared with (default: 100)")
    args = parser.parse_args()
    before, load = batches(args.url), Load()
    ends = time.monotonic() + args.seconds
    each = args.requests // args.clients
    threads = [threading.Thread(target=client, args=(args.url, seed, ends, each, load)) for seed in range(args.clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - started
    after = batches(args.url)
    return report(load, took, [late - early for late, early in zip(after, before, strict=True)], args.budget_ms)


def client(url: str, seed: int, ends: float, most: int, load: Load) -> None:
    """Sends texts of 3 to 40 words, one after the other, until a time, or so many of them."""
    draw = random.Random(seed)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)
    for _ in range(most):
        if time.monotonic() >= ends:
            break
        body = json.dumps({"text": " ".join(draw.choices(WORDS, k=draw.randint(3, 40)))})
        started = time.monotonic()
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status == http.HTTPStatus.OK:
                load.seconds.append(time.monotonic() - started)
            else:
                load.errors.append(f"{response.status} {content.decode(errors='replace')[:200]}")
        except (OSError, http.client.HTTPException) as error:
            load.errors.append(repr(error))
            connection.close()  # the next request opens it again
    connection.close()


def batches(url: str) -> list[float]:
    """Texts and batches that the server has computed so far."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = [re.search(rf"^textclf_batch_texts_{what} (\S+)$", text, re.MULTILINE) for what in ("sum", "count")]
    return [float(match[1]) for match in found if match]


def report(load: Load, took: float, computed: list[float], budget_ms: float) -> int:
    """Prints what was found; returns the exit code."""
    texts, count = computed
    for error in sorted(set(load.errors))[:5]:
        print(f"error: {error}")
    print(f"{len(load.seconds):,} answers in {took:.1f} s, {len(load.errors):,} errors")
    if not load.seconds:
        return 1
    ordered = sorted(load.seconds)
    p50, p99 = (1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {1000 * ordered[-1]:.1f} ms; budget {budget_ms:g} ms")
    print(f"{count:,.0f} batches of {texts / max(count, 1):.2f} texts on average")
    return 1 if load.errors or p99 > budget_ms else 0


if __name__ == "__main__":
    sys.exit(main())
