"""`/metrics`: passes on the metrics of the server behind this gateway, unchanged."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from rnnserve.protos.protocol_words import AUTHORIZATION, CERTIFICATE, PEER
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.errors import RestError

__all__ = ["Metrics"]

_SENT = (AUTHORIZATION, CERTIFICATE, PEER)
_SECONDS = 5.0
_MOST_BYTES = 64 << 20


class Metrics:
    """Fetches the server's metrics from its metrics socket.

    `socket` is None if the server isn't on this machine. Requests then get 404, because the server must be scraped
    directly.
    """

    def __init__(self, socket: Path | None) -> None:
        self._socket = socket

    async def answer(self, exchange: Exchange) -> Answer:
        """Return the server's metrics in Prometheus's text format."""
        if self._socket is None:
            raise RestError(
                404, "this gateway has no metrics; read them from its servers (rnnserve serve --metrics-port)"
            )
        try:
            async with asyncio.timeout(_SECONDS):
                status, headers, body = await _ask(self._socket, exchange.context().metadata)
        except (OSError, TimeoutError, ValueError):
            raise RestError(
                503, "the server does not respond with its metrics, because it is starting or has stopped"
            ) from None
        if status != 200:
            kept = {"www-authenticate": "Bearer"} if status == 401 else {}
            raise RestError(status, body.decode().strip(), headers=kept)
        return Answer(body, content_type=headers["content-type"])


async def _ask(socket: Path, metadata: Sequence[tuple[str, str]]) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=_MOST_BYTES)
    try:
        said = "".join(f"{name}: {value}\r\n" for name, value in metadata if name in _SENT)
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: metrics\r\n{said}\r\n".encode("latin-1"))
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    code = int(status.split(" ")[1]) if status.startswith("HTTP/1.1 ") else 0
    if code not in (200, 401, 403) or len(body) != int(headers.get("content-length", -1)):
        raise ValueError("the response is incomplete")
    return code, headers, body
