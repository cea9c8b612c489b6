"""Who may do what, where a server asks for tokens: one table of the methods of gRPC and the routes of HTTP.

A method is named as gRPC matches it, a route by its own name in the front's table, never by the text of a path. What
has no row is refused to all, and neither a server nor a front starts while one of its methods or routes has none.
"""

import enum
from collections.abc import Iterable
from types import MappingProxyType

__all__ = ["INFERENCE", "METHODS", "METRICS_ROUTE", "ROLES", "ROUTES", "SERVER_METADATA", "Need", "rows_missing"]

INFERENCE = "/inference.GRPCInferenceService/"

SERVER_METADATA = f"{INFERENCE}ServerMetadata"
"""The method by which a front asks whether a route may be asked for: with the metadata `protocol_words.ROUTE`."""

METRICS_ROUTE = "metrics"

ROLES = ("infer", "admin", "metrics")
"""What a token may be for. `admin` may do all that the others may."""


class Need(enum.Enum):
    """What a call has to bring: its value is the roles of which its token needs one; None where none is asked for.

    Attributes:
        roles: These roles; empty where none is asked for. Each request needs them, and `value` takes 0.1 µs.
    """

    HEALTH = ROLES
    """Nothing: whether the server is live and ready is for everybody."""
    OPEN = (*ROLES, "open")  # its own value, so that it is no other name of HEALTH
    """Nothing: it is the same for everybody, whatever this server holds."""
    INSIDE = None
    """Nothing by itself: it is for the private socket alone. What comes inside has needs of its own."""
    ANY_TOKEN = (*ROLES, "")  # likewise
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
    """What no token has: of what has no row."""

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
        "/grpc.health.v1.Health/Check": Need.HEALTH,  # of the server as a whole; a model's name needs INFER
        "/grpc.health.v1.Health/Watch": Need.HEALTH,  # likewise
        "/grpc.health.v1.Health/List": Need.INFER,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Need.ANY_TOKEN,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Need.ANY_TOKEN,
        "/rnnserve.Front/Exchange": Need.INSIDE,
    }
)
"""What each method of gRPC needs, by its full name."""

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
        "system_shared_memory": Need.ADMIN,
        "cuda_shared_memory": Need.ADMIN,
        "trace_settings": Need.ADMIN,
        "logging": Need.ADMIN,
        METRICS_ROUTE: Need.METRICS,
        "document": Need.ANY_TOKEN,
        "page": Need.OPEN,  # a file of the package, without a word of this server: where a browser is asked for a token
        "page_models": Need.INFER,
        "static": Need.OPEN,  # likewise: files by names that are fixed when the front starts
    }
)
"""What each route of HTTP needs, by its name: of the front, and of the port of metrics."""


def rows_missing(names: Iterable[str]) -> list[str]:
    """Give those methods and routes that have no row."""
    return sorted({name for name in names if name not in METHODS and name not in ROUTES})
