"""Whether a client may ask for a route: the server is asked, before anything of the request's body is read.

The server decides again about each call that the front makes for the request, by the token that goes with it: what is
kept here, for a moment, only spares the server the first of the two questions.
"""

import time
from collections.abc import Callable

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import ROUTES, Need
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL, TOKENS
from rnnserve.web.app.exchange import Exchange
from rnnserve.web.errors import RestError, bad_request
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["FrontAccess"]

_KEPT_SECONDS = 1.0
"""Seconds for which the server is not asked again about the same token and route."""

_OPEN_SECONDS = 5.0
"""Seconds for which nothing is asked of a server that asks for no tokens."""

_MOST_KEPT = 4096

_WITHOUT_SERVER = ("document", "reference")
"""Routes that are answered where no server can be asked, too: what they tell of one, they have to ask it for."""


class FrontAccess:
    """Asks the server behind a front."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing kept.

        Args:
            clock: Clock, in seconds.
        """
        self._clock = clock
        self._kept: dict[tuple[str, str, tuple[bytes, str]], float] = {}  # until when, by route, model and credentials
        self._open_until = 0.0

    def has_let_in(self, route: str, model: str, credentials: tuple[bytes, str]) -> bool:
        """Whether the server has let in a moment ago what asked for the same.

        Args:
            route: Name of the route.
            model: Name of the model; empty for none.
            credentials: Token and certificate of the client (`Exchange.credentials`).
        """
        at = self._clock()
        return at < self._open_until or at < self._kept.get((route, model, credentials), 0.0)

    async def check(self, route: str, exchange: Exchange) -> None:
        """Ask the server about a request that has found its route.

        Args:
            route: Name of the route.
            exchange: The request.

        Raises:
            RestError: If the client may not ask for it, in the server's words; or if no server answers that has to.
        """
        if ROUTES[route] in (Need.OPEN, Need.HEALTH):
            return  # it asks the server nothing, or one question, which the server decides
        if sum(name == b"authorization" for name, _ in exchange.scope["headers"]) > 1:
            raise bad_request("the header authorization comes twice")
        model = exchange.parameter("model")
        credentials = exchange.credentials
        if self.has_let_in(route, model, credentials):
            return
        context = exchange.context()
        asked = [(ROUTE, route)]
        if model.isascii() and model.isprintable() and model:  # no other is a model's name
            asked.append((ROUTE_MODEL, model))
        context = CallContext((*context.metadata, *asked), context.timeout, context.has_headers, context.client)
        try:
            said = await exchange.upstream.call(
                "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, context
            )
        except RestError as error:
            if route in _WITHOUT_SERVER and not error.is_of_server:
                return
            raise
        if TOKENS not in said.extensions:
            self._open_until = self._clock() + _OPEN_SECONDS
            return
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[route, model, credentials] = self._clock() + _KEPT_SECONDS
