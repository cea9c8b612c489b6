"""The table of routes: every path that the gateway serves, by method.

Access rules refer to a route by its name, which doesn't depend on the path of a request. `openapi.json` describes each
route, and a test compares it with this table.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from rnnserve.web.app import handlers, page
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.app.metrics import metrics
from rnnserve.web.app.streams import not_upgraded

__all__ = ["Handler", "RouteEntry", "all_routes", "route_finder"]

Handler = Callable[[Exchange], Awaitable[Answer]]


class RouteEntry(NamedTuple):
    """A path with parameters in braces, such as "/v2/models/{model}", and its handlers by method.

    The gateway adds HEAD.
    """

    path: str
    name: str
    handlers: Mapping[str, Handler]


class Found(NamedTuple):
    """The route of a path, and the path's parameters."""

    entry: RouteEntry
    params: Mapping[str, str]


def all_routes(metrics_socket: Path | None = None) -> list[RouteEntry]:
    """Return all routes. `metrics_socket` is the server's metrics socket, if it has one."""
    stats = {"GET": handlers.statistics}
    index = {"POST": handlers.repository_index}
    return [
        *_of_model("infer", "infer", {"POST": handlers.infer}),
        RouteEntry("/v2", "server_metadata", {"GET": handlers.server_metadata}),
        RouteEntry("/v2/health/live", "live", {"GET": handlers.live}),
        RouteEntry("/v2/health/ready", "ready", {"GET": handlers.ready}),
        RouteEntry("/v2/models", "list_models", {"GET": handlers.list_models}),
        RouteEntry("/v2/models/stats", "statistics", stats),
        *_of_model("", "model_metadata", {"GET": handlers.model_metadata}),
        *_of_model("ready", "model_ready", {"GET": handlers.model_ready}),
        *_of_model("config", "model_config", {"GET": handlers.model_config}),
        *_of_model("stats", "statistics", stats),
        *_of_model("stream", "stream", {"GET": not_upgraded}),
        RouteEntry("/v2/repository/index", "repository", index),
        RouteEntry("/v2/repository/{repository}/index", "repository", index),
        RouteEntry("/v2/repository/models/{model}/load", "control", {"POST": handlers.load}),
        RouteEntry("/v2/repository/models/{model}/unload", "control", {"POST": handlers.unload}),
        RouteEntry("/openapi.json", "document", {"GET": page.document}),
        RouteEntry("/metrics", "metrics", {"GET": partial(metrics, metrics_socket)}),
        RouteEntry("/", "page", {"GET": page.front_page}),
        RouteEntry("/page/models", "page_models", {"GET": page.overview}),
        RouteEntry("/static/{file}", "static", {"GET": page.static_file}),
    ]


def route_finder(entries: Sequence[RouteEntry]) -> Callable[[bytes], Found | None]:
    """Make a function that finds the first route that matches a percent-encoded path.

    Only parameters may be encoded. Otherwise, a proxy that refuses some paths would let their encoded form pass.
    """
    patterns = [
        (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(entry.path))), entry) for entry in entries
    ]

    @lru_cache(1024)  # clients use few paths
    def find(raw_path: bytes) -> Found | None:
        path = raw_path.decode("latin-1")
        for pattern, entry in patterns:
            if found := pattern.fullmatch(path):
                return Found(entry, {name: unquote(value) for name, value in found.groupdict().items()})
        return None

    return find


def _of_model(action: str, name: str, by_method: Mapping[str, Handler]) -> list[RouteEntry]:
    """Return the two paths of a model's route: with and without a version."""
    tail = f"/{action}" if action else ""
    roots = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    return [RouteEntry(root + tail, name, by_method) for root in roots]
