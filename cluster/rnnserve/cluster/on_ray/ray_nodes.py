"""Implements `servers.Nodes` with actors of Ray."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import ray
import ray.exceptions
import ray.util
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rnnserve.cluster.on_ray.server_actor import ServerActor
from rnnserve.cluster.servers import ServerReport, ServerSpec

__all__ = ["RayNodes"]

_PREFIX = "server-"
_METHODS_AT_ONCE = 4
"""A report is given while a proof takes its time."""

_STOP_SECONDS = 300.0


class RayNodes:
    """Actors in the bundles of a placement group; for the actor that looks after them."""

    def __init__(self, fleet: str, endpoints: str, group: PlacementGroup, bundle: dict[str, float]) -> None:
        """Take where servers go.

        Args:
            fleet: Name of the servers.
            endpoints: File that lists those which serve; empty for none.
            group: The placement group, a bundle a server.
            bundle: Resources of a bundle.
        """
        self._fleet = fleet
        self._endpoints = endpoints
        self._group = group
        self._bundle = bundle
        self._actors: dict[str, Any] = {}

    def found(self) -> list[str]:
        """Give the names of the servers that there are."""
        return [name for name in ray.util.list_named_actors() if name.startswith(_PREFIX)]

    def start(self, place: int, name: str, spec: ServerSpec) -> None:
        """Have a server started in a bundle, now or when there is a node for it."""
        actor = ray.remote(ServerActor).options(
            name=name,
            lifetime="detached",
            max_restarts=-1,
            max_concurrency=_METHODS_AT_ONCE,
            num_cpus=self._bundle.get("CPU", 0),
            num_gpus=self._bundle.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, place),
        )
        self._actors[name] = actor.remote(self._fleet, spec, self._endpoints)

    def reports(self, names: Iterable[str], seconds: float) -> dict[str, ServerReport]:
        """Ask servers; give the reports of those that answer in time."""
        asked = {actor.report.remote(): name for name in names if (actor := self._actor(name)) is not None}
        if not asked:
            return {}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
        found = {}
        for reference in answered:
            with contextlib.suppress(ray.exceptions.RayError):  # of an actor that is lost
                found[asked[reference]] = ray.get(reference)
        return found

    def is_gone(self, name: str) -> bool:
        """Whether a server is gone for good: Ray does not start it again."""
        actor = self._actor(name)
        if actor is None:
            return True
        try:
            ray.get(actor.report.remote(), timeout=1.0)
        except ray.exceptions.ActorDiedError:
            self._actors.pop(name, None)
            return True
        except ray.exceptions.RayError:
            return False
        return False

    def prove(self, name: str, spec: ServerSpec) -> str:
        """Try on a server's node whether another would serve; give why not, empty if it would."""
        try:
            said: str = ray.get(self._actor(name).prove.remote(spec))
        except (ray.exceptions.RayError, AttributeError) as error:
            return f"its node was lost meanwhile ({type(error).__name__})"
        return said

    def stop(self, name: str) -> None:
        """Let a server end, and its actor."""
        actor = self._actor(name)
        if actor is not None:
            with contextlib.suppress(ray.exceptions.RayError):  # of one that is lost already
                ray.get(actor.stop.remote(), timeout=_STOP_SECONDS)
            ray.kill(actor, no_restart=True)
        self._actors.pop(name, None)

    def publish(self, names: Iterable[str], endpoints: Sequence[str]) -> None:
        """Have the file of endpoints written on servers' nodes; what became of it is in their reports."""
        for name in names:
            actor = self._actor(name)
            if actor is not None:
                actor.publish.remote(endpoints)

    def _actor(self, name: str) -> Any:  # noqa: ANN401 - Ray's handles have no useful type
        """The handle of a server's actor; None where there is none."""
        if name not in self._actors:
            with contextlib.suppress(ValueError):  # what Ray raises for a name without an actor
                self._actors[name] = ray.get_actor(name)
        return self._actors.get(name)
