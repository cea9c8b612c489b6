"""The features of the protocol that clients are tried with."""

import dataclasses

__all__ = ["BY_CLIENT", "FEATURES", "HTTP_FEATURES", "Feature"]

BY_CLIENT = "by the client"
"""Refused by the client itself, for what the server says of a model."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """Something that a client asks of the server.

    Attributes:
        name: What programs call it.
        title: What it is, for the table.
        refused: The status with which the server has to refuse it, gRPC's name or HTTP's number, or `BY_CLIENT`; empty
            where it has to work.
    """

    name: str
    title: str
    refused: str = ""


FEATURES = (
    Feature("live", "`ServerLive`"),
    Feature("ready", "`ServerReady`, `ModelReady`, of an unknown model too"),
    Feature("server-metadata", "`ServerMetadata`"),
    Feature("model-metadata", "`ModelMetadata`: names, datatypes, axes"),
    Feature("model-config", "`ModelConfig`"),
    Feature("infer-raw", "`ModelInfer`, raw contents, the right answers"),
    Feature("infer-typed", "`ModelInfer`, typed contents"),
    Feature("infer-integers", "a GRU of tokens (INT64)"),
    Feature("infer-async", "many requests in flight"),
    Feature("outputs", "a subset of the outputs, in the order asked for"),
    Feature("id", "the request's id in the answer"),
    Feature("batch", "batches of 1 to 64 rows"),
    Feature("batch-option", "a batch axis that the client adds (`-b`)", refused=BY_CLIENT),
    Feature("lengths", "padded rows with `lengths`"),
    Feature("classification", "`classification`, with labels"),
    Feature("timeout", "`timeout`: enough, and too short"),
    Feature("priority", "`priority`"),
    Feature("parameters", "parameters of one's own"),
    Feature("headers", "metadata of one's own"),
    Feature("error", "errors: status and message"),
    Feature("error-details", "errors: `google.rpc.BadRequest` names the field"),
    Feature("deadline", "the call's deadline ends it"),
    Feature("cancellation", "a call is cancelled, the next is answered"),
    Feature("compression", "compressed requests (gzip)"),
    Feature("tls", "TLS"),
    Feature("keepalive", "keepalive pings"),
    Feature("stream", "`ModelStreamInfer`: an answer to each, in order"),
    Feature("stream-final", "stream: `triton_final_response` in each response"),
    Feature("stream-error", "stream: an error, and the stream goes on"),
    Feature("stream-end", "stream: `triton_grpc_error` ends it with a status"),
    Feature("sequence-stream", "sequences on a stream"),
    Feature("sequence-unary", "sequences of unary calls"),
    Feature("statistics", "`ModelStatistics`"),
    Feature("index", "`RepositoryIndex`"),
    Feature("load", "`RepositoryModelLoad`, `Unload` (`--model-control explicit`)"),
    Feature("load-closed", "the same, without `--model-control explicit`", refused="UNAVAILABLE"),
    Feature("load-config", "load with a config of the request", refused="UNIMPLEMENTED"),
    Feature("memory-status", "shared memory: status, unregister"),
    Feature("memory-register", "shared memory: register", refused="UNIMPLEMENTED"),
    Feature("trace-settings", "`TraceSetting`: read"),
    Feature("trace-change", "`TraceSetting`: change", refused="UNIMPLEMENTED"),
    Feature("log-settings", "`LogSettings`: read"),
    Feature("log-change", "`LogSettings`: change", refused="UNIMPLEMENTED"),
    Feature("health-check", "`grpc.health.v1` `Check`"),
    Feature("health-watch", "`grpc.health.v1` `Watch`"),
    Feature("health-list", "`grpc.health.v1` `List`"),
    Feature("reflection", "server reflection: services are listed, a method called"),
)
"""What clients of gRPC are tried with, in the order of the table's rows."""

HTTP_FEATURES = (
    Feature("live", "`GET /v2/health/live`"),
    Feature("ready", "`…/ready`, of the server, a model, an unknown model too"),
    Feature("server-metadata", "`GET /v2`"),
    Feature("models", "`GET /v2/models`"),
    Feature("model-metadata", "a model's metadata: names, datatypes, axes"),
    Feature("model-config", "a model's config"),
    Feature("infer-json", "inference, JSON both ways, the right answers"),
    Feature("infer-binary", "inference, binary tensors both ways"),
    Feature("infer-integers", "a GRU of tokens (INT64)"),
    Feature("walks", "10,000 walks: the bits of gRPC's answers, the right direction"),
    Feature("infer-async", "many requests in flight"),
    Feature("outputs", "a subset of the outputs, in the order asked for"),
    Feature("id", "the request's id in the answer"),
    Feature("batch", "batches of 1 to 64 rows, padded, with `lengths`"),
    Feature("classification", "`classification`, with labels"),
    Feature("timeout", "`timeout`: enough, and too short"),
    Feature("priority", "`priority`"),
    Feature("parameters", "parameters of one's own"),
    Feature("headers", "`X-Request-Id` comes back"),
    Feature("error", "errors: status and message"),
    Feature("compressed-requests", "compressed requests (gzip, deflate)"),
    Feature("tls", "TLS"),
    Feature("sequence", "sequences, on one connection"),
    Feature("sequence-key", "sequences with `sequence_key`, a connection for each step"),
    Feature("carried", "states that the client carries, a connection for each step"),
    Feature("statistics", "statistics"),
    Feature("index", "repository index"),
    Feature("load", "load and unload (`--model-control explicit`)"),
    Feature("load-closed", "the same, without `--model-control explicit`", refused="503"),
    Feature("load-config", "load with a config of the request", refused="501"),
    Feature("metrics", "`GET /metrics`"),
)
"""The same for HTTP."""
