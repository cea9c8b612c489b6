"""The attacks, by what they abuse: messages, tensors, management, calls, frames, connections."""

from . import calls, connections, frames, management, messages, tensors

__all__ = ["ATTACKS"]

ATTACKS = (
    *messages.ATTACKS,
    *tensors.ATTACKS,
    *management.ATTACKS,
    *calls.ATTACKS,
    *frames.ATTACKS,
    *connections.ATTACKS,
)
