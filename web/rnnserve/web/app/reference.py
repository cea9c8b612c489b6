"""`/openapi.json`, and `/docs`: a page made of the same document, on which a request can be tried.

The page is whole without a network: its style and its script are files of this package. It has no script in its text,
so that the browser can be told to run none (Content-Security-Policy).
"""

import asyncio
import html
import importlib.metadata
import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.example_requests import example_request
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.app.metrics import metrics_of
from rnnserve.web.app.openapi import openapi_document
from rnnserve.web.app.routes import RouteEntry, protocol_routes
from rnnserve.web.errors import RestError

__all__ = ["CONTENT_SECURITY_POLICY", "site_routes"]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE_HEADERS = MappingProxyType(
    {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
)

_MOST_EXAMPLES = 32
"""Models whose metadata are asked for, for one document."""

_KINDS = MappingProxyType({"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"})
_STATIC = ("reference.css", "reference.js")


def site_routes(metrics_socket: Path | None = None) -> list[RouteEntry]:
    """Every route: the protocol's, and those that describe it.

    Args:
        metrics_socket: The server's socket for scrapes; None where the server is elsewhere.
    """
    routes = protocol_routes()
    reference = _Reference(routes)
    routes += [
        RouteEntry("/openapi.json", "document", {"GET": reference.document}, "This document"),
        RouteEntry("/metrics", "metrics", {"GET": metrics_of(metrics_socket)}, "What the server has counted"),
        RouteEntry("/docs", "reference", {"GET": reference.page}, "A page of it, to read and to try"),
        RouteEntry("/static/{file}", "static", {"GET": _static}, "What pages need"),
    ]
    return routes


class _Reference:
    """Makes the document and its page."""

    def __init__(self, routes: Sequence[RouteEntry]) -> None:
        self._routes = routes

    async def document(self, exchange: Exchange) -> Answer:
        """Describe every route, with an example of each model that serves."""
        return json_answer(await self._made(exchange))

    async def page(self, exchange: Exchange) -> Answer:
        """The same as a page."""
        text = _page_of(await self._made(exchange))
        return Answer(text.encode(), content_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)

    async def _made(self, exchange: Exchange) -> dict[str, Any]:
        version = importlib.metadata.version("rnnserve")
        return openapi_document(self._routes, version, await _examples(exchange))


async def _examples(exchange: Exchange) -> dict[str, Any]:
    """By model, a request that it takes; none where the server does not answer: the document is needed then, too."""
    try:
        index = await exchange.upstream.call(
            "RepositoryIndex", pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse, exchange.context()
        )
    except RestError:
        return {}
    names = sorted({model.name for model in index.models})[:_MOST_EXAMPLES]

    async def example_of(name: str) -> dict[str, Any] | None:
        try:
            return example_request(
                await exchange.upstream.call(
                    "ModelMetadata", pb.ModelMetadataRequest(name=name), pb.ModelMetadataResponse, exchange.context()
                )
            )
        except RestError:  # it has stopped serving
            return None

    found = await asyncio.gather(*map(example_of, names))
    return {name: example for name, example in zip(names, found, strict=True) if example is not None}


async def _static(exchange: Exchange) -> Answer:
    name = exchange.parameter("file")
    if name not in _STATIC:
        raise RestError(404, "Not Found")
    data = importlib.resources.files("rnnserve.web.app").joinpath("static", name).read_bytes()
    return Answer(data, content_type=_KINDS[name.rpartition(".")[2]], headers=_PAGE_HEADERS)


def _page_of(document: dict[str, Any]) -> str:
    operations = "\n".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    )
    info = document["info"]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(info["title"])} {html.escape(info["version"])}: reference</title>
<link rel="stylesheet" href="/static/reference.css">
<script src="/static/reference.js" defer></script>
</head>
<body>
<header>
<h1>{html.escape(info["title"])} {html.escape(info["version"])}</h1>
<p>{html.escape(info["summary"])}. The same as a document: <a href="/openapi.json">/openapi.json</a></p>
</header>
<main>
{operations}
</main>
</body>
</html>
"""


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = content.get("examples", {})
    model, body = next(((name, each["value"]) for name, each in examples.items()), ("", None))
    target = path.replace("{model}", model or "MODEL").replace("{version}", "1")
    text = "" if body is None else json.dumps(body)
    said = f" -d {_shell(text)}" if text else " -X POST" if method == "post" else ""
    tried = html.escape(target)
    form = ""
    if "{" not in target and "MODEL" not in target and operation["tags"] != ["control"]:
        area = f'<label>Body<textarea rows="6" spellcheck="false">{html.escape(text)}</textarea></label>'
        form = f"""<form data-method="{method.upper()}">
<label>Path<input name="path" value="{tried}" spellcheck="false"></label>
{area if method == "post" else ""}
<button>Try</button>
<output aria-live="polite"></output>
</form>"""
    return f"""<details>
<summary><code>{method.upper()} {html.escape(path)}</code> {html.escape(operation["summary"])}</summary>
<pre><code>curl http://127.0.0.1:8000{tried}{html.escape(said)}</code></pre>
{form}
</details>"""


def _shell(text: str) -> str:
    quoted = text.replace("'", "'\\''")
    return f"'{quoted}'"
