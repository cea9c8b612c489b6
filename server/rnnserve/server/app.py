"""A whole server: put together from its rooms, made ready, run until it is told to stop."""

import threading
from typing import Self

from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.providers import choose_device
from rnnserve.server.repository.repository import Repository
from rnnserve.server.repository.trials import Trials
from rnnserve.server.settings import Settings
from rnnserve.server.transport.grpc_server import GrpcTransport

__all__ = ["Server"]

_END_SECONDS = 2.0
"""Seconds that a version which is being loaded when the server stops may take to end."""


class Server:
    """Serve a repository. A context manager: inside it the server answers, after it everything is stopped.

    Attributes:
        port: Where it listens for gRPC.
    """

    def __init__(self, settings: Settings, trials: Trials | None = None) -> None:
        """Look at the repository and bind the port; nothing is loaded yet.

        Args:
            settings: How to serve.
            trials: What tries versions; a process that is started now where it is None.

        Raises:
            StartError: If the repository, the provider or the port cannot be had.
        """
        self._settings = settings
        trials = trials or Trials(allow_unproven=settings.allow_unproven, max_bytes=settings.max_load_bytes)
        try:
            device = choose_device(settings.provider)
            self._repository = Repository(settings.repository)
            self._schedulers = Schedulers(WaitingLimits(settings.max_queue, settings.max_wait))
            self._transport = GrpcTransport(Service(self._repository, settings), self._schedulers, settings)
        except BaseException:
            trials.close()
            raise
        self.port = self._transport.port
        self._loader = Loader(
            self._repository, trials, device, allow_unproven=settings.allow_unproven, timeout=settings.load_timeout
        )
        self._loading = threading.Thread(target=self._load, name="loader", daemon=True)
        self._announcing = threading.Lock()

    def start(self, stop: threading.Event | None = None) -> None:
        """Answer (live, not ready), load and prove the models, and become ready.

        Versions that take long to load are no reason to wait for all of them: if others serve, they are loaded
        afterwards, in the background. Until then their status is LOADING, and the server as a whole is not ready.

        Args:
            stop: Ends the wait for the models early, once it is set.

        Raises:
            StartError: If no model may serve.
        """
        self._transport.start()
        self._loading.start()
        self._loader.wait(stop)
        self._announce()

    def stop(self, grace: float | None = None) -> None:
        """Accept no new requests, and end when those in progress have.

        Args:
            grace: Seconds that they may take; `settings.grace` where it is None.
        """
        self._loader.stop()
        self._transport.stop(self._settings.grace if grace is None else grace)
        self._schedulers.close()
        if self._loading.is_alive():
            self._loading.join(_END_SECONDS)

    def _load(self) -> None:
        self._loader.load()
        self._announce()

    def _announce(self) -> None:
        """Tell health checks whether the server is ready; of two threads the later one tells what is true then."""
        with self._announcing:
            self._transport.set_ready(self._repository.is_ready())

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop(grace=0)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
