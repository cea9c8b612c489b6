"""Uvicorn's server, which wakes seldom, and ends without failing a request."""

import asyncio
import contextlib
import socket
from types import FrameType
from typing import cast

import uvicorn

from rnnserve.web.app.application import Application
from rnnserve.web.http1.connection_table import ConnectionTable
from rnnserve.web.http1.direct_protocol import DirectProtocol

__all__ = ["FrontServer"]

_TURN_SECONDS = 1.0
"""Seconds between two turns: the header Date is as old at most. Uvicorn's own turns come each tenth of a second, to see
whether a signal has come: each wakes the process, beside a server that answers a request in as many microseconds."""


_IDLE_SECONDS = 0.5
"""Seconds for which an idle connection stays open at the end: the client may be sending a request on it already. The
answer closes the connection."""


class FrontServer(uvicorn.Server):
    """Ends in two steps: it accepts no connection and closes each after its answer; then it closes the idle ones."""

    def __init__(self, config: uvicorn.Config, application: Application, table: ConnectionTable) -> None:
        """Prepare.

        Args:
            config: Settings for uvicorn, with the application.
            application: Application that is served.
            table: The open connections.
        """
        super().__init__(config)
        self._application = application
        self._table = table
        self._loop: asyncio.AbstractEventLoop | None = None  # while it turns
        self._is_told = asyncio.Event()  # to end

    async def main_loop(self) -> None:
        """Turn until told to end."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TURN_SECONDS):
                    await self._is_told.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal as uvicorn does, and turn at once."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._is_told.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, let clients send their last requests, then end as uvicorn does."""
        self._application.ending.set()  # else pages that watch would hold up the end for all of the grace
        self._table.is_ending = True
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()
        for connection in cast("list[DirectProtocol]", list(self.server_state.connections)):
            connection.close_after_answer()
        deadline = asyncio.get_running_loop().time() + _IDLE_SECONDS
        while self.server_state.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown()
