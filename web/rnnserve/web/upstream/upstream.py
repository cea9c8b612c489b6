"""What the application calls: a server that speaks the protocol. Tests have their own."""

from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb

__all__ = ["CallContext", "Upstream"]

Answered = TypeVar("Answered", bound=Message)


class CallContext(NamedTuple):
    """What goes with a call."""

    metadata: tuple[tuple[str, str], ...] = ()  # the client's headers that the server sees, and the request's id
    timeout: float = 60.0  # in seconds
    client: str = ""  # the client's connection, as gRPC would name it


class Upstream(Protocol):
    """A server, or several workers of one. Calls raise RestError with the server's own message."""

    @property
    def trusts_peer(self) -> bool:
        """Whether the server believes what the metadata say of the client's address."""

    async def infer(self, request: pb.ModelInferRequest, context: CallContext, /) -> pb.ModelInferResponse:
        """Have an inference request answered."""

    async def call(self, method: str, request: Message, answer: type[Answered], context: CallContext, /) -> Answered:
        """Call another method by its name. `answer` is the type of its response."""

    async def close(self) -> None:
        """End the connections."""
