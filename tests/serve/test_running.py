"""The address, and the whole command as a process: started, asked, stopped."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests import tiny
from tests.faults.harness import SECONDS, end_of, process, wait_for
from textclf_jax.cli import main
from textclf_jax.errors import UserError
from textclf_jax.serve.running import listen, url_of

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


def ask(url: str, method: str, path: str, content: object = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SECONDS)
    connection.request(method, path, json.dumps(content), {"Content-Type": "application/json"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def wait_until_healthy(url: str, child: subprocess.Popen[str]) -> None:
    while ask(url, "GET", "/health")[0] != 200:
        assert child.poll() is None
        time.sleep(0.05)


def test_a_server_answers_as_predict_does_and_stops_when_asked(tmp_path, capsys):
    model = tiny.untrained(tmp_path, ("fee", "fi", "fo"))
    with process(tmp_path, "serve", model, "--port", "0", "--max-batch", "2") as child:
        url = wait_for(child, "serving ").split()[-4]
        wait_until_healthy(url, child)
        status, body = ask(url, "POST", "/predict", {"texts": TEXTS})
        assert status == 200
        status, alone = ask(url, "POST", "/predict", {"text": TEXTS[0]})
        assert status == 200
        assert ask(url, "POST", "/predict", {"texts": [1]})[0] == 422
        os.kill(child.pid, signal.SIGTERM)
        code, said = end_of(child)
    assert (code, said.splitlines()[-1]) == (0, "stopped"), said
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/health")
    given, predicted = json.loads(body)["predictions"], printed(capsys, model, TEXTS)
    assert [p["label"] for p in given] == [p["label"] for p in predicted]
    for p, other in zip(given, predicted, strict=True):  # they stood at other places of a batch
        assert p["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)
    (one,) = printed(capsys, model, TEXTS[:1])
    assert json.loads(alone)["predictions"][0].items() >= {k: one[k] for k in ("label", "probabilities")}.items()
    assert [(p["is_empty"], p["is_cut"], p["is_unknown"]) for p in given] == [
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (False, False, False),
    ]


def printed(capsys: pytest.CaptureFixture[str], model: Path, texts: list[str]) -> list[dict[str, Any]]:
    """What `textclf predict` says, of JSON."""
    flags = [part for text in texts for part in ("--text", text)]
    capsys.readouterr()
    assert main(["predict", str(model), "--format", "json", *flags]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
