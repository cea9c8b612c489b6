"""The parts of the reference about errors: their statuses, what each means, and what to do."""

import re
from collections.abc import Iterator
from types import MappingProxyType

import grpc

from reference_text import cell, first_paragraph, table
from rnnserve.client import errors as client_errors
from rnnserve.server import errors
from rnnserve.web.errors import error_of_status

REMEDIES = MappingProxyType(
    {
        "InvalidRequest": "Correct what the message names.",
        "NotFound": "Use a name that `RepositoryIndex` lists.",
        "NotReady": "Try again later. `RepositoryIndex` has the reason.",
        "LoadFailed": "Correct the model's folder. `rnnserve verify` finds the fault.",
        "WrongOutputSize": "Publish the model again. `rnnserve verify` names the wrong sizes.",
        "ShuttingDown": "Use another server, or this one's successor.",
        "TimeoutExpired": "Slow down, or send a longer `timeout`.",
        "QueueFull": "Slow down, or raise `--max-queue`.",
        "TooManyCalls": "Keep fewer calls of that method in flight.",
        "WaitTooLong": "Slow down, raise `--max-wait`, or add workers.",
        "TooMuchHeld": "Read responses faster, send smaller requests, or raise `--max-message-bytes`.",
        "NoMemory": "Give the process more memory, or send smaller requests.",
        "TooManyStreams": "Close streams, or share one among sequences.",
        "TooManySequences": "End sequences (`sequence_end`), or raise `--max-sequences`.",
        "SequenceInUse": "Close the other stream, or choose another id.",
        "DeadlinePassed": "Slow down, or set a longer deadline.",
        "Cancelled": "Nothing: the caller no longer waits.",
        "Unsupported": "See [Protocols](protocols.md).",
        "SessionEnded": "Begin a new session.",
        "Unauthenticated": "Send a [token](../operate/secure.md) that is valid.",
        "UnknownCertificate": "Use a certificate with a role.",
        "PermissionDenied": "Use a token with that role, for that model.",
        "InternalError": "Find the id in the server's log, and report the traceback.",
    }
)
"""What to do about an error, by its class."""


def statuses() -> Iterator[str]:
    """Yield a table of the gRPC statuses, with the HTTP status and the client's exception of each."""
    rows = []
    for code in dict.fromkeys(grpc.StatusCode[kind.status] for kind in _kinds()):
        raised = next((one for one in _client_errors() if code is one.STATUS), client_errors.ClientError)
        rows.append((code.name, str(error_of_status(code, "x").status), f"`{raised.__name__}`"))
    yield from table(("gRPC", "HTTP", "`rnnserve.client` raises"), rows)


def errors_of_server() -> Iterator[str]:
    """Yield a table of the server's errors."""
    missing = {kind.__name__ for kind in _kinds()} ^ set(REMEDIES)
    if missing:
        raise SystemExit(
            f"docs/tools/errors_reference.py: each error needs one remedy; these differ: {', '.join(sorted(missing))}"
        )
    rows = [
        (f"`{_reason(kind)}`", kind.status, cell(first_paragraph(kind)), REMEDIES[kind.__name__]) for kind in _kinds()
    ]
    yield from table(("reason", "gRPC", "meaning", "what to do"), rows)


def _kinds() -> list[type[errors.ServeError]]:
    """The errors that a caller can get."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ServeError)]
    return [kind for kind in kinds if kind is not errors.ServeError]


def _client_errors() -> list[type[client_errors.ClientError]]:
    kinds = [kind for kind in vars(client_errors).values() if isinstance(kind, type)]
    return [kind for kind in kinds if issubclass(kind, client_errors.ClientError)]


def _reason(kind: type[errors.ServeError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
