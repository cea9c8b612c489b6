"""Names of metadata and parameters that clients and servers exchange in addition to the messages' fields."""

__all__ = [
    "ALONE",
    "AUTHORIZATION",
    "BATCH",
    "BINARY_DATA",
    "BINARY_DATA_OUTPUT",
    "BINARY_DATA_SIZE",
    "CERTIFICATE",
    "CLASSIFICATION",
    "EMPTY_FINAL_RESPONSE",
    "ERRORS_AS_STATUSES",
    "FINAL_RESPONSE",
    "FRONT_EXCHANGE",
    "JOINED",
    "PADDED",
    "PEER",
    "PRIORITY",
    "REQUEST_ID",
    "RESERVED_PREFIX",
    "ROUTE",
    "ROUTE_MODEL",
    "SEALED_SESSIONS",
    "SEQUENCE_END",
    "SEQUENCE_HEADER",
    "SEQUENCE_ID",
    "SEQUENCE_KEY",
    "SEQUENCE_START",
    "SESSION",
    "SESSION_BEGIN",
    "SESSION_STEPS",
    "SHARED_MEMORY",
    "STATUS",
    "STATUS_DETAILS",
    "TIMEOUT",
    "TOKENS",
]

AUTHORIZATION = "authorization"
"""Metadata, and header of HTTP, with a client's token: "Bearer rnn_…"."""

BATCH = "batch"
"""Name of the axis that holds the rows of a request."""

CERTIFICATE = "rnnserve-certificate"
"""Metadata with a client's certificate, in DER and base64, in calls that the HTTP gateway makes for the client. A
server trusts it only on its private socket."""

PADDED, JOINED, ALONE = "padded", "joined", "alone"
"""Which rows may share a request: of any lengths; of equal sizes; none."""

FRONT_EXCHANGE = "/rnnserve.Front/Exchange"
"""Method by which the HTTP gateway sends many requests in one message (front.proto), on a server's private socket."""

PEER = "rnnserve-peer"
"""Metadata with a client's address, as gRPC names it, in calls that the HTTP gateway makes for the client. A server
trusts it only on its private socket."""

REQUEST_ID = "x-request-id"
"""Metadata, and HTTP header, with a request's name in logs. It is the client's name, which a refusal's trailing
metadata repeat, or else the server's."""

ROUTE, ROUTE_MODEL = "rnnserve-route", "rnnserve-model"
"""Metadata of ServerMetadata, by which the HTTP gateway asks whether a client may use a route and a model, before it
reads the client's request (access_table)."""

SEQUENCE_HEADER = "rnnserve-sequence"
"""Metadata with the id of a server-side sequence, by which a proxy sends its requests to one server. Servers use only
the request's parameters."""

SEALED_SESSIONS = "sealed_sessions"
"""Extension in the metadata of a server that supports sealed sessions."""

TOKENS = "tokens"
"""Extension in the metadata of a server that requires tokens, or certificates with roles."""

SESSION = "session"
"""Parameter of a request and its response: the encrypted state token of a session (`--session-key`), as text. It is
"sealed" in the first request."""

SESSION_STEPS = "session_steps"
"""Parameter of a response: steps of the session so far."""

TIMEOUT = "timeout"
"""Parameter of a request: microseconds it may wait for its run, or 0 for no limit. A request that waits longer fails
with UNAVAILABLE. A request that can't run in time fails at once with RESOURCE_EXHAUSTED. The earlier of this limit and
the call's deadline counts."""

PRIORITY = "priority"
"""Parameter of a request: a number of 0 or more, without effect. All requests of a model have one priority, as in
Triton for a model without `priority_levels`."""

SEQUENCE_ID = "sequence_id"
"""Parameter of a request: the id of its sequence, whose states the server keeps. A number other than 0, or text."""

SEQUENCE_START = "sequence_start"
"""Parameter of a request: true if it is the first of its sequence."""

SEQUENCE_END = "sequence_end"
"""Parameter of a request: true if it is the last of its sequence. Then the server drops the states."""

SEQUENCE_KEY = "sequence_key"
"""Parameter of a request, specific to this server: random text from the client, with which any connection can continue
the sequence."""

EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
"""Parameter of a request: true or false, without effect. Each request has one response, which is not empty."""

RESERVED_PREFIX = "triton_"
"""Reserved beginning of a request parameter's name. Unknown parameters with it are INVALID_ARGUMENT."""

CLASSIFICATION = "classification"
"""Parameter of a requested output: the number of classes, 1 or more, to return instead, each as "value:index:label"."""

SHARED_MEMORY = "shared_memory_region"
"""Parameter of a tensor: UNIMPLEMENTED, as shared memory is."""

FINAL_RESPONSE = "triton_final_response"
"""Parameter of a response on a stream: true, because each request has one response."""

STATUS = "status"
"""Parameter of a response on a stream: the name of the gRPC status if the request was refused."""

BINARY_DATA_SIZE = "binary_data_size"
"""Parameter of an input, over HTTP: the number of bytes after the JSON with its elements."""

BINARY_DATA = "binary_data"
"""Parameter of a requested output, over HTTP: true to return its elements as bytes after the JSON."""

BINARY_DATA_OUTPUT = "binary_data_output"
"""Parameter of a request without named outputs, over HTTP: true to return all outputs as bytes."""

ERRORS_AS_STATUSES = "triton_grpc_error"
"""Metadata of a stream: "true" to end it at the first error, with the error's status, as in Triton."""

STATUS_DETAILS = "grpc-status-details-bin"
"""Trailing metadata of a refused call: a google.rpc.Status with details in addition to the message."""

SESSION_BEGIN = "sealed"
"""The parameter `SESSION` of a session's first request, which has no token yet."""
