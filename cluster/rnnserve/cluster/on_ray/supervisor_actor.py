"""The actor that looks after the servers."""

import logging
import threading

from ray.util.placement_group import PlacementGroup

from rnnserve.cluster.errors import ClusterError
from rnnserve.cluster.on_ray.ray_nodes import RayNodes
from rnnserve.cluster.servers import FleetPlan, FleetStatus, ServerSpec
from rnnserve.cluster.supervision import Supervision

__all__ = ["SupervisorActor"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class SupervisorActor:
    """Looks after servers each second; started again, it finds them by their names."""

    def __init__(self, plan: FleetPlan, group: PlacementGroup, bundle: dict[str, float]) -> None:
        self._supervision = Supervision(plan, RayNodes(plan.name, plan.endpoints, group, bundle))
        self._is_over = threading.Event()
        threading.Thread(target=self._look, name="supervision", daemon=True).start()

    def status(self) -> FleetStatus:
        """Say what is known of all servers."""
        return self._supervision.status()

    def roll(self, spec: ServerSpec) -> str:
        """Update one server after another; give why that has ended early, empty if it has not."""
        try:
            self._supervision.roll(spec)
        except ClusterError as error:
            return str(error)
        return ""

    def end(self) -> None:
        """Let all servers end."""
        self._is_over.set()
        self._supervision.end()

    def _look(self) -> None:
        while not self._is_over.is_set():
            try:
                self._supervision.look()
            except Exception:  # noqa: BLE001 - whatever it is, servers go on, and the next look may do what this one could not
                _log.exception("a look at the servers has failed; the next one follows")
            self._is_over.wait(_LOOK_SECONDS)
