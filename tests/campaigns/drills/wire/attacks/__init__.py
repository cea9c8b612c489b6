"""The attacks, by what they abuse: messages, tensors, management, calls, streams, frames, connections."""

from . import calls, connections, frames, management, messages, streams, tensors

__all__ = ["ATTACKS"]

ATTACKS = (
    *messages.ATTACKS,
    *tensors.ATTACKS,
    *management.ATTACKS,
    *calls.ATTACKS,
    *streams.ATTACKS,
    *frames.ATTACKS,
    *connections.ATTACKS,
)
