"""The table of routes: every path that the front answers, by method, with what OpenAPI says of it.

One entry a path; `application` and `openapi` are made from the same table. A route's own name says what it is, and not
the path of a request: rules that depend on what is asked for go by the name.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from rnnserve.web.app import generation, health, infer, models, repository, server_settings, shared_memory
from rnnserve.web.app.exchange import Answer, Exchange

__all__ = ["Handler", "RouteEntry", "protocol_routes"]

Handler = Callable[[Exchange], Awaitable[Answer]]


@dataclasses.dataclass(frozen=True)
class RouteEntry:
    """A path.

    Attributes:
        path: With parameters in braces: "/v2/models/{model}".
        name: Says what it is: of the routes with and without a version the same.
        handlers: By method; HEAD and OPTIONS follow from them.
        summary: What it does, for the document.
        is_compressed: Whether answers are, where the header Accept-Encoding asks for that. tritonclient's asyncio
            client asks for it always, and reads compressed answers to inference alone.
    """

    path: str
    name: str
    handlers: Mapping[str, Handler]
    summary: str
    is_compressed: bool = False


def _of_model(
    action: str, name: str, handlers: Mapping[str, Handler], summary: str, *, is_compressed: bool = False
) -> list[RouteEntry]:
    """A route of a model, with and without a version."""
    path, of_version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    tail = f"/{action}" if action else ""
    return [
        RouteEntry(path + tail, name, handlers, summary, is_compressed),
        RouteEntry(of_version + tail, name, handlers, f"{summary}, of one version", is_compressed),
    ]


def _of_memory(kind: str) -> list[RouteEntry]:
    root = f"/v2/{kind.lower()}sharedmemory"
    status, unregister = {"GET": shared_memory.status(kind)}, {"POST": shared_memory.unregister(kind)}
    name = f"{kind.lower()}_shared_memory"
    return [
        RouteEntry(f"{root}/status", name, status, "Regions of shared memory: none"),
        RouteEntry(f"{root}/region/{{region}}/status", name, status, "A region of shared memory: none"),
        RouteEntry(
            f"{root}/region/{{region}}/register",
            name,
            {"POST": shared_memory.register(kind)},
            "Register a region of shared memory: refused",
        ),
        RouteEntry(f"{root}/unregister", name, unregister, "Unregister all regions of shared memory"),
        RouteEntry(f"{root}/region/{{region}}/unregister", name, unregister, "Unregister a region of shared memory"),
    ]


def protocol_routes() -> list[RouteEntry]:
    """The routes of the protocol: the first that fits answers."""
    post_infer, stats = {"POST": infer.infer}, {"GET": models.statistics}
    log, trace = server_settings.logging_settings, server_settings.trace_settings
    return [
        *_of_model("infer", "infer", post_infer, "Run a model", is_compressed=True),
        RouteEntry("/v2", "server_metadata", {"GET": health.server_metadata}, "Name, version and extensions"),
        RouteEntry("/v2/health/live", "live", {"GET": health.live}, "Whether the server is up"),
        RouteEntry("/v2/health/ready", "ready", {"GET": health.ready}, "Whether the server as a whole is ready"),
        RouteEntry("/v2/models", "list_models", {"GET": models.list_models}, "Names of the models that serve"),
        RouteEntry("/v2/models/stats", "statistics", stats, "What all models have done"),
        *_of_model("", "model_metadata", {"GET": models.model_metadata}, "What a model takes and gives"),
        *_of_model("ready", "model_ready", {"GET": models.model_ready}, "Whether a model serves"),
        *_of_model("config", "model_config", {"GET": models.model_config}, "A model's configuration"),
        *_of_model("stats", "statistics", stats, "What a model has done"),
        *_of_model(
            "generate",
            "generate",
            {"POST": generation.generate},
            "Run a model: inputs and outputs by name",
            is_compressed=True,
        ),
        *_of_model(
            "generate_stream",
            "generate",
            {"POST": generation.generate_stream},
            "The same, a sequence's steps as server-sent events",
        ),
        *_of_model("trace/setting", "trace_settings", {"GET": trace, "POST": trace}, "What is traced of a model"),
        RouteEntry("/v2/repository/index", "repository", {"POST": repository.index}, "Versions, and why not ready"),
        RouteEntry(
            "/v2/repository/{repository}/index", "repository", {"POST": repository.index}, "Versions of a repository"
        ),
        RouteEntry("/v2/repository/models/{model}/load", "control", {"POST": repository.load}, "Load a model"),
        RouteEntry("/v2/repository/models/{model}/unload", "control", {"POST": repository.unload}, "Unload a model"),
        RouteEntry("/v2/logging", "logging", {"GET": log, "POST": log}, "What the server logs"),
        RouteEntry("/v2/trace/setting", "trace_settings", {"GET": trace, "POST": trace}, "What the server traces"),
        *_of_memory("System"),
        *_of_memory("Cuda"),
    ]
