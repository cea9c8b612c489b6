"""What can go wrong while serving, and the gRPC status of each.

::

    ServeError
    ├── InvalidRequest      INVALID_ARGUMENT     the request would fail however often it is sent
    ├── NotFound            NOT_FOUND            the repository has no model or version of that name
    ├── NotReady            UNAVAILABLE          the repository has it, but it does not serve (now)
    ├── LoadFailed          FAILED_PRECONDITION  the model could not be loaded as its folder is now: correct that first
    ├── WrongOutputSize     FAILED_PRECONDITION  an output has another size than its manifest says: publish it again
    ├── ShuttingDown        UNAVAILABLE          this server is stopping; another may answer
    ├── TimeoutExpired      UNAVAILABLE          the request waited longer than its parameter `timeout`, as in Triton
    ├── QueueFull           RESOURCE_EXHAUSTED   as many requests wait as may: slow down
    ├── TooManyCalls        RESOURCE_EXHAUSTED   as many calls of the method are in hand as may: slow down
    ├── WaitTooLong         RESOURCE_EXHAUSTED   what waits takes longer than a request may wait: slow down
    ├── TooMuchHeld         RESOURCE_EXHAUSTED   as many bytes are in hand as may be: slow down, and read responses
    ├── NoMemory            RESOURCE_EXHAUSTED   the system gives no memory for the request or its answer
    ├── TooManyStreams      RESOURCE_EXHAUSTED   as many streams are open as may be
    ├── TooManySequences    RESOURCE_EXHAUSTED   as many sequences, or bytes of their states, are kept as may be
    ├── SequenceInUse       ABORTED              the sequence is on another stream, which is open
    ├── DeadlinePassed      DEADLINE_EXCEEDED    the caller has stopped waiting
    ├── Cancelled           CANCELLED            the caller cancelled, or its connection broke
    ├── Unsupported         UNIMPLEMENTED        the protocol has it, this server does not
    ├── SessionEnded        FAILED_PRECONDITION  the session could be continued, and cannot any more: begin a new one
    ├── Unauthenticated     UNAUTHENTICATED      the call brings no token that is valid
    │   └── UnknownCertificate  UNAUTHENTICATED  its client has shown no certificate that has a role
    ├── PermissionDenied    PERMISSION_DENIED    its token is not for that
    └── InternalError       INTERNAL             a defect of the server; the log has the detail, under the message's id

    StartError                                   the server cannot start as asked; never sent to a client

Each transport turns a `ServeError` into its status in one place. Its message is all that is ever sent to a caller.
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
"""Characters of another library's message that are passed on."""

_MAX_QUOTED = 100
"""Characters of a caller's own text, such as a name, that a message repeats. Beyond it: the rest is cut."""

_MAX_MESSAGE = 4096
"""Bytes of a message of an error, as HTTP/2 carries it. gRPC lets no more than 8 kB of metadata through. Beyond it: the
rest is cut."""

_OF_MEMORY = re.compile(r"bad_alloc|Failed to allocate|out of memory|cannot allocate", re.IGNORECASE)

_PATH = re.compile(
    r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][\w.+@-]+){2,}(?::\d+)?:?|[\w./\\-]+\.(?:cc|cpp|cu|h|hpp|py):\d+:?"
)
"""Paths of the machine that runs or that built a library, and places in its source."""


class ServeError(Exception):
    """Root of the errors that a caller may be told."""

    status: ClassVar[str] = "INTERNAL"  # name of a `grpc.StatusCode`: the rooms below the transport do without grpc
    field: str  # the field of the request that is wrong, such as "inputs[0].shape"; empty if it is no single one
    counts: "memoryview[float] | None" = None  # numbers of the version that it is for, if that is known
    is_after_run = False  # whether the request was run, and counted as answered, before it was refused
    rows = 0  # rows of the request; 0 where they are not known
    arrived = 0.0  # when it arrived, in seconds on the clock of `clock`; 0 where that is not known
    run_seconds = 0.0  # seconds of its run; 0 where there was none
    request_id = ""  # id that its client is told, where it has been told of already; else empty

    def __init_subclass__(cls, status: str = "") -> None:
        cls.status = status or cls.status

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def of(self, counts: "memoryview[float] | None", *, is_after_run: bool = False) -> Self:
        """Note where it is to be counted; what was noted first stays."""
        if self.counts is None:
            self.counts = counts
        self.is_after_run |= is_after_run
        return self

    def of_request(self, rows: int, arrived: float) -> Self:
        """Note of which request it is now: one error may be told to several, one after another."""
        self.rows = rows
        self.arrived = arrived
        return self

    def __str__(self) -> str:
        """The message for the caller, of bounded size."""
        return _cut(super().__str__())


class InvalidRequest(ServeError, status="INVALID_ARGUMENT"):
    """The request itself is wrong: its tensors, names or bytes."""


class NotFound(ServeError, status="NOT_FOUND"):
    """The repository has no such model or version."""


class NotReady(ServeError, status="UNAVAILABLE"):
    """The model is known but does not serve: it is loading, or its proof failed."""


class LoadFailed(ServeError, status="FAILED_PRECONDITION"):
    """A model could not be loaded, or not by every worker. What served before serves on."""


class WrongOutputSize(ServeError, status="FAILED_PRECONDITION"):
    """A run gave an output of another size than the manifest derives. No answer is cut or padded to that size."""


class ShuttingDown(ServeError, status="UNAVAILABLE"):
    """The server has stopped accepting requests."""


class TimeoutExpired(ServeError, status="UNAVAILABLE"):
    """The request waited longer for its run than its parameter `timeout` says."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Request timeout expired: it waited longer than its parameter timeout, {1e6 * seconds:.0f} microseconds"
        )


class QueueFull(ServeError, status="RESOURCE_EXHAUSTED"):
    """As many requests wait for the model as may."""

    def __init__(self, model: str, capacity: int, *, is_of_connection: bool = False) -> None:
        whose, limit = (" of this connection", "a quarter of --max-queue") if is_of_connection else ("", "--max-queue")
        super().__init__(f"{model}: {capacity} requests{whose} wait already ({limit}); slow down")


class TooManyCalls(ServeError, status="RESOURCE_EXHAUSTED"):
    """As many calls of some methods are in hand as may be."""

    def __init__(self, methods: str, capacity: int) -> None:
        super().__init__(f"{capacity:,} calls of {methods} are in hand already; slow down")


class WaitTooLong(ServeError, status="RESOURCE_EXHAUSTED"):
    """The requests that wait for the model take longer than another one may wait."""

    @classmethod
    def beyond_limit(cls, model: str, seconds: float, limit: float) -> Self:
        """Say how many seconds the waiting requests take, and how many a request may wait."""
        return cls(
            f"{model}: what waits takes {seconds:.1f} s, more than the {limit:g} s that a request may wait "
            "(--max-wait); slow down"
        )

    @classmethod
    def beyond_deadline(cls, model: str, seconds: float, remaining: float) -> Self:
        """Say how many seconds the waiting requests take, and how many remain."""
        return cls(
            f"{model}: what waits takes {seconds:.3f} s, and the request's deadline is in {max(remaining, 0):.3f} s; "
            "slow down"
        )


class TooMuchHeld(ServeError, status="RESOURCE_EXHAUSTED"):
    """The bytes of requests and responses in hand are as many as may be."""

    @classmethod
    def by_connection(cls, held: int, limit: int) -> Self:
        """Say how many bytes the connection holds, and may hold."""
        return cls(
            f"requests and unread responses of this connection take {held:,} bytes of the {limit:,} that one may "
            "(half of the limit that --max-message-bytes sets); read the responses, and slow down"
        )

    @classmethod
    def by_all(cls, held: int, limit: int) -> Self:
        """Say how many bytes all connections hold, and may hold."""
        return cls(
            f"requests and unread responses take {held:,} bytes of this server's {limit:,} (--max-message-bytes "
            "sets this limit); slow down"
        )


class NoMemory(ServeError, status="RESOURCE_EXHAUSTED"):
    """The system gives no memory, or address space, for a request or its answer."""


class TooManyStreams(ServeError, status="RESOURCE_EXHAUSTED"):
    """As many streams are open as may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit:,} streams are open already, or half of them of this connection")


class TooManySequences(ServeError, status="RESOURCE_EXHAUSTED"):
    """The server keeps as many sequences, or as many bytes of their states, as it may."""


class SequenceInUse(ServeError, status="ABORTED"):
    """The sequence is on another stream, which is still open."""


class DeadlinePassed(ServeError, status="DEADLINE_EXCEEDED"):
    """The request's deadline passed before it was run."""


class Cancelled(ServeError, status="CANCELLED"):
    """The caller cancelled, or its connection broke, before the request was run."""


class Unsupported(ServeError, status="UNIMPLEMENTED"):
    """The request asks for a part of the protocol that this server does not have."""


class SessionEnded(ServeError, status="FAILED_PRECONDITION"):
    """The session was valid, and cannot be continued any more: it is too old, or its version no longer serves."""


class Unauthenticated(ServeError, status="UNAUTHENTICATED"):
    """There is no token, or it is not known, not of this form, revoked, or expired: which of these is not told."""

    words = "a valid token is needed: send it as authorization: Bearer TOKEN"

    def __init__(self) -> None:
        super().__init__(self.words)


class UnknownCertificate(Unauthenticated):
    """The client has shown no certificate that the file of client roles has a row for, or whose row has ended."""

    words = "a client certificate is needed that this server has a role for"


class PermissionDenied(ServeError, status="PERMISSION_DENIED"):
    """The token's role, or its models, do not include what is asked for."""

    @classmethod
    def of_role(cls, roles: Iterable[str]) -> Self:
        """Name the roles that are needed, which tells nothing of models."""
        needed = " or ".join(roles)
        return cls(f"another role is needed for that: {needed}" if needed else "no role may do that")

    @classmethod
    def of_model(cls) -> Self:
        """Name no model: whether there is one is not told."""
        return cls("not that model: the token or certificate is for another model")


class InternalError(ServeError, status="INTERNAL"):
    """A defect of the server: callers are told an id, and the log has the exception under the same id."""

    @classmethod
    def hiding(cls, cause: BaseException) -> ServeError:
        """Log `cause` with its traceback, and return an error that tells only the id; `NoMemory` where that was it."""
        error_id = secrets.token_hex(4)
        if is_of_memory(cause):
            _log.error("no memory for a request (%s): %s", error_id, one_line(str(cause)))
            return NoMemory(
                f"there is no memory for this request and its answer (error {error_id}); send less at once, or later"
            )
        _log.error("internal error %s", error_id, exc_info=cause)
        return cls(f"internal error {error_id}: the server's log has the details")


class StartError(Exception):
    """The server cannot start as asked: no models, a provider that is missing, a port in use."""


def is_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or onnxruntime has raised an error for want of memory."""
    return isinstance(error, MemoryError) or _OF_MEMORY.search(str(error)) is not None


def one_line(message: str, most: int = _MAX_FOREIGN) -> str:
    """Make another library's message fit for a caller or a status: one line of at most `most` characters, no paths."""
    line = " ".join(_PATH.sub("", message).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def quoted(text: str) -> str:
    """Put a caller's own text into quotation marks, to repeat it in a message: its beginning, if it is long."""
    if len(text) <= _MAX_QUOTED:
        return f'"{text}"'
    return f'"{text[:_MAX_QUOTED]}…" ({len(text):,} characters)'


def _cut(message: str) -> str:
    """The message, or its beginning, as far as it fits. gRPC writes other bytes than plain ASCII as three: %C3."""
    if len(message) <= _MAX_MESSAGE // 12:  # a character is four bytes at most
        return message
    size = kept = 0
    for at, character in enumerate(message):
        if size <= _MAX_MESSAGE - 9:  # as much as the ellipsis takes
            kept = at
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if size > _MAX_MESSAGE:
            return message[:kept] + "…"
    return message
