"""What the application asks of the server behind it. Tests have one of their own, without a server."""

import dataclasses
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb

__all__ = ["CallContext", "SharedStream", "Upstream", "Waiter"]

Answered = TypeVar("Answered", bound=Message)


@dataclasses.dataclass(frozen=True, slots=True)
class CallContext:
    """What goes with a call.

    Attributes:
        metadata: The headers of the client that the server is to see, and the request's id.
        timeout: Seconds that the call may take.
        has_headers: Whether there are headers of the client among the metadata.
        client: Name of the client's connection; empty where it is not known.
    """

    metadata: tuple[tuple[str, str], ...] = ()
    timeout: float = 60.0
    has_headers: bool = False
    client: str = ""


class Waiter(Protocol):
    """What waits for the answer to a request on a stream: it is called once, in a later turn of the loop."""

    def answered(self, response: bytes) -> None:
        """Take the bytes of a ModelInferResponse. Raises nothing."""

    def failed(self, error: Exception) -> None:
        """Take what the server says, or why there is none: then the request may go another way. Raises nothing."""


class SharedStream(Protocol):
    """A stream to the server that all small requests share."""

    def send(self, request: bytes, context: CallContext, waiter: Waiter, /) -> int:
        """Send a ModelInferRequest, and return its number; its answer goes to the waiter."""

    def cancel(self, number: int, /) -> None:
        """Tell the server that the client of a request has gone; its waiter gets no answer."""


class Upstream(Protocol):
    """A server that speaks the protocol. Every call raises RestError with the server's own message."""

    @property
    def trusts_peer(self) -> bool:
        """Whether the server believes what the metadata say of the client's address."""

    async def infer(self, request: pb.ModelInferRequest, context: CallContext, /) -> pb.ModelInferResponse:
        """Have an inference request answered."""

    async def call(self, method: str, request: Message, answer: type[Answered], context: CallContext, /) -> Answered:
        """Call another method that has one request and one answer.

        Args:
            method: Name of the method, such as "ModelMetadata".
            request: Message that it takes.
            answer: The type of its answer.
            context: Metadata and time for the call.
        """

    def stream_for(self, context: CallContext, size: int, /) -> SharedStream | None:
        """Give the stream on which a request goes; None where it is a call of its own.

        Args:
            context: Metadata and time for the request.
            size: Bytes of its message.
        """

    async def close(self) -> None:
        """End the connection to the server."""
