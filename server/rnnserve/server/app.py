"""A server as a whole: put together, made ready, run until told to stop."""

import dataclasses
import logging
from pathlib import Path

from rnnserve.server.boundary import Limits
from rnnserve.server.providers import choose
from rnnserve.server.repository import Repository
from rnnserve.server.service import Service
from rnnserve.server.transport import Transport

__all__ = ["Server", "Settings"]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to serve.

    Attributes:
        repository: The folder with the models.
        host: Where to listen.
        grpc_port: 0 for any that is free.
        provider: "cpu", "cuda", or "auto" for CUDA where it is there.
        transport: "lane", "public", or "auto" for the lane where it can run.
        share_port: Let other processes listen on the port too, as workers do.
        tls: Files in PEM with the certificate chain and the private key; None for a port without TLS.
        max_queue: How many requests may wait for each model.
        limits: Of each request.
    """

    repository: Path
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    provider: str = "auto"
    transport: str = "auto"
    share_port: bool = False
    tls: tuple[Path, Path] | None = None
    max_queue: int = 4096
    limits: Limits = dataclasses.field(default_factory=Limits)


class Server:
    """Serves a repository. A context manager: inside it the server answers, and behind it all is stopped.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, settings: Settings) -> None:
        """Look at the repository and bind the port; nothing is loaded yet.

        Raises:
            StartError: If the repository, the provider or the port is not to be had.
        """
        device = choose(settings.provider)
        if settings.provider == "auto":
            _log.info("provider auto: took %s", device)
        self._repository = Repository(settings.repository, device=device, capacity=settings.max_queue)
        service = Service(self._repository, settings.limits, settings.provider)
        self._transport = Transport(
            service,
            settings.host,
            settings.grpc_port,
            kind=settings.transport,
            share_port=settings.share_port,
            tls=settings.tls,
            max_queue=settings.max_queue,
            max_message_bytes=settings.limits.max_message_bytes,
        )
        self.port = self._transport.port

    def start(self) -> None:
        """Answer (live, not ready), load and prove the models, and be ready.

        Raises:
            StartError: If no model may serve.
        """
        self._transport.start()
        self._repository.load()
        self._transport.set_ready(self._repository.is_ready())

    def stop(self, grace: float = 5.0) -> None:
        """Take no new requests, and end when those under way have, or after `grace` seconds."""
        self._transport.stop(grace)
        self._repository.close()

    def __enter__(self) -> "Server":
        try:
            self.start()
        except BaseException:
            self.stop(grace=0)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
