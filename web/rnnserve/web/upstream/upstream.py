"""What the application asks of the server behind it. Tests have one of their own, without a server."""

import dataclasses
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb

__all__ = ["CallContext", "Upstream"]

Answered = TypeVar("Answered", bound=Message)


@dataclasses.dataclass(frozen=True, slots=True)
class CallContext:
    """What goes with a call.

    Attributes:
        metadata: The headers of the client that the server is to see, and the request's id.
        timeout: Seconds that the call may take.
        has_headers: Whether there are headers of the client among the metadata.
    """

    metadata: tuple[tuple[str, str], ...] = ()
    timeout: float = 60.0
    has_headers: bool = False


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

    async def close(self) -> None:
        """End the connection to the server."""
