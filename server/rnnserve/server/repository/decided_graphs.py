"""Which graphs were chosen, for good: a version that is loaded again, or by another worker, stays with its graph."""

import json
from collections.abc import Mapping

from rnnserve.server.repository.pins import Pins

__all__ = ["DecidedGraphs"]


class DecidedGraphs:
    """The graph of each version that serves or has served, by the model's name and the manifest's `self_sha256`."""

    def __init__(self, text: str = "{}") -> None:
        """Begin with what `dump` has written: what was chosen before this process."""
        self._known: dict[str, dict[str, str]] = json.loads(text)

    def find(self, name: str) -> Mapping[str, str]:
        """Give what was chosen for a model's versions: "native" or "scan", by digest."""
        return self._known.get(name, {})

    def remember(self, name: str, digest: str, graph: str) -> None:
        """Remember what was chosen for a version."""
        self._known.setdefault(name, {})[digest] = graph

    def take(self, pins: Pins) -> None:
        """Remember what a worker has chosen for the versions that it serves."""
        for name, model in pins.items():
            for pin in model.versions.values():
                if pin.digest:
                    self.remember(name, pin.digest, pin.graph)

    def dump(self) -> str:
        """Write what is known as one line of JSON."""
        return json.dumps(self._known, sort_keys=True)
