"""The server against its own description: schemathesis finds no server error, and no answer that is not described."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.serve.fakes import FakeClassifier, at_address, ready, running
from textclf_jax.serve.app import make_app


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="no schemathesis")
@pytest.mark.parametrize("multi_label", [False, True])
def test_answers_are_as_described(tmp_path, multi_label):
    limits = {"max_texts": 5, "max_characters": 100, "max_body": 5000}
    service = running(FakeClassifier(multi_label=multi_label), **limits)
    with service as started, at_address(make_app(ready(started), "topics")) as url:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", "all"]
        command += ["--max-examples", "20", "--seed", "1", "--no-color"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout
    assert 'path="/predict",status="200"' in started.metrics_text()
