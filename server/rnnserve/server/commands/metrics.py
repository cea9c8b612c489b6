"""Where a server's metrics are had: a socket for the HTTP gateway, and a port of their own."""

import contextlib
import importlib.metadata
import socket
from collections.abc import Callable, Iterator, Sequence

from rnnserve.common.front_counts import FrontCounts
from rnnserve.server.access.gate import open_gate
from rnnserve.server.counting.exposition import Exposition
from rnnserve.server.counting.table import used_table
from rnnserve.server.counting.totals import Totals
from rnnserve.server.errors import StartError
from rnnserve.server.repository.giving_way import giving_way
from rnnserve.server.settings import CommandSettings, Settings

__all__ = ["Metrics", "metrics_served"]

_BACKLOG = 16

SOCKET_NAME = "metrics"
"""In the folder of the private sockets; the workers' have names that end in .sock."""


class Metrics:
    """What a scrape exposes.

    Attributes:
        totals: The counts of all processes.
        count_gauges: What writes down the present values before a scrape. With workers each of them does so itself.
        port: Where they are served; None if they have no port of their own.
    """

    def __init__(self) -> None:
        """Begin with what this process counts."""
        self.totals = Totals()
        self.totals.add(used_table())
        self.count_gauges: Callable[[], None] = lambda: None
        self.port: int | None = None
        self._exposition = Exposition(self.totals, importlib.metadata.version("rnnserve"))

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the text of a scrape, and its type."""
        self.count_gauges()
        return self._exposition.text(accept)


@contextlib.contextmanager
def metrics_served(
    command: CommandSettings, settings: Settings, fronts: Sequence[FrontCounts] = ()
) -> Iterator[Metrics]:
    """Answer scrapes inside the block.

    Args:
        command: Options of the command.
        settings: Settings of the server.
        fronts: Numbers of the HTTP gateway's processes.

    Raises:
        StartError: If the port cannot be had, or no scraper could be let in there.
    """
    from rnnserve.server.counting.endpoint import MetricsEndpoint

    settings.check_metrics_port(command.metrics_port)
    metrics = Metrics()
    metrics.totals.fronts += fronts
    listeners: list[socket.socket] = []
    if settings.private_sockets is not None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(settings.private_sockets / SOCKET_NAME))
        listener.listen(_BACKLOG)
        listeners.append(listener)
    if command.metrics_port is not None:
        listener = _listen(settings.host, command.metrics_port)
        metrics.port = listener.getsockname()[1]
        listeners.append(listener)
    endpoint = MetricsEndpoint(listeners, metrics.text, open_gate(settings), giving_way)
    endpoint.start()
    try:
        yield metrics
    finally:
        endpoint.stop()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {host}:{port} for metrics: {error.strerror or error}") from error
    return listener
