"""Checks with the server whether a client may use a route, before the gateway reads the request's body.

The server checks the client's token again in each call that the gateway then makes for the request. Therefore, the
short-lived cache here can't admit a client that the server refuses. It only saves the first of the two checks.
"""

import time
from collections.abc import Callable

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import ROUTES, Need
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL, TOKENS
from rnnserve.web.app.exchange import Exchange
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["GatewayAccess"]

_KEPT_SECONDS = 1.0
"""Seconds that the gateway caches a successful check of the same credentials and route."""

_OPEN_SECONDS = 5.0
"""Seconds without checks if the server doesn't require tokens."""

_MOST_KEPT = 4096


class GatewayAccess:
    """Checks access with the server and caches successful checks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str, bytes, str], float] = {}  # expiry by route, model and credentials
        self._open_until = 0.0

    async def check(self, route: str, exchange: Exchange) -> None:
        """Check whether a client may use the named route. Raises RestError with the server's message if not."""
        now = self._clock()
        if now < self._open_until or ROUTES[route] in (Need.OPEN, Need.HEALTH):
            return  # a health route makes only one call, and the server checks access in it
        model = exchange.parameter("model")
        key = route, model, exchange.headers.get(b"authorization", b""), exchange.certificate
        if now < self._kept.get(key, 0.0):
            return
        context = exchange.context()
        asked = [(ROUTE, route)]
        if model.isascii() and model.isprintable() and model:  # model names are printable ASCII
            asked.append((ROUTE_MODEL, model))
        context = CallContext((*asked, *context.metadata), context.timeout, context.client)
        said = await exchange.upstream.call(
            "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, context
        )
        if TOKENS not in said.extensions:
            self._open_until = self._clock() + _OPEN_SECONDS
            return
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[key] = self._clock() + _KEPT_SECONDS
