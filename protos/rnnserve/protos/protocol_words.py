"""Words that clients and servers exchange beside the protocol's messages: in metadata, and as names of parameters."""

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
"""Metadata with the certificate that a client has shown to an HTTP front, in DER and base64, of a call that the front
makes for it. A server believes it from its private socket alone."""

PADDED, JOINED, ALONE = "padded", "joined", "alone"
"""Which rows may share a request: of any lengths; of equal sizes; none."""

FRONT_EXCHANGE = "/rnnserve.Front/Exchange"
"""Method on which an HTTP front sends many requests in one message (front.proto), on a server's private socket."""

PEER = "rnnserve-peer"
"""Metadata with a client's address, as gRPC names it, of a call that an HTTP front makes for it. A server believes it
from its private socket alone."""

REQUEST_ID = "x-request-id"
"""Metadata, and header of HTTP, with a request's name in logs: a client's own, which a refusal's trailing metadata
repeat, or else the server's."""

ROUTE, ROUTE_MODEL = "rnnserve-route", "rnnserve-model"
"""Metadata of a call of ServerMetadata by which an HTTP front asks whether its client may ask for a route, and for a
model there: before it reads what the client sends (access_table)."""

SEQUENCE_HEADER = "rnnserve-sequence"
"""Metadata with the id of a sequence that a server keeps, by which a proxy sends its requests to one server. Servers go
by the request's parameters alone."""

SEALED_SESSIONS = "sealed_sessions"
"""Extension that a server's metadata name where it seals the states of sessions."""

TOKENS = "tokens"
"""Extension that a server's metadata name where it asks for tokens, or for certificates that it has roles for."""

SESSION = "session"
"""Parameter of a request and its response: a session whose states the client keeps, sealed by the server
(`--session-key`): text, its token, "sealed" in the first request."""

SESSION_STEPS = "session_steps"
"""Parameter of a response: steps of the session so far."""

TIMEOUT = "timeout"
"""Parameter of a request: microseconds that it may wait for its run; 0 for no limit. One that waits longer is
UNAVAILABLE, and what cannot be run in time is RESOURCE_EXHAUSTED at once. The earlier of this and the deadline of the
call counts."""

PRIORITY = "priority"
"""Parameter of a request: a number of 0 or more, without effect. All requests of a model have one priority, as in
Triton for a model without `priority_levels`."""

SEQUENCE_ID = "sequence_id"
"""Parameter of a request: the sequence that it belongs to, whose states the server keeps: a number other than 0, or
text."""

SEQUENCE_START = "sequence_start"
"""Parameter of a request: true where it is the first of its sequence."""

SEQUENCE_END = "sequence_end"
"""Parameter of a request: true where it is the last of its sequence: the states are dropped after it."""

SEQUENCE_KEY = "sequence_key"
"""Parameter of a request: this server's own, text that the client makes at random, with which any connection continues
the sequence."""

EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
"""Parameter of a request: true or false, without effect. Each request has one response, which is not empty."""

RESERVED_PREFIX = "triton_"
"""Parameter of a request, by the beginning of its name: all others that begin so are INVALID_ARGUMENT."""

CLASSIFICATION = "classification"
"""Parameter of an output that is asked for: the number of classes, 1 or more, that are answered in its place, each as
"value:index:label"."""

SHARED_MEMORY = "shared_memory_region"
"""Parameter of a tensor: UNIMPLEMENTED, as shared memory is."""

FINAL_RESPONSE = "triton_final_response"
"""Parameter of a response on a stream: true, since it is the only one to its request."""

STATUS = "status"
"""Parameter of a response on a stream: the name of the gRPC status, where the request was refused."""

BINARY_DATA_SIZE = "binary_data_size"
"""Parameter of an input, over HTTP: bytes after the JSON that are its elements."""

BINARY_DATA = "binary_data"
"""Parameter of an output that is asked for, over HTTP: true where its elements are to follow the JSON as bytes."""

BINARY_DATA_OUTPUT = "binary_data_output"
"""Parameter of a request, over HTTP: true where all outputs are to, and none is named."""

ERRORS_AS_STATUSES = "triton_grpc_error"
"""Metadata of a stream: "true" where the first error is to end it, with its status, as in Triton."""

STATUS_DETAILS = "grpc-status-details-bin"
"""Trailing metadata of a call that is refused: a google.rpc.Status, with what there is to tell beside the message."""

SESSION_BEGIN = "sealed"
"""What the parameter `SESSION` is in the first request of a session, which has no token yet."""
