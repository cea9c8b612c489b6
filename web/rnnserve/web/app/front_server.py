"""Uvicorn's server, which ends what would never end by itself, as it begins to end."""

import socket

import uvicorn

from rnnserve.web.app.application import Application

__all__ = ["FrontServer"]


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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the application, then end as uvicorn does."""
        self._application.ending.set()
        await super().shutdown(sockets)
