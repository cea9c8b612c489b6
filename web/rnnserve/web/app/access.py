"""Whether a client may ask for a route: the server is asked, before anything of the request's body is read.

The server decides again about each call that the gateway makes for the request, by the token that goes with it: what is
kept here, for a moment, only spares the server the first of the two questions.
"""

import time
from collections.abc import Callable

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import ROUTES, Need
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL, TOKENS
from rnnserve.web.app.exchange import Exchange
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["GatewayAccess"]

_KEPT_SECONDS = 1.0
"""Seconds for which the server is not asked again about the same credentials and route."""

_OPEN_SECONDS = 5.0
"""Seconds for which nothing is asked of a server that asks for no tokens."""

_MOST_KEPT = 4096

_WITHOUT_SERVER = "document"
"""The route that is answered even if no server can be asked."""


class GatewayAccess:
    """Asks the server behind a gateway."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str, tuple[bytes, str]], float] = {}  # until when, by route, model and credentials
        self._open_until = 0.0

    async def check(self, route: str, exchange: Exchange) -> None:
        """Ask the server about a request for a route, by its name. RestError, in the server's words, if it refuses."""
        now = self._clock()
        if now < self._open_until or ROUTES[route] in (Need.OPEN, Need.HEALTH):
            return  # a route of health asks the server one question, which the server decides on
        model = exchange.parameter("model")
        key = route, model, exchange.credentials
        if now < self._kept.get(key, 0.0):
            return
        context = exchange.context()
        asked = [(ROUTE, route)]
        if model.isascii() and model.isprintable() and model:  # no other name is a model's
            asked.append((ROUTE_MODEL, model))
        context = CallContext((*asked, *context.metadata), context.timeout, context.client)
        try:
            said = await exchange.upstream.call(
                "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, context
            )
        except RestError as error:
            if route == _WITHOUT_SERVER and not error.is_of_server:
                return
            raise
        if TOKENS not in said.extensions:
            self._open_until = self._clock() + _OPEN_SECONDS
            return
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[key] = self._clock() + _KEPT_SECONDS
