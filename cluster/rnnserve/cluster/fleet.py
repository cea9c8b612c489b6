"""Servers of one name, one at each place, and the rolling update of them. `on_ray` has the places."""

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
    """Servers of one name; what runs them implements the abstract methods.

    Args:
        name: The name.
        pause: Waits for seconds.
    """

    def __init__(self, name: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.name = name
        self._pause = pause

    @abstractmethod
    def replicas(self) -> int:
        """Return the number of places."""

    @abstractmethod
    def found(self) -> set[int]:
        """Return the places that have a server, whether or not it answers."""

    @abstractmethod
    def reports(self) -> dict[int, ServerReport]:
        """Return the report of each place whose server answers within seconds."""

    @abstractmethod
    def start(self, place: int, spec: ServerSpec) -> None:
        """Have a server started at a place, as soon as there is a node for it."""

    @abstractmethod
    def prove(self, place: int, spec: ServerSpec) -> str:
        """Try on a place's node whether another server would serve, and return why not, empty if it would."""

    @abstractmethod
    def stop(self, place: int) -> None:
        """Let a server drain and end."""

    @abstractmethod
    def only_one(self) -> contextlib.AbstractContextManager[None]:
        """Keep other commands from a rolling update, or raise ClusterError if one is under way."""

    def status(self) -> FleetStatus:
        """Return what is known of all servers."""
        reports = self.reports()
        return FleetStatus(self.name, {place: reports.get(place, _LOST) for place in range(self.replicas())})

    def roll(self, change: Callable[[ServerSpec], ServerSpec], tell: Callable[[str], None]) -> FleetStatus:
        """Update one server after another; each new one is proven before the old one ends.

        Args:
            change: Returns how servers will be started, from how they are started now.
            tell: Is called with each line about what has happened.

        Raises:
            ClusterError: An update is under way, not all servers serve, or a new server does not. The others serve on.
        """
        with self.only_one():
            before = self._all_ready()
            newest = before.spec
            if newest is None or len(before.reports) < 2:
                raise ClusterError("one server alone cannot be replaced without a gap: use two, or `down` and `up`")
            spec = dataclasses.replace(change(newest), revision=newest.revision + 1)
            for place, report in before.reports.items():
                tell(self._replace(place, report, spec))
            return self.status()

    def _all_ready(self) -> FleetStatus:
        """Return the status if all servers serve. An update that was cut off may have left a place empty."""
        status = self.status()
        for place in set(status.reports) - self.found():
            if status.spec is not None:
                self.start(place, status.spec)
                self._wait_ready(place)
        status = self.status()
        if len(status.endpoints) < len(status.reports):
            raise ClusterError(
                f"{len(status.endpoints)} of {len(status.reports)} servers serve: a rolling update begins when all do, "
                "so that no request is without one"
            )
        return status

    def _replace(self, place: int, before: ServerReport, spec: ServerSpec) -> str:
        """Put a new server in the place of another, and return the line that says so."""
        reason = self.prove(place, spec)
        if reason:
            raise ClusterError(f"{before.address} serves as before, since the new server would not: {reason}")
        self.stop(place)
        self.start(place, spec)
        report = self._wait_ready(place)
        if report.state != "ready":
            self.stop(place)
            if before.spec is not None:
                self.start(place, before.spec)
            raise ClusterError(
                f"{before.address} serves what it did before: the new server, though proven, said: {report.said}"
            )
        return f"{report.address}: proven, and in the place of {before.address}"

    def _wait_ready(self, place: int) -> ServerReport:
        """Wait until the server at a place serves. It may need a few starts, if a port is given back late."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            report = self.reports().get(place, _LOST)
            if report.state == "ready" or report.starts > 3 or time.monotonic() > deadline:
                return report
            self._pause(_LOOK_SECONDS)
