"""The attacks, by what they abuse: messages, tensors, management, calls, streams, frames, windows, connections."""

from . import calls, connections, frames, management, messages, streams, tensors, windows

__all__ = ["ATTACKS"]

ATTACKS = (
    *messages.ATTACKS,
    *tensors.ATTACKS,
    *management.ATTACKS,
    *calls.ATTACKS,
    *streams.ATTACKS,
    *frames.ATTACKS,
    *windows.ATTACKS,
    *connections.ATTACKS,
)
