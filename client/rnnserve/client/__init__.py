"""Ask a server: the client library, and the command that reads sequences from files.

Speaks the Open Inference Protocol, so it asks Triton and others as well as `rnnserve serve`. Needs numpy and grpcio.
"""

from rnnserve.client.answers import Classification
from rnnserve.client.asynchronous import AsyncClient
from rnnserve.client.errors import (
    Cancelled,
    ClientError,
    DeadlineExceeded,
    InternalError,
    InvalidAnswer,
    InvalidRequest,
    ModelNotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    UnreadableInput,
)
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.sync import Client

__all__ = [
    "AsyncClient",
    "Cancelled",
    "Classification",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "InternalError",
    "InvalidAnswer",
    "InvalidRequest",
    "ModelMetadata",
    "ModelNotFound",
    "ResourceExhausted",
    "TensorMetadata",
    "Unavailable",
    "Unimplemented",
    "UnreadableInput",
]
