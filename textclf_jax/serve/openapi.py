"""The description of the server's paths, by OpenAPI 3.1."""

from typing import TYPE_CHECKING, Any

from textclf_jax import __version__
from textclf_jax.serve.settings import Settings

if TYPE_CHECKING:
    from textclf_jax.evaluation.classifier import Classifier

JSON = "application/json"
ERROR = "#/components/schemas/Error"
MARKS = {
    "is_empty": "the text has no token: this is what the model says of nothing",
    "is_cut": "the text is longer than the model reads: its end was not read",
    "is_cut_for_one": "one part of the model did not read the text's end, but another one did",
    "is_unknown": "the vocabulary lacks more than half of the text: the answer says little",
    "is_unsure": "the model says that it does not know, to keep to the limit on its errors",
}
REFUSALS = {
    "400": "The body is not complete, no UTF-8, or no JSON",
    "408": "The body did not arrive in time",
    "413": "The body is larger than the limit",
    "415": "The body is not said to be JSON",
    "422": "The body holds something else than texts, or passes a limit; the message says which",
    "500": "The model failed at a text",
    "503": "The server is starting, stopping or has too many requests: try again after the seconds of Retry-After",
}


def describe(classifier: "Classifier", settings: Settings, name: str) -> dict[str, Any]:
    """The description of a server with this classifier, which has a name."""
    text = {"type": "string", "maxLength": settings.max_characters, "pattern": "^[^\\u0000]*$"}
    request = {
        "oneOf": [
            _object({"text": text}),
            _object({"texts": {"type": "array", "maxItems": settings.max_texts, "items": text}}),
        ]
    }
    answers = _object({"predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}})
    predict = {
        "operationId": "predict",
        "summary": "Classify a text, or several",
        "requestBody": {"required": True, "content": {JSON: {"schema": request, "examples": _examples()}}},
        "responses": {
            "200": {
                "description": "A prediction for each text, in their order",
                "content": {JSON: {"schema": answers}},
            },
            **{status: _error(told) for status, told in REFUSALS.items()},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{name}, served by textclf", "version": __version__},
        "paths": {
            "/predict": {"post": predict},
            "/health": {"get": _health()},
            "/metrics": {"get": _get("metrics", "Counts and times, for Prometheus", "text/plain", "The metrics")},
            "/openapi.json": {"get": _get("openapi", "This description, as JSON", JSON, "The description")},
            "/docs": {"get": _get("docs", "This description, to read", "text/html", "A page")},
            "/": {"get": _get("page", "A page to try the model", "text/html", "A page")},
        },
        "components": {
            "schemas": {
                "Prediction": _prediction(classifier),
                "Error": _object({"error": {"type": "string"}}),
            }
        },
    }


def _prediction(classifier: "Classifier") -> dict[str, Any]:
    label = {"type": "string", "enum": list(classifier.labels)}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    if classifier.multi_label:
        found = {"labels": {"type": "array", "items": label, "description": "those that the text has"}}
    else:
        told = "the most probable class, or null where the model says that it does not know"
        found = {"label": {"type": ["string", "null"], "enum": [*classifier.labels, None], "description": told}}
    shares = _object(dict.fromkeys(classifier.labels, share)) | {"description": "of each class"}
    marks = {name: {"type": "boolean", "description": told} for name, told in MARKS.items()}
    return _object({**found, "probabilities": shares, **marks})


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _examples() -> dict[str, Any]:
    several = ["Shares fell again", "A late goal"]
    return {"one": {"value": {"text": several[0]}}, "many": {"value": {"texts": several}}}


def _error(told: str) -> dict[str, Any]:
    return {"description": told, "content": {JSON: {"schema": {"$ref": ERROR}}}}


def _health() -> dict[str, Any]:
    content = {JSON: {"schema": _object({"status": {"type": "string", "enum": ["starting", "ready", "stopping"]}})}}
    responses = {
        "200": {"description": "The server is ready", "content": content},
        "503": {"description": "It is not ready yet, or stops", "content": content},
    }
    return {"operationId": "health", "summary": "Whether the server is ready", "responses": responses}


def _get(name: str, summary: str, kind: str, told: str) -> dict[str, Any]:
    schema = {"type": "object"} if kind == JSON else {"type": "string"}
    answer = {"description": told, "content": {kind: {"schema": schema}}}
    return {"operationId": name, "summary": summary, "responses": {"200": answer}}
