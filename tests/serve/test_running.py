"""The address, and the whole command as a process: started, asked, stopped."""

import http.client
import json
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests import tiny
from tests.faults.harness import SECONDS
from tests.serve.asking import ask, predictions_of, server
from tests.serve.fakes import FakeClassifier, wait_until
from textclf_jax.cli import main
from textclf_jax.errors import UserError
from textclf_jax.serve import running
from textclf_jax.serve.running import listen, url_of
from textclf_jax.serve.settings import Settings

TEXTS = ["word1 word2", "", "word3 " * 40, "unheard of", "word4 word5 word6"]


def test_it_listens_where_it_says():
    with listen("127.0.0.1", 0) as listener:
        address = urlsplit(url_of(listener))
        socket.create_connection((address.hostname, address.port)).close()


def test_addresses_that_cannot_be_had_are_refused_with_a_remedy():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: another program has this port.* --port 0"):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()  # as soon as it is free
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1 .*does not have this address.* --host 127\.0\.0\.1"):
        listen("192.0.2.1", 0)
    with pytest.raises(UserError, match=r"--host a..b"):
        listen("a..b", 0)


def test_addresses_of_the_newer_kind_are_in_brackets():
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        listener = listen("::1", 0)
    except UserError:
        pytest.skip("no IPv6")
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_server_answers_as_predict_does_and_stops_when_asked(tmp_path, capsys):
    """To the last digit, although the texts stand at other places of a batch."""
    model = tiny.untrained(tmp_path, ("fee", "fi", "fo"))
    with server(tmp_path, model, "--max-batch", "2") as url:
        given, (alone,) = predictions_of(url, texts=TEXTS), predictions_of(url, text=TEXTS[0])
        assert ask(url, "POST", "/predict", {"texts": [1]})[0] == 422
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/health")
    predicted = printed(capsys, model, TEXTS)
    for p, other in zip([*given, alone], [*predicted, predicted[0]], strict=True):
        assert [p[key] for key in ("label", "probabilities")] == [other[key] for key in ("label", "probabilities")]
    assert [(p["is_empty"], p["is_cut"], p["is_unknown"]) for p in given] == [
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (False, False, False),
    ]


class Stopping:
    """`serve` in the main thread of this process, with a client that asks it to stop.

    Attributes:
      said: what the client has seen.
    """

    def __init__(self, classifier: FakeClassifier):
        self.classifier, self.said = classifier, []
        self._client = ThreadPoolExecutor(2)

    def run(self, client: Callable[[str], None]) -> int:
        """Serves while the client acts; returns the exit code."""
        with listen("127.0.0.1", 0) as listener, self._client:
            done = self._client.submit(client, url_of(listener))
            code = running.serve(self.classifier, "topics", Settings(port=0), listener)  # pyright: ignore
            self.classifier.free.set()
            done.result(SECONDS)
        return code

    def ask_in_progress(self, url: str) -> Future[tuple[int, bytes]]:
        """A request that the model is busy with."""
        wait_until(lambda: ask(url, "GET", "/health")[0] == 200)
        self.classifier.free.clear()
        self.classifier.entered.clear()
        answer = self._client.submit(ask, url, "POST", "/predict", {"text": "a"})
        assert self.classifier.entered.wait(SECONDS)
        return answer


def stop(url: str) -> None:
    """Asks this process to stop, and waits until it takes no more requests."""
    os.kill(os.getpid(), signal.SIGTERM)

    def refuses() -> bool:
        try:
            return ask(url, "GET", "/health")[0] == 503
        except OSError:
            return True

    wait_until(refuses)


def test_what_was_accepted_is_answered_before_the_end(capsys):
    server = Stopping(FakeClassifier())

    def client(url: str) -> None:
        answer = server.ask_in_progress(url)
        stop(url)
        assert not answer.done()
        server.classifier.free.set()
        server.said.append(answer.result(SECONDS)[0])

    assert (server.run(client), server.said) == (0, [200])
    assert capsys.readouterr().out.splitlines()[-1] == "stopped"


def test_what_takes_too_long_is_cut_off(capsys, monkeypatch):
    monkeypatch.setattr(running, "FINISH_SECONDS", 0.01)
    monkeypatch.setattr(running, "COMPILE_SECONDS", 0.01)
    monkeypatch.setattr(running.os, "_exit", lambda code: None)
    server = Stopping(FakeClassifier())

    def client(url: str) -> None:
        answer = server.ask_in_progress(url)
        stop(url)
        with suppress(OSError, http.client.HTTPException):
            server.said.append(answer.result(SECONDS)[0])

    assert server.run(client) == 1
    assert server.said in ([], [500])
    assert "stopped: 1 requests had no answer after 0.01 s" in capsys.readouterr().out


def test_it_can_be_stopped_while_it_starts(capsys, monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(running, "COMPILE_SECONDS", 0.01)
    monkeypatch.setattr(running.os, "_exit", ended.append)
    server = Stopping(FakeClassifier())
    server.classifier.free.clear()

    def client(url: str) -> None:
        server.said.append(ask(url, "GET", "/health"))
        stop(url)

    assert server.run(client) == 0
    assert (server.said, ended) == ([(503, b'{"status": "starting"}')], [0])
    assert "ready" not in capsys.readouterr().out


def test_a_model_that_cannot_predict_ends_the_server():
    with listen("127.0.0.1", 0) as listener, pytest.raises(RuntimeError, match="breaks the model"):
        running.serve(FakeClassifier(fails_at=""), "topics", Settings(port=0), listener)  # pyright: ignore


def printed(capsys: pytest.CaptureFixture[str], model: Path, texts: list[str]) -> list[dict[str, Any]]:
    """What `textclf predict` says, of JSON."""
    flags = [part for text in texts for part in ("--text", text)]
    capsys.readouterr()
    assert main(["predict", str(model), "--format", "json", *flags]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
