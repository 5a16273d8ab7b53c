"""The server's answers in this process: predictions, errors, states, overload; what strangers send."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from tests.serve.fakes import LABELS, PATIENCE_SECONDS, FakeClassifier, ready, running, said, wait_until
from textclf_jax.serve import reading
from textclf_jax.serve.app import make_app
from textclf_jax.serve.service import State

JSON = {"Content-Type": "application/json"}
LIMITS: dict[str, Any] = {"max_body": 1000, "max_texts": 5, "max_characters": 100, "max_batch": 4}
METHODS = {"/": "GET", "/docs": "GET", "/predict": "POST", "/health": "GET", "/metrics": "GET", "/openapi.json": "GET"}


@pytest.fixture(scope="module")
def server() -> Iterator[TestClient]:
    with running(FakeClassifier(), **LIMITS) as service, TestClient(make_app(ready(service), "topics")) as client:
        yield client


def expected(text: str, **found: Any) -> dict[str, Any]:
    said_of = said(text)
    shares = {label: round(float(share), 6) for label, share in zip(LABELS, said_of.probabilities, strict=True)}
    marks = dict.fromkeys(("is_empty", "is_cut", "is_cut_for_one", "is_unknown", "is_unsure"), False)
    return {"label": said_of.label, "probabilities": shares, **marks, **found}


def test_a_text_or_several_get_predictions_in_their_order(server):
    answer = server.post("/predict", json={"text": "a goal"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"predictions": [expected("a goal")]}
    texts = ["a", "", "who knows what", "a", "naïve 😀"]
    assert server.post("/predict", json={"texts": texts}).json()["predictions"] == [
        expected("a"),
        expected("", is_empty=True),
        expected("who knows what", label=None, is_unsure=True),
        expected("a"),
        expected("naïve 😀"),
    ]
    assert server.post("/predict", json={"texts": []}).json() == {"predictions": []}


def test_several_labels_are_a_list():
    with running(FakeClassifier(multi_label=True)) as service:
        client = TestClient(make_app(ready(service), "topics"))
        found = client.post("/predict", json={"text": "word"}).json()["predictions"][0]
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Prediction"]
    assert found["labels"] == list(said("word", multi_label=True).several or ())
    assert set(found) == set(schema["required"])


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        ("", {}, "Content-Type: application/json"),
        ("text/plain", {}, "Content-Type: application/json"),
        ("application/x-www-form-urlencoded", {}, "Content-Type: application/json"),
        ("application/json; charset=latin-1", {}, "must be in UTF-8"),
        ("application/json", {"Content-Encoding": "gzip"}, "compressed bodies are not read"),
    ],
)
def test_what_is_not_said_to_be_json_is_not_read(server, kind, more, told):
    answer = server.post("/predict", content=b'{"text": "a"}', headers={"Content-Type": kind, **more})
    assert (answer.status_code, told in answer.json()["error"]) == (415, True)


def test_utf8_may_be_said(server):
    headers = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert server.post("/predict", content=b'{"text": "a"}', headers=headers).status_code == 200


def test_limits_are_said(server):
    answer = server.post("/predict", content=b" " * 1001, headers=JSON)
    assert (answer.status_code, "1,000 bytes" in answer.json()["error"]) == (413, True)
    assert server.post("/predict", content=b" " * 987 + b'{"text": "a"}', headers=JSON).status_code == 200
    for body, limit in (({"texts": ["a"] * 6}, "limit of 5 a request"), ({"text": "a" * 101}, "limit of 100 a text")):
        answer = server.post("/predict", json=body)
        assert (answer.status_code, limit in answer.json()["error"]) == (422, True)


def test_unknown_paths_and_wrong_methods_are_errors_of_json(server):
    answer = server.get("/predict/")
    assert (answer.status_code, answer.json()) == (404, {"error": "GET /predict/: not found"})
    for path, method in METHODS.items():
        for wrong in ("PUT", "DELETE", "GET" if method == "POST" else "POST"):
            answer = server.request(wrong, path)
            assert (answer.status_code, method in answer.headers["allow"]) == (405, True)
            assert method in answer.json()["error"]


def test_a_body_that_does_not_come_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(reading, "READ_SECONDS", 0.01)
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [(b"content-type", b"application/json")]}
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(PATIENCE_SECONDS)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(server.app({**scope, "query_string": b""}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    asyncio.run(server.app({**scope, "query_string": b""}, gone, send))
    assert sent[2]["status"] == 400


def test_it_is_healthy_when_it_is_warm_and_until_it_stops():
    classifier = FakeClassifier()
    classifier.free.clear()
    with running(classifier) as service:
        client = TestClient(make_app(service, "topics"))
        for status in ("starting", "ready", "stopping"):
            code = 200 if status == "ready" else 503
            answer = client.get("/health")
            assert (answer.status_code, answer.json()) == (code, {"status": status})
            answer = client.post("/predict", json={"text": "a"})
            assert answer.status_code == code
            if status != "ready":
                assert (answer.headers["retry-after"], status in answer.json()["error"]) == ("1", True)
            if status == "starting":
                classifier.free.set()
                ready(service)
            elif status == "ready":
                service.stop()


def test_clients_share_batches_and_too_many_are_told_to_come_again():
    classifier = FakeClassifier()
    with running(classifier, max_waiting=6, max_batch=4) as service, ThreadPoolExecutor(6) as pool:
        client = TestClient(make_app(ready(service), "topics"))
        warm = len(classifier.batches)
        classifier.free.clear()
        texts = [f"text {i}" for i in range(6)]
        answers = [pool.submit(client.post, "/predict", json={"text": texts[0]})]
        wait_until(lambda: len(classifier.batches) == warm + 1)
        answers += [pool.submit(client.post, "/predict", json={"text": text}) for text in texts[1:]]
        wait_until(lambda: "textclf_waiting_texts 5\n" in service.metrics_text())
        refused = client.post("/predict", json={"text": "one too many"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "6 requests are in progress" in refused.json()["error"]
        service.stop()  # what was accepted is answered
        classifier.free.set()
        found = [answer.result(PATIENCE_SECONDS).json()["predictions"] for answer in answers]
        metrics = client.get("/metrics")
    assert found == [[expected(text)] for text in texts]
    assert [len(batch) for batch in classifier.batches[warm:]] == [1, 4, 1]
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = metrics.text.splitlines()
    assert 'textclf_requests_total{path="/predict",status="200"} 6' in lines
    assert 'textclf_requests_total{path="/predict",status="503"} 1' in lines
    assert "textclf_texts_total 6" in lines
    assert ("textclf_batch_texts_sum 6.0" in lines, "textclf_batch_texts_count 3" in lines) == (True, True)
    assert "textclf_requests_in_progress 0" in lines


def test_a_model_that_fails_at_a_text_answers_the_others():
    with running(FakeClassifier(fails_at="bad")) as service:
        client = TestClient(make_app(ready(service), "topics"), raise_server_exceptions=False)
        answer = client.post("/predict", json={"text": "bad"})
        assert (answer.status_code, "its log" in answer.json()["error"]) == (500, True)
        assert client.post("/predict", json={"text": "good"}).status_code == 200


def test_a_model_that_cannot_answer_does_not_get_ready():
    with running(FakeClassifier(fails_at="")) as service:
        wait_until(lambda: service.failure is not None)
        assert service.state is State.STARTING
        assert isinstance(service.failure, RuntimeError)


def test_the_description_names_what_there_is(server):
    api = server.get("/openapi.json").json()
    assert {path: next(iter(methods)).upper() for path, methods in api["paths"].items()} == METHODS
    assert api["openapi"].startswith("3.1")
    schema = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert [list(each["properties"]) for each in schema] == [["text"], ["texts"]]
    assert schema[0]["properties"]["text"]["maxLength"] == 100
    assert schema[1]["properties"]["texts"]["maxItems"] == 5
    prediction = api["components"]["schemas"]["Prediction"]
    assert set(server.post("/predict", json={"text": "a"}).json()["predictions"][0]) == set(prediction["required"])
    assert prediction["properties"]["label"]["enum"] == [*LABELS, None]


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=120),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(["text", "texts", "x"]), inner),
    max_leaves=8,
)
CHARACTERS = st.characters(codec=None, exclude_categories=())  # lone surrogates among them
BODIES = (
    st.binary(max_size=1100)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.text(CHARACTERS, max_size=110).map(lambda text: json.dumps({"text": text}).encode())
    | st.lists(st.text(CHARACTERS, max_size=9), max_size=7).map(lambda texts: json.dumps({"texts": texts}).encode())
)
KINDS = st.sampled_from([JSON["Content-Type"]] * 5 + ["text/plain", "", "application/json; charset=x", ";;=", "*"])


@given(body=BODIES, kind=KINDS)
@settings(max_examples=200)
def test_whatever_is_sent_gets_predictions_or_a_refusal(server, body, kind):
    answer = server.post("/predict", content=body, headers={"Content-Type": kind})
    content = answer.json()
    if answer.status_code == 200:
        sent = json.loads(body)
        assert [p["label"] for p in content["predictions"]] == [
            None if each.startswith("who knows") else said(each).label for each in sent.get("texts", [sent.get("text")])
        ]
    else:
        assert answer.status_code in (400, 413, 415, 422), content
        assert list(content) == ["error"]


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]),
    path=st.sampled_from([*METHODS, "/predict/", "//", "/..%2f", "/ä"]) | st.text("/%.ab\x00?#", max_size=9),
    host=st.sampled_from(["localhost", "[::1", "a:b:c", "", "x" * 300]),
)
@settings(max_examples=150)
def test_no_path_method_or_host_breaks_it(server, method, path, host):
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"%ff", "headers": headers}
    asyncio.run(server.app(scope, receive, send))
    allowed = {METHODS.get(path), "HEAD" if METHODS.get(path) == "GET" else None}
    status = 404 if path not in METHODS else 405 if method not in allowed else 400 if method == "POST" else 200
    assert sent[0]["status"] == status
