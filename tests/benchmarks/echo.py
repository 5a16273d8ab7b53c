"""A worker for tests: answers, fails, dies or sleeps as it is told."""

import os
import time

from benchmarks.worker import serve


def echo(**arguments):
    print("what is printed is no answer")
    return arguments


def fail():
    raise ValueError("no such thing\nsecond line")


def die():
    os.write(2, b"out of memory\n")
    os._exit(9)


def sleep():
    time.sleep(60)


if __name__ == "__main__":
    serve({handler.__name__: handler for handler in (echo, fail, die, sleep)})
