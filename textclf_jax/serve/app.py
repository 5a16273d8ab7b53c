"""What the server answers to whom: paths, JSON, errors."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textclf_jax.files import json_text
from textclf_jax.serve.metrics import CONTENT_TYPE, Metrics
from textclf_jax.serve.openapi import describe
from textclf_jax.serve.pages import Page, api_page, trial_page
from textclf_jax.serve.reading import Refusal, read_texts
from textclf_jax.serve.service import Service, State

if TYPE_CHECKING:
    from textclf_jax.evaluation.prediction import Prediction

DECIMALS = 6  # of a probability, as `textclf predict` writes it
ANOTHER_PATH = "other"  # in the metrics


def make_app(service: Service, name: str) -> ASGIApp:
    """The application for a service that answers for the model of this name."""
    api = describe(service.classifier, service.settings, name)

    async def predict(request: Request) -> Response:
        started = time.monotonic()
        with service.admitted():
            texts = await read_texts(request, service.settings)
            predictions = await service.predict(texts)
        answers = [answer(prediction, service.classifier.labels) for prediction in predictions]
        response = json_response({"predictions": answers})
        service.metrics.count_prediction(len(texts), time.monotonic() - started)
        return response

    async def health(request: Request) -> Response:
        return json_response({"status": service.state.value}, 200 if service.state is State.READY else 503)

    async def metrics(request: Request) -> Response:
        return Response(service.metrics_text(), headers={"content-type": CONTENT_TYPE})

    async def openapi(request: Request) -> Response:
        return json_response(api)

    routes = [
        Route("/", _show(trial_page(service.classifier, name)), methods=["GET"]),
        Route("/docs", _show(api_page(api)), methods=["GET"]),
        Route("/predict", predict, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]
    handlers: Any = {Refusal: _refused, HTTPException: _not_there, Exception: _broken}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return _Counted(app, service.metrics, frozenset(route.path for route in routes))


def answer(prediction: "Prediction", labels: Sequence[str]) -> dict[str, Any]:
    """What is said of a text, in values of JSON.

    Args:
      prediction: of the model.
      labels: names of its classes, in the order of the probabilities.
    """
    p = prediction
    found = {"label": None if p.is_unsure else p.label} if p.several is None else {"labels": p.several}
    shares = {label: round(float(value), DECIMALS) for label, value in zip(labels, p.probabilities, strict=True)}
    marks = {"is_empty": p.is_empty, "is_cut": p.is_cut, "is_cut_for_one": p.is_cut_for_one}
    return {**found, "probabilities": shares, **marks, "is_unknown": p.is_unknown, "is_unsure": p.is_unsure}


def json_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    """An answer of JSON."""
    return Response(json_text(content, indent=None), status, headers, "application/json")


def _show(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        return HTMLResponse(page.html, headers=page.headers)

    return show


async def _refused(request: Request, error: Refusal) -> Response:
    return json_response({"error": str(error)}, error.status, error.headers)


async def _not_there(request: Request, error: HTTPException) -> Response:
    allowed = f"; it takes {error.headers['Allow']}" if error.headers and "Allow" in error.headers else ""
    told = f"{request.method} {request.scope['path']}: {error.detail.lower()}{allowed}"
    return json_response({"error": told}, error.status_code, error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    """The traceback is for the one who runs the server, and goes to its standard error."""
    return json_response({"error": "the server has failed at this request; its log says how"}, 500)


class _Counted:
    """Counts the answers of an application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]):
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in self._paths else ANOTHER_PATH
                self._metrics.count_request(path, message["status"])
            await send(message)

        await self._app(scope, receive, noting)
