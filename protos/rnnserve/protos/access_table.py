"""Access control for servers with tokens: one table of gRPC's methods and HTTP's routes.

Methods have gRPC's full names. Routes have their names in the gateway's table, never the text of a path. Access without
a row is refused to everybody. Servers and gateways don't start if a method or route has no row.
"""

import enum
from collections.abc import Iterable
from types import MappingProxyType

__all__ = ["INFERENCE", "METHODS", "METRICS_ROUTE", "ROLES", "ROUTES", "SERVER_METADATA", "Need", "rows_missing"]

INFERENCE = "/inference.GRPCInferenceService/"

SERVER_METADATA = f"{INFERENCE}ServerMetadata"
"""With the metadata `protocol_words.ROUTE`, the gateway calls this method to ask whether a client may use a route."""

METRICS_ROUTE = "metrics"

ROLES = ("infer", "admin", "metrics")
"""The roles of tokens. `admin` includes the other roles."""


class Need(enum.Enum):
    """The requirement of a call. Its value has the roles of which the token needs one, or None.

    Attributes:
        roles: These roles, or empty if no token is required. Each request reads them, and reading `value` takes 0.1 µs.
    """

    HEALTH = ROLES
    """No token: everybody may check whether the server is live and ready."""
    OPEN = (*ROLES, "open")  # a different value, because an equal one would make an alias of HEALTH
    """No token: the response is the same for everybody and every server."""
    INSIDE = None
    """No token: it works only on the private socket. Each contained request has its own requirement."""
    ANY_TOKEN = (*ROLES, "")  # a different value, as for OPEN
    """A token of any role."""
    INFER = ("infer", "admin")
    """A token of the role `infer`, or `admin`."""
    INFER_OR_METRICS = ("infer", "metrics", "admin")
    """A token of any role."""
    METRICS = ("metrics", "admin")
    """A token of the role `metrics`, or `admin`."""
    ADMIN = ("admin",)
    """A token of the role `admin`."""
    NONE_MAY = ()
    """Always refused: for methods and routes without a row."""

    def __init__(self, *value: str | None) -> None:
        self.roles = tuple(role for role in ROLES if role in value)


METHODS = MappingProxyType(
    {
        f"{INFERENCE}ServerLive": Need.HEALTH,
        f"{INFERENCE}ServerReady": Need.HEALTH,
        SERVER_METADATA: Need.ANY_TOKEN,
        f"{INFERENCE}ModelReady": Need.INFER,
        f"{INFERENCE}ModelMetadata": Need.INFER,
        f"{INFERENCE}ModelConfig": Need.INFER,
        f"{INFERENCE}ModelInfer": Need.INFER,
        f"{INFERENCE}ModelStreamInfer": Need.INFER,
        f"{INFERENCE}ModelStatistics": Need.INFER_OR_METRICS,
        f"{INFERENCE}RepositoryIndex": Need.INFER,
        f"{INFERENCE}RepositoryModelLoad": Need.ADMIN,
        f"{INFERENCE}RepositoryModelUnload": Need.ADMIN,
        f"{INFERENCE}SystemSharedMemoryStatus": Need.ADMIN,
        f"{INFERENCE}SystemSharedMemoryRegister": Need.ADMIN,
        f"{INFERENCE}SystemSharedMemoryUnregister": Need.ADMIN,
        f"{INFERENCE}CudaSharedMemoryStatus": Need.ADMIN,
        f"{INFERENCE}CudaSharedMemoryRegister": Need.ADMIN,
        f"{INFERENCE}CudaSharedMemoryUnregister": Need.ADMIN,
        f"{INFERENCE}TraceSetting": Need.ADMIN,
        f"{INFERENCE}LogSettings": Need.ADMIN,
        "/grpc.health.v1.Health/Check": Need.HEALTH,  # of the server as a whole. A model's name needs INFER
        "/grpc.health.v1.Health/Watch": Need.HEALTH,  # as for Check
        "/grpc.health.v1.Health/List": Need.INFER,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Need.ANY_TOKEN,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Need.ANY_TOKEN,
        "/rnnserve.Front/Exchange": Need.INSIDE,
    }
)
"""The requirement of each gRPC method, by its full name."""

ROUTES = MappingProxyType(
    {
        "live": Need.HEALTH,
        "ready": Need.HEALTH,
        "server_metadata": Need.ANY_TOKEN,
        "list_models": Need.INFER,
        "model_metadata": Need.INFER,
        "model_ready": Need.INFER,
        "model_config": Need.INFER,
        "infer": Need.INFER,
        "stream": Need.INFER,
        "statistics": Need.INFER_OR_METRICS,
        "repository": Need.INFER,
        "control": Need.ADMIN,
        METRICS_ROUTE: Need.METRICS,
        "document": Need.OPEN,  # a static file
        "page": Need.OPEN,  # a static file, on which a browser can enter a token
        "page_models": Need.INFER,
        "static": Need.OPEN,  # static files with fixed names
    }
)
"""The requirement of each HTTP route by name, for the gateway and the metrics port."""


def rows_missing(names: Iterable[str]) -> list[str]:
    """Return the methods and routes without a row."""
    return sorted({name for name in names if name not in METHODS and name not in ROUTES})
