"""The way from a command to the servers of a cluster: up, status, roll, down."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import ray
import ray.exceptions
import ray.util
from ray.util.placement_group import get_placement_group, placement_group, remove_placement_group

from rnnserve.cluster.errors import ClusterError, RollFailed
from rnnserve.cluster.on_ray.supervisor_actor import SupervisorActor
from rnnserve.cluster.servers import FleetPlan, FleetStatus, ServerSpec

__all__ = ["Fleet"]

_SUPERVISOR, _GROUP = "supervisor", "servers"
_PLACED_SECONDS, _ASK_SECONDS, _LOOK_SECONDS, _END_SECONDS = 20.0, 30.0, 0.5, 600.0
_METHODS_AT_ONCE = 4
_HEAD, _NODE_ID = "node:__internal_head__", "ray.io/node-id"
"""Ray's own resource of the head, and label of each node."""

_FOUND = "auto"
_REACH_SECONDS = 5.0
"""Ray itself tries for more than a minute, and logs that it does."""


class Fleet:
    """Servers of one name in a cluster."""

    def __init__(self, name: str) -> None:
        self._name = name

    @classmethod
    @contextlib.contextmanager
    def connected(cls, name: str, address: str) -> Iterator[Self]:
        """Connect to a cluster, while the block lasts.

        Args:
            name: Name of the servers: the namespace of their actors.
            address: Address of the cluster, `host:port`; "auto" for the one that this machine is part of.

        Raises:
            ClusterError: If there is none, or it refuses the connection.
        """
        if address != _FOUND:
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
                "no cluster of Ray is found: `ray start --head` makes one of this machine, and "
                "`ray start --address=HOST:PORT` lets it join another; or say where it is, with --address"
            ) from error
        except (ray.exceptions.RayError, RuntimeError, ValueError) as error:
            raise ClusterError(f"the cluster of Ray cannot be used: {_line(error)}") from error
        try:
            yield cls(name)
        except ray.exceptions.GetTimeoutError as error:
            raise ClusterError(
                "what looks after the servers does not answer: is a node being lost? Ask again"
            ) from error
        except ray.exceptions.RayError as error:
            raise ClusterError(f"the cluster has failed: {_line(error)}") from error
        finally:
            ray.shutdown()

    @property
    def has_token(self) -> bool:
        """Whether the connection to the cluster shows a token."""
        return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"  # Ray sets it, too, where it has found a token

    def up(self, plan: FleetPlan, bundle: dict[str, float], seconds: float) -> FleetStatus:
        """Place the servers, and wait until all serve; where that fails, nothing is left.

        Args:
            plan: Servers that there are to be.
            bundle: Resources of a server.
            seconds: Seconds that it may take.

        Raises:
            ClusterError: If they cannot be placed, or one does not serve.
        """
        if self._find() is not None:
            raise ClusterError(f"servers named {self._name!r} are up: `roll` updates them, `down` ends them")
        _check_nodes(plan.replicas, bundle)
        with contextlib.ExitStack() as undo:
            group = placement_group(
                [bundle] * plan.replicas, strategy="STRICT_SPREAD", name=_GROUP, lifetime="detached"
            )
            undo.callback(remove_placement_group, group)
            if not group.wait(_PLACED_SECONDS):
                raise ClusterError(
                    f"{_wanted(plan.replicas, bundle)}, and so many have not: `ray status` shows what is free"
                )
            supervisor = ray.remote(SupervisorActor).options(
                name=_SUPERVISOR,
                lifetime="detached",
                max_restarts=-1,
                max_concurrency=_METHODS_AT_ONCE,
                num_cpus=0,
                **_not_with_the_head(),
            )
            handle = supervisor.remote(plan, group, bundle)
            undo.callback(self._end, handle)
            status = self._all_ready(handle, plan.replicas, seconds)
            undo.pop_all()
        return status

    def status(self) -> FleetStatus:
        """Say what is known of all servers.

        Raises:
            ClusterError: If there are none of this name.
        """
        return _asked(self._supervisor())

    def roll(self, change: Callable[[ServerSpec], ServerSpec], tell: Callable[[str], None]) -> FleetStatus:
        """Update one server after another.

        Args:
            change: Function from how servers are started to how they are to be.
            tell: Function that is told what has happened.

        Raises:
            RollFailed: If it ends early.
        """
        supervisor = self._supervisor()
        rolling = supervisor.roll.remote(change(_asked(supervisor).plan.spec))
        told = 0
        while True:
            ended, _ = ray.wait([rolling], timeout=_LOOK_SECONDS)
            why = ray.get(rolling) if ended else ""
            status = _asked(supervisor)
            if not why or status.roll.failed == why:  # else it has not begun, and the lines are of another one
                for line in status.roll.lines[told:]:
                    tell(line)
                told = len(status.roll.lines)
            if why:
                raise RollFailed(why)
            if ended:
                return status

    def down(self) -> None:
        """Let all servers end, and what looks after them.

        Raises:
            ClusterError: If there are none of this name.
        """
        self._end(self._supervisor())
        with contextlib.suppress(ValueError):  # there is none
            remove_placement_group(get_placement_group(_GROUP))

    def _end(self, supervisor: Any) -> None:  # noqa: ANN401 - Ray's handles have no useful type
        with contextlib.suppress(ray.exceptions.RayError):  # where it is lost, servers end without draining
            ray.get(supervisor.end.remote(), timeout=_END_SECONDS)
        ray.kill(supervisor, no_restart=True)
        for name in ray.util.list_named_actors():
            with contextlib.suppress(ValueError):  # it has ended meanwhile
                ray.kill(ray.get_actor(name), no_restart=True)

    def _find(self) -> Any:  # noqa: ANN401
        try:
            return ray.get_actor(_SUPERVISOR)
        except ValueError:
            return None

    def _supervisor(self) -> Any:  # noqa: ANN401
        found = self._find()
        if found is None:
            raise ClusterError(f"no servers named {self._name!r} are up: `rnnserve ray up` starts some")
        return found

    def _all_ready(self, supervisor: Any, replicas: int, seconds: float) -> FleetStatus:  # noqa: ANN401
        deadline = time.monotonic() + seconds
        while True:
            status = _asked(supervisor)
            reports = status.reports.values()
            if len(status.endpoints) == replicas:
                return status
            failed = next((report for report in reports if report.starts > 1 and report.state != "ready"), None)
            if failed is not None:
                raise ClusterError(f"the server at {failed.address} does not serve: {failed.said}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{len(status.endpoints)} of {replicas} servers serve after {seconds:g} s")
            time.sleep(_LOOK_SECONDS)


def _check_reached(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no cluster answers at {address} ({error.strerror or error}): expected what `ray start --head` has printed"
        ) from error


def _asked(supervisor: Any) -> FleetStatus:  # noqa: ANN401
    status: FleetStatus = ray.get(supervisor.status.remote(), timeout=_ASK_SECONDS)
    return status


def _check_nodes(replicas: int, bundle: dict[str, float]) -> None:
    """Refuse what the cluster cannot have, however long one waits."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    fit = [node for node in alive if all(node["Resources"].get(name, 0) >= count for name, count in bundle.items())]
    if len(fit) < replicas:
        raise ClusterError(f"{_wanted(replicas, bundle)}, and {len(fit)} of the cluster's {len(alive)} have")


def _wanted(replicas: int, bundle: dict[str, float]) -> str:
    resources = " and ".join(f"{count:g} {name}" for name, count in bundle.items())
    return f"{replicas} servers need as many nodes, each with {resources} free"


def _not_with_the_head() -> dict[str, Any]:
    """Where the supervisor goes, also when it is started again: it outlives the head where there are other nodes."""
    heads = [node["NodeID"] for node in ray.nodes() if node["Alive"] and _HEAD in node["Resources"]]
    if len(heads) != 1:
        return {}
    anywhere: dict[str, str] = {}
    return {
        "label_selector": {_NODE_ID: f"!{heads[0]}"},
        "fallback_strategy": [{"label_selector": anywhere}],
    }


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
