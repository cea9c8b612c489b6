"""A whole server: put together from its rooms, made ready, run until it is told to stop."""

from typing import Self

from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.providers import choose_device
from rnnserve.server.repository.repository import Repository
from rnnserve.server.settings import Settings
from rnnserve.server.transport.grpc_server import GrpcTransport

__all__ = ["Server"]


class Server:
    """Serve a repository. A context manager: inside it the server answers, after it everything is stopped.

    Attributes:
        port: Where it listens for gRPC.
    """

    def __init__(self, settings: Settings) -> None:
        """Look at the repository and bind the port; nothing is loaded yet.

        Raises:
            StartError: If the repository, the provider or the port cannot be had.
        """
        device = choose_device(settings.provider)
        self._settings = settings
        self._repository = Repository(settings.repository, device, allow_unproven=settings.allow_unproven)
        self._schedulers = Schedulers(WaitingLimits(settings.max_queue, settings.max_wait))
        self._transport = GrpcTransport(Service(self._repository, settings), self._schedulers, settings)
        self.port = self._transport.port

    def start(self) -> None:
        """Answer (live, not ready), load and prove the models, and become ready.

        Raises:
            StartError: If no model may serve.
        """
        self._transport.start()
        self._repository.load()
        self._transport.set_ready(self._repository.is_ready())

    def stop(self, grace: float | None = None) -> None:
        """Accept no new requests, and end when those in progress have.

        Args:
            grace: Seconds that they may take; `settings.grace` where it is None.
        """
        self._transport.stop(self._settings.grace if grace is None else grace)
        self._schedulers.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop(grace=0)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
