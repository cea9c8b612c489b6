"""The errors of the server, and the gRPC status of each.

::

    ServeError
    ├── InvalidRequest      INVALID_ARGUMENT     the request is invalid, so retries would fail as well
    ├── NotFound            NOT_FOUND            the repository doesn't have this model or version
    ├── NotReady            UNAVAILABLE          the model exists but is not served (yet)
    ├── LoadFailed          FAILED_PRECONDITION  the model could not be loaded: correct its folder first
    ├── WrongOutputSize     FAILED_PRECONDITION  an output's size contradicts the manifest: publish the model again
    ├── ShuttingDown        UNAVAILABLE          this server is stopping: retry on another server
    ├── TimeoutExpired      UNAVAILABLE          the request waited longer than its parameter `timeout`, as in Triton
    ├── QueueFull           RESOURCE_EXHAUSTED   too many requests are pending: slow down
    ├── TooManyCalls        RESOURCE_EXHAUSTED   too many calls of the method are in flight: slow down
    ├── WaitTooLong         RESOURCE_EXHAUSTED   pending requests take longer than the maximum wait: slow down
    ├── TooMuchHeld         RESOURCE_EXHAUSTED   too many bytes are in flight: slow down, and read responses
    ├── NoMemory            RESOURCE_EXHAUSTED   the system has no memory for the request or its response
    ├── TooManyStreams      RESOURCE_EXHAUSTED   too many streams are open
    ├── TooManySequences    RESOURCE_EXHAUSTED   too many sequences, or bytes of their states, are stored
    ├── SequenceInUse       ABORTED              the sequence belongs to another open stream
    ├── DeadlinePassed      DEADLINE_EXCEEDED    the caller has stopped waiting
    ├── Cancelled           CANCELLED            the caller cancelled, or its connection broke
    ├── Unsupported         UNIMPLEMENTED        this server doesn't support this part of the protocol
    ├── SessionEnded        FAILED_PRECONDITION  the session can no longer be continued: start a new one
    ├── Unauthenticated     UNAUTHENTICATED      the call has no valid token
    │   └── UnknownCertificate  UNAUTHENTICATED  the client's certificate is missing or has no role
    ├── PermissionDenied    PERMISSION_DENIED    the token doesn't permit this
    └── InternalError       INTERNAL             a defect of the server; the log has the details under the message's id

    StartError                                   the server cannot start as configured (never sent to a client)

Each transport converts a `ServeError` to its status in one place. Callers get only the status and the message.
"""

import logging
import re
import secrets
from collections.abc import Iterable
from typing import ClassVar, Self

__all__ = [
    "Cancelled",
    "DeadlinePassed",
    "InternalError",
    "InvalidRequest",
    "LoadFailed",
    "NoMemory",
    "NotFound",
    "NotReady",
    "PermissionDenied",
    "QueueFull",
    "SequenceInUse",
    "ServeError",
    "SessionEnded",
    "ShuttingDown",
    "StartError",
    "TimeoutExpired",
    "TooManyCalls",
    "TooManySequences",
    "TooManyStreams",
    "TooMuchHeld",
    "Unauthenticated",
    "UnknownCertificate",
    "Unsupported",
    "WaitTooLong",
    "WrongOutputSize",
    "is_of_memory",
    "one_line",
    "quoted",
]

_log = logging.getLogger(__name__)

_MAX_FOREIGN = 300
"""Maximum characters of another library's message that are passed on."""

_MAX_QUOTED = 100
"""Characters of a caller's text, such as a name, that a message repeats. Beyond it: the rest is cut."""

_MAX_MESSAGE = 4096
"""Bytes of an error message as encoded for HTTP/2. gRPC allows at most 8 kB of metadata. Beyond it: the rest is cut."""

_OF_MEMORY = re.compile("bad_alloc|failed to allocate|out of memory|cannot (allocate|map)|failed to map", re.IGNORECASE)

_PATH = re.compile(
    r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][\w.+@-]+){2,}(?::\d+)?:?|[\w./\\-]+\.(?:cc|cpp|cu|h|hpp|py):\d+:?"
)
"""Paths on the machine that runs or built a library, and locations in its source."""


class ServeError(Exception):
    """Base class of the errors sent to callers."""

    status: ClassVar[str] = "INTERNAL"  # name of a `grpc.StatusCode`: packages below the transport don't import grpc
    field: str  # the invalid field of the request, such as "inputs[0].shape" (empty if there are several)
    counts: "memoryview[float] | None" = None  # of the requested version, if known
    is_after_run = False  # whether the request was run and counted as answered before the error
    rows = 0  # of the request (0 if unknown)
    arrived = 0.0  # arrival in seconds on `clock` (0 if unknown)
    run_seconds = 0.0  # seconds of inference (0 without inference)
    request_id = ""  # id sent to the client, if already reported

    def __init_subclass__(cls, status: str = "") -> None:
        cls.status = status or cls.status

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def of(self, counts: "memoryview[float] | None", *, is_after_run: bool = False) -> Self:
        """Record the counts for this error, if it has none yet."""
        if self.counts is None:
            self.counts = counts
        self.is_after_run |= is_after_run
        return self

    def of_request(self, rows: int, arrived: float) -> Self:
        """Record the request. One error may be sent for several requests, one after another."""
        self.rows = rows
        self.arrived = arrived
        return self

    def __str__(self) -> str:
        """Return the message for the caller, cut to a bounded size."""
        return _cut(super().__str__())


class InvalidRequest(ServeError, status="INVALID_ARGUMENT"):
    """The request itself is invalid: its tensors, names or bytes."""


class NotFound(ServeError, status="NOT_FOUND"):
    """The repository doesn't have this model or version."""


class NotReady(ServeError, status="UNAVAILABLE"):
    """The model is known but not served: it is loading, or its verification failed."""


class LoadFailed(ServeError, status="FAILED_PRECONDITION"):
    """A model could not be loaded, or not by every worker. The server keeps serving its previous models."""


class WrongOutputSize(ServeError, status="FAILED_PRECONDITION"):
    """An output's size differs from the size derived by the manifest. The server doesn't cut or pad it to fit."""


class ShuttingDown(ServeError, status="UNAVAILABLE"):
    """The server has stopped accepting requests."""


class TimeoutExpired(ServeError, status="UNAVAILABLE"):
    """The request waited longer than its parameter `timeout` allows."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            "Request timeout expired: the request waited longer than its parameter timeout, "
            f"{1e6 * seconds:.0f} microseconds"
        )


class QueueFull(ServeError, status="RESOURCE_EXHAUSTED"):
    """The queue of the model is full."""

    def __init__(self, model: str, capacity: int, *, is_of_connection: bool = False) -> None:
        whose, limit = (" of this connection", "a quarter of --max-queue") if is_of_connection else ("", "--max-queue")
        super().__init__(f"{model}: {capacity} requests{whose} are already pending ({limit}); slow down")


class TooManyCalls(ServeError, status="RESOURCE_EXHAUSTED"):
    """The maximum number of calls of some methods is in flight."""

    def __init__(self, methods: str, capacity: int) -> None:
        super().__init__(f"{capacity:,} calls of {methods} are already in flight; slow down")


class WaitTooLong(ServeError, status="RESOURCE_EXHAUSTED"):
    """The pending requests of the model take longer than a request may wait."""

    @classmethod
    def beyond_limit(cls, model: str, seconds: float, limit: float) -> Self:
        """Return the error for a queue that exceeds the limit, with both times in seconds."""
        return cls(
            f"{model}: pending requests take {seconds:.1f} s, but a request may wait only {limit:g} s "
            "(--max-wait); slow down"
        )

    @classmethod
    def beyond_deadline(cls, model: str, seconds: float, remaining: float) -> Self:
        """Return the error for a queue that takes longer than the `remaining` seconds."""
        return cls(
            f"{model}: pending requests take {seconds:.3f} s, but the request's deadline is in "
            f"{max(remaining, 0):.3f} s; slow down"
        )


class TooMuchHeld(ServeError, status="RESOURCE_EXHAUSTED"):
    """The maximum number of bytes of requests and responses is in flight."""

    @classmethod
    def by_connection(cls, held: int, limit: int) -> Self:
        """Return the error for a connection's limit: bytes in flight, and the limit."""
        return cls(
            f"requests and unread responses of this connection take {held:,} bytes of the {limit:,} allowed "
            "(half of the limit set by --max-message-bytes); read the responses, and slow down"
        )

    @classmethod
    def by_all(cls, held: int, limit: int) -> Self:
        """Return the error for the server's limit: bytes in flight, and the limit."""
        return cls(
            f"requests and unread responses take {held:,} bytes of this server's {limit:,} (--max-message-bytes "
            "sets this limit); slow down"
        )


class NoMemory(ServeError, status="RESOURCE_EXHAUSTED"):
    """The system has no memory or address space left for a request or its response."""


class TooManyStreams(ServeError, status="RESOURCE_EXHAUSTED"):
    """The maximum number of streams is open."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit:,} streams are already open, or half of them on this connection; close some first")


class TooManySequences(ServeError, status="RESOURCE_EXHAUSTED"):
    """The server already stores the maximum number of sequences, or of bytes of their states."""


class SequenceInUse(ServeError, status="ABORTED"):
    """The sequence belongs to another open stream."""


class DeadlinePassed(ServeError, status="DEADLINE_EXCEEDED"):
    """The request's deadline passed before it was run."""


class Cancelled(ServeError, status="CANCELLED"):
    """The caller cancelled, or its connection broke, before the request was run."""


class Unsupported(ServeError, status="UNIMPLEMENTED"):
    """The request needs a part of the protocol that this server doesn't support."""


class SessionEnded(ServeError, status="FAILED_PRECONDITION"):
    """The session can no longer be continued: it is too old, or its version isn't served any longer."""


class Unauthenticated(ServeError, status="UNAUTHENTICATED"):
    """The token is missing, unknown, malformed, revoked, or expired. The message doesn't reveal which."""

    words = "a valid token is required; send it in the metadata as authorization: Bearer TOKEN"

    def __init__(self) -> None:
        super().__init__(self.words)


class UnknownCertificate(Unauthenticated):
    """The client's certificate is missing, or has no valid row in the file of client roles."""

    words = "a client certificate to which this server assigns a role is required"


class PermissionDenied(ServeError, status="PERMISSION_DENIED"):
    """The caller's role or models don't include the request."""

    @classmethod
    def of_role(cls, roles: Iterable[str]) -> Self:
        """Return the error that names the required roles. It reveals nothing about models."""
        needed = " or ".join(roles)
        return cls(f"this call requires another role: {needed}" if needed else "no role permits this call")

    @classmethod
    def of_model(cls) -> Self:
        """Return the error for a model, without its name: whether the model exists isn't revealed."""
        return cls("not that model: the token or certificate is for another model")


class InternalError(ServeError, status="INTERNAL"):
    """A defect of the server. The caller gets an id, and the log has the exception under the same id."""

    @classmethod
    def hiding(cls, cause: BaseException) -> ServeError:
        """Log `cause` with its traceback, and return an error with only an id, or `NoMemory` if memory ran out."""
        error_id = secrets.token_hex(4)
        if is_of_memory(cause):
            _log.error("not enough memory for a request (%s): %s", error_id, one_line(str(cause)))
            return NoMemory(
                f"out of memory for this request or its response (error {error_id}); send a smaller request, or retry "
                "later"
            )
        _log.error("internal error %s", error_id, exc_info=cause)
        return cls(f"internal error {error_id}: the server's log has the details")


class StartError(Exception):
    """The server cannot start as configured: no models, a missing provider, or a port in use, for example."""


def is_of_memory(error: BaseException) -> bool:
    """Return whether Python, numpy, onnxruntime or the library loader raised an error because memory ran out."""
    return isinstance(error, MemoryError) or _OF_MEMORY.search(str(error)) is not None


def one_line(message: str, most: int = _MAX_FOREIGN) -> str:
    """Shorten another library's message for a caller or status: one line of at most `most` characters, no paths."""
    line = " ".join(_PATH.sub("", message).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def quoted(text: str) -> str:
    """Quote a caller's text for a message. Long text is cut."""
    if len(text) <= _MAX_QUOTED:
        return f'"{text}"'
    return f'"{text[:_MAX_QUOTED]}…" ({len(text):,} characters)'


def _cut(message: str) -> str:
    """Cut a message to the maximum size. gRPC encodes bytes outside plain ASCII as three bytes, such as %C3."""
    if len(message) <= _MAX_MESSAGE // 12:  # a character has at most four bytes
        return message
    size = kept = 0
    for at, character in enumerate(message):
        if size <= _MAX_MESSAGE - 9:  # leaves room for the ellipsis
            kept = at
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if size > _MAX_MESSAGE:
            return message[:kept] + "…"
    return message
