"""Supervision of all servers: what is lost is replaced, updates go from one to the next, and endpoints are published.

What runs the servers is behind `servers.Nodes`.
"""

import dataclasses
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rnnserve.cluster.endpoint_file import write_endpoints
from rnnserve.cluster.errors import ClusterError, RollFailed
from rnnserve.cluster.servers import FleetPlan, FleetStatus, Nodes, RollState, ServerReport, ServerSpec

__all__ = ["Supervision"]

_REPORT_SECONDS = 3.0
"""Seconds after which a server that does not answer is left out of the endpoints."""

_LEAVE_SECONDS = 2.0
"""Seconds between the endpoints without a server and its end: clients read their file each second."""

_READY_SECONDS, _LOOK_SECONDS = 600.0, 0.2

_NAME = re.compile(r"server-(?P<place>\d+)-(?P<serial>\d+)")


class Supervision:
    """Looks after servers: `look` is called again and again, by one thread."""

    def __init__(self, plan: FleetPlan, nodes: Nodes, *, pause: Callable[[float], None] = time.sleep) -> None:
        """Begin with the servers that there are: a supervisor that was lost is replaced by a new one.

        Args:
            plan: Servers that there were to be at first; what they say of later updates counts more.
            nodes: Runner of servers on nodes.
            pause: Function that waits.
        """
        self._nodes = nodes
        self._pause = pause
        self._lock = threading.Lock()
        self._servers: dict[int, str] = {}
        self._serial = 0
        self._reports: dict[int, ServerReport] = {}
        self._published: tuple[str, ...] | None = None
        self._not_written = ""
        self._in_hand: int | None = None
        self._leaving = ""
        self._roll = RollState()
        self._is_ending = False
        names = [(int(found["serial"]), found) for found in map(_NAME.fullmatch, nodes.found()) if found is not None]
        for self._serial, found in sorted(names, key=lambda pair: pair[0]):
            place, name = int(found["place"]), found[0]
            if place in self._servers:  # of two, an update that was cut off has started the later one
                nodes.stop(self._servers[place])
            self._servers[place] = name
        said = nodes.reports(self._servers.values(), _REPORT_SECONDS)
        specs = [plan.spec, *(report.spec for report in said.values())]
        self._plan = dataclasses.replace(plan, spec=max(specs, key=lambda spec: spec.revision))

    def look(self) -> None:
        """Ask all servers, start what is missing, and publish the endpoints if they have changed."""
        with self._lock:
            if self._is_ending:
                return
            for place in range(self._plan.replicas):
                if place not in self._servers and place != self._in_hand:
                    self._start(place, self._plan.spec)
            said = self._nodes.reports(self._servers.values(), _REPORT_SECONDS)
            self._reports = {
                place: said.get(name) or self._lost(place) for place, name in sorted(self._servers.items())
            }
            for place, name in list(self._servers.items()):
                if name not in said and place != self._in_hand and self._nodes.is_gone(name):
                    del self._servers[place]
            self._publish(said)

    def status(self) -> FleetStatus:
        """Say what is known."""
        with self._lock:
            return FleetStatus(self._plan, dict(self._reports), self._published or (), self._roll)

    def roll(self, spec: ServerSpec) -> None:
        """Update one server after another, while `look` goes on: each new one is proven before the old one ends.

        Args:
            spec: Repository, options and port from now on; the revision is given here.

        Raises:
            ClusterError: If an update is under way, or not all servers serve.
            RollFailed: If a new one does not serve.
        """
        spec = self._begin_roll(spec)
        try:
            for place in range(self._plan.replicas):
                self._roll_one(place, spec)
        except RollFailed as error:
            self._end_roll(str(error))
            raise
        except BaseException as error:
            self._end_roll(f"{type(error).__name__}: {error}")
            raise
        with self._lock:
            self._plan = dataclasses.replace(self._plan, spec=spec)
        self._end_roll("")

    def end(self) -> None:
        """Let all servers end, and start none from now on."""
        with self._lock:
            self._is_ending = True
            names = list(self._servers.values())
            self._publish({})
        threads = [threading.Thread(target=self._nodes.stop, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _start(self, place: int, spec: ServerSpec) -> str:
        self._serial += 1
        name = f"server-{place}-{self._serial}"
        self._nodes.start(place, name, spec)
        self._servers[place] = name
        return name

    def _lost(self, place: int) -> ServerReport:
        """What is known of a server that does not answer: its node is lost, or there is none for it yet."""
        before = self._reports.get(place)
        spec = self._plan.spec if before is None else before.spec
        return ServerReport("", "lost", spec, "it does not answer: its node is lost, or there is none for it yet")

    def _publish(self, said: dict[str, ServerReport]) -> None:
        endpoints = tuple(
            said[name].address
            for _, name in sorted(self._servers.items())
            if name in said and said[name].state == "ready" and name != self._leaving
        )
        if endpoints != self._published or self._not_written:
            self._published = endpoints
            self._not_written = self._write(endpoints)
        untold = self._servers.values() if self._is_ending else said
        self._nodes.publish([name for name in untold if self._is_ending or said[name].listed != endpoints], endpoints)

    def _write(self, endpoints: tuple[str, ...]) -> str:
        """Write the file on the supervisor's own node; give why it cannot be, empty if it is."""
        if self._plan.endpoints:
            try:
                write_endpoints(Path(self._plan.endpoints), endpoints)
            except OSError as error:
                return f"{self._plan.endpoints} cannot be written: {error.strerror or error}"
        return ""

    def _begin_roll(self, spec: ServerSpec) -> ServerSpec:
        with self._lock:
            if not self._roll.is_over:
                raise ClusterError("a rolling update is under way; `rnnserve ray status` shows it")
            if self._plan.replicas < 2:
                raise ClusterError("one server alone cannot be replaced without a gap: use two, or `down` and `up`")
            ready = [report for report in self._reports.values() if report.state == "ready"]
            if len(ready) < self._plan.replicas:
                raise ClusterError(
                    f"{len(ready)} of {self._plan.replicas} servers serve: a rolling update begins when all do, so "
                    "that no request is without one"
                )
            self._roll = RollState(is_over=False)
            revision = 1 + max(report.spec.revision for report in ready)
            return dataclasses.replace(spec, revision=revision)

    def _roll_one(self, place: int, spec: ServerSpec) -> None:
        old, before = self._servers[place], self._reports[place]
        why = self._nodes.prove(old, spec)
        if why:
            raise RollFailed(f"{before.address} serves as before, since the new server would not: {why}")
        with self._lock:
            self._in_hand, self._leaving = place, old
        try:
            self.look()
            self._pause(_LEAVE_SECONDS)
            self._nodes.stop(old)
            with self._lock:
                self._start(place, spec)
            if not self._becomes_ready(place):
                said = self._reports[place].said
                self._nodes.stop(self._servers[place])
                with self._lock:
                    self._start(place, before.spec)
                raise RollFailed(
                    f"{before.address} serves what it did before: the new server, though proven, said: {said}"
                )
        finally:
            with self._lock:
                self._in_hand, self._leaving = None, ""
        with self._lock:
            line = f"{self._reports[place].address}: proven, and in the place of {before.address}"
            self._roll = dataclasses.replace(self._roll, lines=(*self._roll.lines, line))

    def _becomes_ready(self, place: int) -> bool:
        """Wait until the new server at a place serves; it may need a few starts, where a port is given back late."""
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            self.look()
            report = self._reports[place]
            if report.state == "ready" or report.starts > 3:
                return report.state == "ready"
            self._pause(_LOOK_SECONDS)
        return False

    def _end_roll(self, failed: str) -> None:
        with self._lock:
            self._roll = dataclasses.replace(self._roll, is_over=True, failed=failed)
