"""`python prefetch_at_exit.py HOW`: a process that ends while its prefetching thread is at work."""

import sys
import threading

import jax
import numpy as np

from textclf_jax.data.prefetch import prefetched

busy = threading.Event()


def prepare(number):
    busy.set()
    return jax.device_put(np.full(100_000, number))


def endless():
    number = 0
    while True:
        yield number
        number += 1


def main(how):
    stream = prefetched(endless(), prepare)
    next(stream)
    busy.wait()
    if how == "kept":
        sys.kept = stream  # pyright: ignore[reportAttributeAccessIssue]
    if how == "error":
        raise ValueError("an error of the main thread")
    sys.exit(3)


if __name__ == "__main__":
    main(sys.argv[1])
