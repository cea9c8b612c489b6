"""Words that clients and servers exchange beside the protocol's messages: in metadata, and as names of parameters."""

__all__ = [
    "ALONE",
    "AUTHORIZATION",
    "BATCH",
    "CERTIFICATE",
    "FRONT_EXCHANGE",
    "JOINED",
    "PADDED",
    "PEER",
    "REQUEST_ID",
    "ROUTE",
    "ROUTE_MODEL",
    "SEALED_SESSIONS",
    "SEQUENCE_HEADER",
    "SESSION",
    "SESSION_BEGIN",
    "SESSION_STEPS",
    "STATUS_DETAILS",
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

SESSION, SESSION_STEPS = "session", "session_steps"
"""Parameters: of requests and responses, the token of a session; of responses, the steps of the session so far."""

STATUS_DETAILS = "grpc-status-details-bin"
"""Trailing metadata of a call that is refused: a google.rpc.Status, with what there is to tell beside the message."""

SESSION_BEGIN = "sealed"
"""Value of the parameter `SESSION` in the first request of a session, which has no token yet."""
