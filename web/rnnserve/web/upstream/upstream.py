"""Interface between the application and the server that it calls. Tests implement it with a fake server."""

from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb

__all__ = ["CallContext", "Upstream"]

Answered = TypeVar("Answered", bound=Message)


class CallContext(NamedTuple):
    """Metadata, timeout and client of a call."""

    metadata: tuple[tuple[str, str], ...] = ()  # the request ID and the client's forwarded headers
    timeout: float = 60.0  # in seconds
    client: str = ""  # the client's address and port in gRPC's format


class Upstream(Protocol):
    """A server or the workers of one. Failed calls raise RestError with the server's message."""

    @property
    def trusts_peer(self) -> bool:
        """Whether the server trusts the client address in the metadata."""

    async def infer(self, request: pb.ModelInferRequest, context: CallContext, /) -> pb.ModelInferResponse:
        """Send an inference request and return the response."""

    async def call(self, method: str, request: Message, answer: type[Answered], context: CallContext, /) -> Answered:
        """Call another method by name. `answer` is the response type."""

    async def close(self) -> None:
        """Close all connections."""
