"""`/metrics`: passes on the metrics of the server behind this gateway, unchanged."""

import asyncio
import http.client
import socket
from pathlib import Path

from rnnserve.protos.protocol_words import AUTHORIZATION, CERTIFICATE, PEER
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.errors import RestError

__all__ = ["metrics"]

_SENT = (AUTHORIZATION, CERTIFICATE, PEER)
_SECONDS = 5.0


async def metrics(path: Path | None, exchange: Exchange) -> Answer:
    """Return the server's metrics in Prometheus's text format, from the server's metrics socket.

    The path is None if the server isn't on this machine. Then the server must be scraped directly.
    """
    if path is None:
        raise RestError(404, "this gateway has no metrics; read them from its servers (rnnserve serve --metrics-port)")
    sent = {name: value for name, value in exchange.context().metadata if name in _SENT}
    try:
        status, content_type, body = await asyncio.to_thread(_read, path, sent)
    except (OSError, http.client.HTTPException):
        raise RestError(
            503, "the server does not respond with its metrics, because it is starting or has stopped"
        ) from None
    if status != 200:
        kept = {"www-authenticate": "Bearer"} if status == 401 else {}
        raise RestError(status, body.decode().strip(), headers=kept)
    return Answer(body, content_type=content_type)


def _read(path: Path, headers: dict[str, str]) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("metrics")
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.settimeout(_SECONDS)
        connection.sock.connect(str(path))
        connection.request("GET", "/metrics", headers=headers)
        with connection.getresponse() as response:
            if response.status not in (200, 401, 403) or response.length is None:
                raise http.client.HTTPException
            return response.status, response.headers["content-type"], response.read()
