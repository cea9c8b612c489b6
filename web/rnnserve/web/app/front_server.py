"""Uvicorn's server, which ends what would never end by itself, as it begins to end, and wakes seldom."""

import asyncio
import contextlib
import socket
from types import FrameType

import uvicorn

from rnnserve.web.app.application import Application

__all__ = ["FrontServer"]

_TURN_SECONDS = 1.0
"""Seconds between two turns: the header Date is as old at most. Uvicorn's own turns come each tenth of a second, to see
whether a signal has come: each wakes the process, beside a server that answers a request in as many microseconds."""


class FrontServer(uvicorn.Server):
    """Tells the application that it ends: pages that look would else hold up the end for all of the grace."""

    def __init__(self, config: uvicorn.Config, application: Application) -> None:
        """Prepare.

        Args:
            config: Settings for uvicorn, with the application.
            application: Application that is served.
        """
        super().__init__(config)
        self._application = application
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
        """Tell the application, then end as uvicorn does."""
        self._application.ending.set()
        await super().shutdown(sockets)
