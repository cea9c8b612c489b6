"""The client library, and the command `rnnserve infer`.

The client uses the Open Inference Protocol, so it works with Triton and other servers as well as with `rnnserve serve`.
The library needs numpy, protobuf and grpcio; it imports nothing of the server, of the export or of training.

Door: `__all__`, `aligned_table`, `casting`, `channel`, `classification`, `commands`, `endpoint`, `errors`, `metadata`,
`predictions`, `reading`, `request_builder`, `row_inputs`, `session_operations`, `tensors`, `tls_diagnosis`.
"""

from rnnserve.client.async_client import AsyncClient
from rnnserve.client.classification import Classification
from rnnserve.client.errors import (
    Cancelled,
    ClientError,
    DeadlineExceeded,
    FailedPrecondition,
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
from rnnserve.client.predictions import Prediction
from rnnserve.client.sessions import AsyncSession, Session
from rnnserve.client.sync_client import Client

__all__ = [
    "AsyncClient",
    "AsyncSession",
    "Cancelled",
    "Classification",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InternalError",
    "InvalidAnswer",
    "InvalidRequest",
    "ModelMetadata",
    "ModelNotFound",
    "Prediction",
    "ResourceExhausted",
    "Session",
    "TensorMetadata",
    "Unavailable",
    "Unimplemented",
    "UnreadableInput",
]
