"""What sequences need of a server: a model whose states can be kept, and callers on connections."""

import types
from typing import Any

from rnnserve.server.protocol.sequences import StreamOwner


class FakeCaller:
    """A caller on a connection."""

    grant = None

    def __init__(self, connection: str = "ipv4:10.0.0.1:50000", stream: StreamOwner | None = None) -> None:
        self._connection = connection
        self.stream = stream

    def on(self, stream: StreamOwner | None) -> "FakeCaller":
        """The same caller on a stream."""
        return FakeCaller(self._connection, stream)

    def peer(self) -> str:
        return self._connection


def fake_served(name: str = "model", version: str = "1", *, why_not_in_parts: str = "") -> Any:
    """A version of a model that keeps its states."""
    signature = types.SimpleNamespace(states={}, required_state=None, bounded_states=())
    model = types.SimpleNamespace(name=name, version=version, signature=signature, why_not_in_parts=why_not_in_parts)
    served = types.SimpleNamespace(model=model)
    served.of_sequences = served  # it has no states but those of its interface
    return served
