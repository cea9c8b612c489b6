"""The client library, and the commands `rnnserve infer` and `rnnserve health`.

The client uses the Open Inference Protocol, so it works with Triton and other servers as well as with `rnnserve serve`.
The library needs numpy, protobuf and grpcio. It doesn't import the server, export or training code. Importing this
package loads none of these libraries: each name is loaded on first use, so that `rnnserve health` starts fast.

Public: `__all__`, `aligned_table`, `channel`, `classification`, `commands`, `endpoint`, `errors`, `metadata`,
`predictions`, `reading`, `request_builder`, `row_inputs`, `sessions`, `tensors`, `tls_diagnosis`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        PermissionDenied,
        ResourceExhausted,
        Unauthenticated,
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
    "PermissionDenied",
    "Prediction",
    "ResourceExhausted",
    "Session",
    "TensorMetadata",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnreadableInput",
]

_HOMES = {
    "AsyncClient": "async_client",
    "AsyncSession": "sessions",
    "Classification": "classification",
    "Client": "sync_client",
    "ModelMetadata": "metadata",
    "Prediction": "predictions",
    "Session": "sessions",
    "TensorMetadata": "metadata",
}
"""The module of each name. All other names are errors."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name in __all__:
        value = getattr(importlib.import_module(f"rnnserve.client.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
