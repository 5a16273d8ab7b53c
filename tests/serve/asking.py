"""A client of a server that runs as a process of its own."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.faults.harness import REPOSITORY, SECONDS, end_of, process, wait_for


def ask(url: str, method: str, path: str, content: object = None) -> tuple[int, bytes]:
    """Sends a request with content as JSON; returns status and body of the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SECONDS)
    connection.request(method, path, json.dumps(content), {"Content-Type": "application/json"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def predictions_of(url: str, **content: Any) -> list[dict[str, Any]]:
    """What the server says of `text=` or of `texts=`."""
    status, body = ask(url, "POST", "/predict", content)
    assert status == 200, body
    return json.loads(body)["predictions"]


@contextmanager
def server(root: Path, *arguments: str | Path, package: Path = REPOSITORY) -> Iterator[str]:
    """The address of `textclf serve` when it is ready; asked to stop at the end, it exits with 0.

    Args:
      root: its folder.
      arguments: a model, and flags.
      package: the folder that textclf_jax lies in.
    """
    with process(root, "serve", *arguments, "--port", "0", package=package) as child:
        url = wait_for(child, "serving ").split()[-4]
        while ask(url, "GET", "/health")[0] != 200:
            assert child.poll() is None
            time.sleep(0.05)
        yield url
        os.kill(child.pid, signal.SIGTERM)
        code, said = end_of(child)
    assert (code, said.splitlines()[-1]) == (0, "stopped"), said
