"""The document that describes every route: OpenAPI 3.1, made from the table of routes."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rnnserve.web.app.openapi_schemas import ANSWERS, BODIES, SCHEMAS, said_of
from rnnserve.web.app.routes import RouteEntry
from rnnserve.web.errors import BEFORE_ROUTES, STATUSES

__all__ = ["openapi_document"]

_PARAMETER = re.compile(r"\{(\w+)\}")

_NAME = r"^(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+$"
"""What a part of a path may be, decoded: `edge.check_path` refuses the others."""

_ERRORS = {status: said for status, said in STATUSES.items() if status not in BEFORE_ROUTES}

_LENGTH = "Inference-Header-Content-Length"
_BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}


def openapi_document(
    routes: Iterable[RouteEntry], version: str, examples: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Make the document.

    Args:
        routes: Every route.
        version: Version of the server.
        examples: Requests that models take, by the name of a model that serves.
    """
    paths: dict[str, Any] = {}
    for route in routes:
        paths[route.path] = {method.lower(): _operation(route, method, examples) for method in sorted(route.handlers)}
        names = _PARAMETER.findall(route.path)
        if names:
            paths[route.path]["parameters"] = [_path_parameter(name, examples) for name in names]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rnnserve",
            "version": version,
            "summary": "The Open Inference Protocol (REST v2), with Triton's extensions",
        },
        "paths": paths,
        "components": {"schemas": dict(SCHEMAS)},
    }


def _operation(route: RouteEntry, method: str, examples: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_')}",
        "summary": route.summary,
        "tags": [route.name],
        "responses": {"200": _success(route)} | {str(status): _error(said) for status, said in _ERRORS.items()},
    }
    if route.name == "infer":
        operation["parameters"] = [_header_parameter()]
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": _with_examples({"schema": {"$ref": "#/components/schemas/InferRequest"}}, examples),
                "application/octet-stream": {"schema": _BINARY},
            },
        }
    elif route.name == "generate":
        named = {name: {tensor["name"]: tensor["data"] for tensor in each["inputs"]} for name, each in examples.items()}
        short = {name: _without_batch(examples[name], inputs) for name, inputs in named.items()}
        content = _with_examples({"schema": {"type": "object"}}, short)
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    elif method == "POST" and (body := said_of(BODIES, route.name, route.path)) is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


def _success(route: RouteEntry) -> dict[str, Any]:
    schema = said_of(ANSWERS, route.name, route.path)
    said: dict[str, Any] = {"description": "OK", "content": {"application/json": {"schema": schema or {}}}}
    if route.name == "infer":
        said["content"] = {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferResponse"}},
            "application/octet-stream": {"schema": _BINARY},
        }
        said["headers"] = {
            _LENGTH: {"schema": {"type": "integer"}, "description": "bytes of the JSON before binary data"},
            "Content-Encoding": {"schema": {"enum": ["gzip", "deflate"]}},
        }
    elif route.path.endswith("generate_stream") or route.name == "page_live":
        # What a schema of events describes, all of the text or one event, OpenAPI says from 3.2 on only.
        said["content"] = {"text/event-stream": {"schema": {}}}
    elif route.name == "metrics":
        said["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif route.name in ("reference", "static", "page"):
        said["content"] = {"text/html": {"schema": {"type": "string"}}}
    return said


def _error(said: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": said, "content": {"application/json": {"schema": schema}}}


def _path_parameter(name: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"type": "string", "pattern": _NAME}
    described: dict[str, Any] = {"name": name, "in": "path", "required": True, "schema": schema}
    if name == "model" and examples:
        described["examples"] = {model: {"value": model} for model in examples}
    elif name == "version":
        described["example"] = "1"
    return described


def _header_parameter() -> dict[str, Any]:
    return {
        "name": _LENGTH,
        "in": "header",
        "schema": {"type": "integer", "minimum": 0},
        "description": "With binary data after the JSON: how many bytes of the body, decompressed, are JSON",
    }


def _with_examples(content: dict[str, Any], examples: Mapping[str, Any]) -> dict[str, Any]:
    return content | ({"examples": {name: {"value": value} for name, value in examples.items()}} if examples else {})


def _without_batch(request: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a request, nested, without their first axis of size 1."""
    shapes = {tensor["name"]: tensor["shape"] for tensor in request["inputs"]}
    return {name: _nested(data, shapes[name][1:]) for name, data in inputs.items()}


def _nested(data: list[Any], shape: list[int]) -> Any:  # noqa: ANN401 - lists in lists, or one element
    if not shape:
        return data[0]
    if len(shape) == 1:
        return data
    step = len(data) // shape[0]
    return [_nested(data[at : at + step], shape[1:]) for at in range(0, len(data), step)]
