"""The protocol features that the clients try."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature that a client requests from the server.

    Attributes:
        name: The feature's name in programs.
        title: Description for the table.
        refused: The status with which the server must refuse it (gRPC name or HTTP number), or "by the client" if the
        client itself must refuse it. Empty if it must work.
    """

    name: str
    title: str
    refused: str = ""


FEATURES = (
    Feature("live", "`ServerLive`"),
    Feature("ready", "`ServerReady` and `ModelReady`, also of an unknown model"),
    Feature("server-metadata", "`ServerMetadata`"),
    Feature("model-metadata", "`ModelMetadata`"),
    Feature("model-config", "`ModelConfig`"),
    Feature("infer-raw", "`ModelInfer` with raw contents"),
    Feature("infer-typed", "`ModelInfer` with typed contents"),
    Feature("infer-integers", "a GRU of tokens (INT64)"),
    Feature("infer-async", "many requests in flight"),
    Feature("outputs", "a choice of outputs"),
    Feature("id", "the request's id in the response"),
    Feature("batch", "batches of 1 to 64 rows"),
    Feature("batch-option", "a batch axis that the client adds (`-b`)", refused="by the client"),
    Feature("lengths", "padded rows with `lengths`"),
    Feature("classification", "`classification`, with labels"),
    Feature("timeout", "`timeout`: enough, and too short"),
    Feature("priority", "`priority`"),
    Feature("parameters", "other parameters"),
    Feature("headers", "other metadata"),
    Feature("error", "errors: status and message"),
    Feature("error-details", "`google.rpc.BadRequest` in errors"),
    Feature("deadline", "deadlines"),
    Feature("cancellation", "cancellation"),
    Feature("compression", "compressed requests (gzip)"),
    Feature("deflate", "compressed requests (deflate)"),
    Feature("tls", "TLS"),
    Feature("keepalive", "keepalive pings"),
    Feature("stream", "`ModelStreamInfer`"),
    Feature("stream-final", "`triton_final_response` in each response of a stream"),
    Feature("stream-error", "a stream goes on after an error"),
    Feature("stream-end", "`triton_grpc_error` ends a stream with a status"),
    Feature("sequence-stream", "sequences on a stream"),
    Feature("sequence-unary", "sequences of unary calls"),
    Feature("statistics", "`ModelStatistics`"),
    Feature("index", "`RepositoryIndex`"),
    Feature("load", "`RepositoryModelLoad`, `Unload` (`--model-control explicit`)"),
    Feature("load-closed", "load and unload without `--model-control explicit`", refused="UNAVAILABLE"),
    Feature("load-config", "load with a config of the request", refused="UNIMPLEMENTED"),
    Feature("memory-status", "shared memory status"),
    Feature("memory-register", "registering shared memory", refused="UNIMPLEMENTED"),
    Feature("trace-settings", "reading `TraceSetting`"),
    Feature("trace-change", "changing `TraceSetting`", refused="UNIMPLEMENTED"),
    Feature("log-settings", "reading `LogSettings`"),
    Feature("log-change", "changing `LogSettings`", refused="UNIMPLEMENTED"),
    Feature("health-check", "`grpc.health.v1` `Check`"),
    Feature("health-watch", "`grpc.health.v1` `Watch`"),
    Feature("health-list", "`grpc.health.v1` `List`"),
    Feature("reflection", "server reflection"),
)
"""What clients of gRPC are tried with, in the order of the table's rows."""

HTTP_FEATURES = (
    Feature("live", "`GET /v2/health/live`"),
    Feature("ready", "readiness of the server and of models"),
    Feature("server-metadata", "`GET /v2`"),
    Feature("models", "`GET /v2/models`"),
    Feature("model-metadata", "a model's metadata"),
    Feature("model-config", "a model's config"),
    Feature("infer-json", "inference with JSON"),
    Feature("infer-binary", "binary tensors both ways"),
    Feature("infer-integers", "a GRU of tokens (INT64)"),
    Feature("infer-async", "many requests in flight"),
    Feature("outputs", "a choice of outputs"),
    Feature("id", "the request's id in the response"),
    Feature("batch", "batches of 1 to 64 rows, padded, with `lengths`"),
    Feature("classification", "`classification`, with labels"),
    Feature("timeout", "`timeout`: enough, and too short"),
    Feature("priority", "`priority`"),
    Feature("parameters", "other parameters"),
    Feature("headers", "`X-Request-Id` in the response"),
    Feature("error", "errors: status and message"),
    Feature("compressed-requests", "compressed requests (gzip, deflate)"),
    Feature("tls", "TLS"),
    Feature("sequence", "sequences on one connection"),
    Feature("sequence-key", "sequences with `sequence_key`, a connection for each step"),
    Feature("carried", "states that the client carries, a connection for each step"),
    Feature("statistics", "statistics"),
    Feature("index", "repository index"),
    Feature("load", "load and unload (`--model-control explicit`)"),
    Feature("load-closed", "load and unload without `--model-control explicit`", refused="503"),
    Feature("load-config", "load with a config of the request", refused="501"),
    Feature("metrics", "`GET /metrics`"),
)
"""The same for HTTP."""
