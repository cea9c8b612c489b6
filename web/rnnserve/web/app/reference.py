"""`/openapi.json`, and `/docs`: a page made of the same document, on which a request can be tried.

The page is whole without a network: its style and its script are files of this package. It has no script in its text,
so that the browser can be told to run none (Content-Security-Policy).
"""

import asyncio
import html
import importlib.metadata
import json
from collections.abc import Sequence
from typing import Any

from rnnserve.web.app.example_requests import example_request
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.app.openapi import openapi_document
from rnnserve.web.app.routes import RouteEntry
from rnnserve.web.app.served_models import served_models
from rnnserve.web.app.static_files import PAGE_HEADERS

__all__ = ["Reference"]


_FRESH_SECONDS = 1.0
"""For which the document is what it was: to make it takes 3.5 ms and a call for each model, whoever asks how often."""

_MOST_KEPT = 16
"""Documents that are kept: one for each client's credentials, since what one may see, another may not."""


class Reference:
    """Makes the document and its page."""

    def __init__(self, routes: Sequence[RouteEntry]) -> None:
        self._routes = routes
        self._kept: dict[tuple[bool, tuple[bytes, str]], tuple[float, asyncio.Task[Answer]]] = {}

    async def document(self, exchange: Exchange) -> Answer:
        """Describe every route, with an example of each model that serves."""
        return await self._fresh(exchange, is_page=False)

    async def page(self, exchange: Exchange) -> Answer:
        """The same as a page."""
        return await self._fresh(exchange, is_page=True)

    async def _fresh(self, exchange: Exchange, *, is_page: bool) -> Answer:
        """What was made a moment ago, or is being made, for the same credentials; else make it."""
        who = is_page, exchange.credentials
        now = asyncio.get_running_loop().time()
        found = self._kept.get(who)
        if found is None or now >= found[0]:
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            task = asyncio.create_task(self._answer(exchange, is_page=is_page))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # which no one may wait for
            found = self._kept[who] = now + _FRESH_SECONDS, task
        return await asyncio.shield(found[1])

    async def _answer(self, exchange: Exchange, *, is_page: bool) -> Answer:
        made = await self._made(exchange)
        if not is_page:
            return json_answer(made)
        return Answer(_page_of(made).encode(), content_type="text/html; charset=utf-8", headers=PAGE_HEADERS)

    async def _made(self, exchange: Exchange) -> dict[str, Any]:
        version = importlib.metadata.version("rnnserve")
        served = await served_models(exchange)
        examples = {name: example_request(metadata) for name, metadata in served.items()}
        taken = {name: example for name, example in examples.items() if example is not None}
        return openapi_document(self._routes, version, taken)


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
