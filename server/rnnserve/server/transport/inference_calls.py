"""Calls of inference on the public transport, each with the request of it that is in hand."""

from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.connections.byte_budget import HeldBytes
from rnnserve.server.protocol.sequence_callers import StreamOwner

__all__ = ["InferenceCall", "StreamCall", "UnaryCall"]


class InferenceCall(StreamOwner):
    """A call of ModelInfer or ModelStreamInfer, with the request of it that is in hand."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        super().__init__()
        self._waiting: PendingRequest | None = None

    @property
    def owner(self) -> StreamOwner | None:
        """The stream that its sequences belong to; None where they belong to none."""
        return None

    def note(self, waiting: PendingRequest) -> None:
        """Note that a request waits."""
        self._waiting = waiting
        if not self.is_open:
            waiting.cancel()

    def drop(self) -> None:
        """Note that the request does not wait any more. A stream may be open for long: it is not to keep it."""
        self._waiting = None

    def close(self) -> None:
        """Note that the call has ended."""
        self.is_open = False
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()


class UnaryCall(InferenceCall):
    """A call with one request, and what it holds until it has ended."""

    __slots__ = ("_held",)

    def __init__(self, held: HeldBytes) -> None:
        super().__init__()
        self._held = held

    def close(self) -> None:
        """Note that the call has ended."""
        super().close()
        self._held.end()


class StreamCall(InferenceCall):
    """A stream."""

    __slots__ = ()

    @property
    def owner(self) -> StreamOwner:
        """Itself."""
        return self
