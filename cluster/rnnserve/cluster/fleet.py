"""Servers of one name, one at each place, and their rolling update. `on_ray` implements the places."""

import contextlib
import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from rnnserve.cluster.servers import ClusterError, FleetStatus, ServerReport, ServerSpec

__all__ = ["Fleet"]

_READY_SECONDS, _LOOK_SECONDS = 600.0, 0.5

_LOST = ServerReport("", "lost", said="it does not answer: its node is lost, or there is none for it yet")


class Fleet(ABC):
    """Servers of one name. A subclass implements the abstract methods for the system that runs the servers.

    Args:
        name: Name of the servers.
        pause: Sleeps for a number of seconds.
    """

    def __init__(self, name: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.name = name
        self._pause = pause

    @abstractmethod
    def replicas(self) -> int:
        """Return the number of places."""

    @abstractmethod
    def found(self) -> set[int]:
        """Return the places with a server, even if it does not respond."""

    @abstractmethod
    def reports(self) -> dict[int, ServerReport]:
        """Return the report of each place whose server responds within a few seconds."""

    @abstractmethod
    def start(self, place: int, spec: ServerSpec) -> None:
        """Start a server at a place, as soon as there is a node for it."""

    @abstractmethod
    def try_server(self, place: int, spec: ServerSpec) -> str:
        """Test on the place's node whether another server would serve. Returns why not, or an empty text."""

    @abstractmethod
    def stop(self, place: int) -> None:
        """Drain a server and shut it down."""

    @abstractmethod
    def only_one(self) -> contextlib.AbstractContextManager[None]:
        """Lock out other rolling updates. Raises ClusterError if one is already running."""

    def status(self) -> FleetStatus:
        """Return the status of all servers."""
        reports = self.reports()
        return FleetStatus(self.name, {place: reports.get(place, _LOST) for place in range(self.replicas())})

    def roll(self, change: Callable[[ServerSpec], ServerSpec], tell: Callable[[str], None]) -> FleetStatus:
        """Update one server after another. Each new server is tested before the old one is shut down.

        `change` returns the new spec, from the present one. `tell` is called with a line of text after each step.

        Raises:
            ClusterError: Another update is running, some servers are not serving, or a new server fails its test. The
                other servers continue to serve.
        """
        with self.only_one():
            before = self._all_ready()
            newest = before.spec
            if newest is None or len(before.reports) < 2:
                raise ClusterError("one server can't be replaced without downtime: run two, or use `down` and `up`")
            spec = dataclasses.replace(change(newest), revision=newest.revision + 1)
            for place, report in before.reports.items():
                tell(self._replace(place, report, spec))
            return self.status()

    def _all_ready(self) -> FleetStatus:
        """Return the status if all servers serve. First fill places that an interrupted update left empty."""
        status = self.status()
        for place in set(status.reports) - self.found():
            if status.spec is not None:
                self.start(place, status.spec)
                self._wait_ready(place)
        status = self.status()
        if len(status.endpoints) < len(status.reports):
            raise ClusterError(
                f"{len(status.endpoints)} of {len(status.reports)} servers are ready; a rolling update needs all of "
                "them, so that no request fails. Try again when `rnnserve ray status` shows all as ready"
            )
        return status

    def _replace(self, place: int, before: ServerReport, spec: ServerSpec) -> str:
        """Replace the server at a place, and return a line that describes the replacement."""
        reason = self.try_server(place, spec)
        if reason:
            raise ClusterError(
                f"the new server did not become ready, so {before.address} still serves as before: {reason}"
            )
        self.stop(place)
        self.start(place, spec)
        report = self._wait_ready(place)
        if report.state != "ready":
            self.stop(place)
            if before.spec is not None:
                self.start(place, before.spec)
            raise ClusterError(
                f"the new server passed its test but failed afterwards, so {before.address} serves the previous "
                f"models again: {report.said}"
            )
        return f"{report.address}: tested, and has replaced {before.address}"

    def _wait_ready(self, place: int) -> ServerReport:
        """Wait until the server at a place serves. It may need a few starts if its port becomes free late."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            report = self.reports().get(place, _LOST)
            if report.state == "ready" or report.starts > 3 or time.monotonic() > deadline:
                return report
            self._pause(_LOOK_SECONDS)
