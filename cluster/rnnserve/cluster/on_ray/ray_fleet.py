"""Controls the servers of a Ray cluster from a command."""

import contextlib
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any, Self

import ray
import ray.exceptions
import ray.util
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rnnserve.cluster.fleet import Fleet
from rnnserve.cluster.kept_server import KeptServer
from rnnserve.cluster.servers import ClusterError, FleetStatus, ServerReport, ServerSpec

__all__ = ["RayFleet", "ServerActor"]

_GROUP, _ROLLING = "servers", "rolling"
_NAME = re.compile(r"server-(?P<place>\d+)-\w+")

_PLACED_SECONDS, _LOOK_SECONDS, _REPORT_SECONDS, _STOP_SECONDS = 20.0, 0.5, 3.0, 300.0
_METHODS_AT_ONCE = 4
"""Concurrent method calls of an actor, so that it can report while it tests a new server."""

_REACH_SECONDS = 5.0
"""Seconds to try a connection first, because Ray itself tries for more than a minute and logs its attempts."""


class ServerActor(KeptServer):
    """Keeps a server running on the node that Ray has chosen."""

    def __init__(self, spec: ServerSpec) -> None:
        super().__init__(ray.util.get_node_ip_address(), spec)


class RayFleet(Fleet):
    """Servers in the bundles of a Ray placement group."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._actors: dict[int, Any] = {}

    @classmethod
    @contextlib.contextmanager
    def connected(cls, name: str, address: str) -> Iterator[Self]:
        """Connect to a cluster for the duration of the block: at `host:port`, or "auto" for this machine's cluster.

        `name` is part of the namespace of the servers' actors.
        """
        if address != "auto":
            _check_reached(address)
        try:
            ray.init(
                address=address,
                namespace=f"rnnserve-{name}",
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except ConnectionError as error:
            raise ClusterError(
                "cannot find a Ray cluster. Start one with `ray start --head`, join one with `ray start "
                "--address=HOST:PORT`, or pass its address with --address"
            ) from error
        except (ray.exceptions.RayError, RuntimeError, ValueError) as error:
            raise ClusterError(f"cannot use the Ray cluster: {_line(error)}") from error
        try:
            yield cls(name)
        except ray.exceptions.RayError as error:
            raise ClusterError(f"the cluster has failed: {_line(error)}") from error
        finally:
            ray.shutdown()

    @property
    def has_token(self) -> bool:
        """Whether the connection to the cluster uses a token."""
        return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"  # Ray sets this if it has found a token

    def up(self, spec: ServerSpec, replicas: int, bundle: dict[str, float], seconds: float) -> FleetStatus:
        """Place the servers, each with the resources of a bundle, and wait until all serve. Undo everything if not."""
        if self._find_group() is not None:
            raise ClusterError(
                f"servers named {self.name!r} are already running; update them with `roll`, or stop them with `down`"
            )
        _check_nodes(replicas, bundle)
        with contextlib.ExitStack() as undo:
            group = placement_group([bundle] * replicas, strategy="STRICT_SPREAD", name=_GROUP, lifetime="detached")
            undo.callback(remove_placement_group, group)
            if not group.wait(_PLACED_SECONDS):
                raise ClusterError(
                    f"{_wanted(replicas, bundle)}, but not enough nodes have these; `ray status` shows the free "
                    "resources"
                )
            for place in range(replicas):
                self.start(place, spec)
                undo.callback(ray.kill, self._actors[place], no_restart=True)
            status = self._wait_all_ready(seconds)
            undo.pop_all()
        return status

    def down(self) -> None:
        """Shut down all servers. Each one drains first."""
        group = self._group()
        actors = [actor for place in self.found() if (actor := self._actor(place)) is not None]
        stopping = [actor.stop.remote() for actor in actors]
        if stopping:  # a lost actor can't drain its server
            ray.wait(stopping, num_returns=len(stopping), timeout=_STOP_SECONDS)
        for actor in actors:
            ray.kill(actor, no_restart=True)
        remove_placement_group(group)

    def replicas(self) -> int:
        """Return the number of bundles."""
        return int(self._group().bundle_count)

    def found(self) -> set[int]:
        """Return the places with an actor."""
        names = map(_NAME.fullmatch, ray.util.list_named_actors())
        return {int(name["place"]) for name in names if name is not None}

    def reports(self) -> dict[int, ServerReport]:
        """Return the report of each place whose actor responds within a few seconds."""
        asked = {actor.report.remote(): place for place in self.found() if (actor := self._actor(place)) is not None}
        if not asked:
            return {}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_REPORT_SECONDS)
        reports = {}
        for reference in answered:
            with contextlib.suppress(ray.exceptions.RayError):  # a lost actor
                reports[asked[reference]] = ray.get(reference)
        return reports

    def start(self, place: int, spec: ServerSpec) -> None:
        """Start a server in a bundle, as soon as there is a node for it."""
        group = self._group()
        bundle = group.bundle_specs[place]
        actor = ray.remote(ServerActor).options(
            name=f"server-{place}-{secrets.token_hex(4)}",
            lifetime="detached",
            max_restarts=-1,
            max_concurrency=_METHODS_AT_ONCE,
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, place),
        )
        self._actors[place] = actor.remote(spec)

    def try_server(self, place: int, spec: ServerSpec) -> str:
        """Test on the place's node whether another server would serve. Returns why not, or an empty text."""
        try:
            reason: str = ray.get(self._actor(place).try_server.remote(spec))
        except (ray.exceptions.RayError, AttributeError) as error:
            return f"its node was lost in the meantime ({type(error).__name__})"
        return reason

    def stop(self, place: int) -> None:
        """Drain a server and shut it down, then end its actor."""
        actor = self._actor(place)
        if actor is not None:
            with contextlib.suppress(ray.exceptions.RayError):  # the actor is already lost
                ray.get(actor.stop.remote(), timeout=_STOP_SECONDS)
            ray.kill(actor, no_restart=True)
        self._actors.pop(place, None)

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """Lock out other rolling updates, by creating an actor of a fixed name. It ends with this command."""
        lock: Any
        try:
            lock = ray.remote(_Lock).options(name=_ROLLING, num_cpus=0).remote()
        except ValueError as error:  # the name is taken
            raise ClusterError("a rolling update is in progress; wait until it has ended") from error
        try:
            yield
        finally:
            ray.kill(lock)

    def _actor(self, place: int) -> Any:  # noqa: ANN401 - Ray's handles have no useful type
        """Return the handle of a place's actor, or None if there is none."""
        if place not in self._actors:
            for name in ray.util.list_named_actors():
                found = _NAME.fullmatch(name)
                if found is not None and int(found["place"]) == place:
                    with contextlib.suppress(ValueError):  # the actor has ended since it was listed
                        self._actors[place] = ray.get_actor(name)
        return self._actors.get(place)

    def _find_group(self) -> PlacementGroup | None:
        try:
            group = get_placement_group(_GROUP)
        except ValueError:
            return None
        return None if placement_group_table(group).get("state") == "REMOVED" else group

    def _group(self) -> PlacementGroup:
        group = self._find_group()
        if group is None:
            raise ClusterError(f"no servers named {self.name!r} are running; start some with `rnnserve ray up`")
        return group

    def _wait_all_ready(self, seconds: float) -> FleetStatus:
        deadline = time.monotonic() + seconds
        while True:
            status = self.status()
            if len(status.endpoints) == len(status.reports):
                return status
            for report in status.reports.values():
                if report.starts > 1 and report.state != "ready":
                    raise ClusterError(f"the server at {report.address} is not ready: {report.said}")
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{len(status.endpoints)} of {len(status.reports)} servers are ready after {seconds:g} s"
                )
            time.sleep(_LOOK_SECONDS)


class _Lock:
    """An actor whose name is taken during a rolling update."""


def _check_reached(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no cluster responds at {address} ({error}); expected HOST:PORT, as `ray start --head` prints it"
        ) from error


def _check_nodes(replicas: int, bundle: dict[str, float]) -> None:
    """Raise ClusterError if the cluster will never have enough suitable nodes, even after waiting."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    fit = [node for node in alive if all(node["Resources"].get(name, 0) >= count for name, count in bundle.items())]
    if len(fit) < replicas:
        raise ClusterError(
            f"{_wanted(replicas, bundle)}, but only {len(fit)} of the cluster's {len(alive)} nodes have these"
        )


def _wanted(replicas: int, bundle: dict[str, float]) -> str:
    resources = " and ".join(f"{count:g} {name}" for name, count in bundle.items())
    return f"{replicas} servers need as many nodes, each with {resources} free"


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
