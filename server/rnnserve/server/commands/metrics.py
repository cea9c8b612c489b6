"""Where a server's metrics are had: a socket for the HTTP front, and a port of their own."""

import contextlib
import importlib.metadata
import socket
from collections.abc import Callable, Iterator, Sequence

from rnnserve.common.front_counts import FrontCounts
from rnnserve.server.access.gate import open_gate
from rnnserve.server.commands.command_settings import CommandSettings
from rnnserve.server.commands.scrape_process import ScrapeProcess
from rnnserve.server.counting.endpoint import MetricsEndpoint
from rnnserve.server.counting.exposition import Exposition
from rnnserve.server.counting.table import used_table
from rnnserve.server.counting.totals import Totals
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings
from rnnserve.server.settings.access import AccessSettings

__all__ = ["Metrics", "metrics_served"]

_BACKLOG = 16

SOCKET_NAME = "metrics"
"""In the folder of the private sockets; the workers' have names that end in .sock."""


class Metrics:
    """What a scrape tells.

    Attributes:
        totals: The counts of all processes.
        count_gauges: What writes down what is true now, before the first scrape and each second after it. With workers
            each of them does so itself.
        port: Where they are served; None where they have no port of their own.
    """

    def __init__(self, *, has_triton_names: bool, access: AccessSettings | None = None) -> None:
        """Start with no counts.

        Args:
            has_triton_names: Whether Triton's names are told, too.
            access: Settings of whose scrapes are answered; None for all.
        """
        self._access = access or AccessSettings()
        self.totals = Totals()
        self.count_gauges: Callable[[], None] = lambda: None
        self.port: int | None = None
        self._has_triton_names = has_triton_names
        self._version = importlib.metadata.version("rnnserve")
        self._exposition = Exposition(self._version, has_triton_names=has_triton_names)

    def text(self) -> bytes:
        """Give the text of a scrape."""
        return self._exposition.text(self.totals.sums(), self.totals.restarts, self.totals.of_fronts())

    def options(self) -> list[str]:
        """The options of a process that gives the same."""
        options = [f"--server-version={self._version}"]
        if not self._has_triton_names:
            options.append("--no-triton-metrics")
        if self._access.access_file is not None:
            name = "--client-roles" if self._access.tokens is None else "--tokens"
            options.append(f"{name}={self._access.access_file}")
        return options


@contextlib.contextmanager
def metrics_served(
    command: CommandSettings, settings: Settings, fronts: Sequence[FrontCounts] = ()
) -> Iterator[Metrics]:
    """Answer scrapes inside the block.

    Args:
        command: Options of the command.
        settings: Settings of the server.
        fronts: Numbers of the HTTP fronts.

    Raises:
        StartError: If the port cannot be had, or no scraper could be let in there.
    """
    settings.check_metrics_port(command.metrics_port)
    metrics = Metrics(has_triton_names=not command.no_triton_metrics, access=settings)
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
    endpoint: MetricsEndpoint | ScrapeProcess
    if command.workers > 1:
        metrics.totals.add(used_table())  # what the supervisor counts itself
        endpoint = MetricsEndpoint(listeners, metrics.text, open_gate(settings))
    else:  # the lane is in this process: a scrape would take its interpreter for milliseconds
        endpoint = ScrapeProcess(listeners, metrics.options(), fronts, lambda: metrics.count_gauges())
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
