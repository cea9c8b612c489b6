"""The page of the errors: what a server tells a caller, what to do about it, and what clients raise."""

import inspect
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import grpc

from reference_text import cell
from rnnserve.client import errors as client_errors
from rnnserve.server import errors
from rnnserve.web.errors import error_of_status

REMEDIES = MappingProxyType(
    {
        "InvalidRequest": "Correct the request: the message names the input, the axis or the parameter.",
        "NotFound": "Ask for a name that `rnnserve inspect` or the repository index lists.",
        "NotReady": "Wait, and ask again: `ModelReady` says when. Where its proof failed, the log says why.",
        "LoadFailed": "Correct the model's folder; `rnnserve verify` says what is wrong. What served, serves on.",
        "WrongOutputSize": "Publish the model again; `rnnserve verify` names the sizes that are wrong.",
        "ShuttingDown": "Ask another server, or this one's successor: clients that balance do so themselves.",
        "TimeoutExpired": "Slow down, or give a longer `timeout`.",
        "QueueFull": "Slow down; or raise `--max-queue`, if waiting longer is better than an error.",
        "TooManyCalls": "Slow down: keep fewer calls of that method in flight.",
        "WaitTooLong": "Slow down; or raise `--max-wait` or the deadline; or serve with more workers or machines.",
        "TooMuchHeld": "Read answers faster, send smaller requests, or raise `--max-message-bytes`.",
        "NoMemory": "Give the process more memory, or send smaller requests.",
        "TooManyStreams": "Close streams, or share one among sequences.",
        "TooManySequences": "End sequences (`sequence_end`), or raise `--max-sequences`.",
        "SequenceInUse": "Close the stream that the sequence is on, or choose another id.",
        "DeadlinePassed": "Give a longer deadline, or slow down: the request waited in vain, and was not run.",
        "Cancelled": "Nothing: the caller did not want the answer any more.",
        "Unsupported": "Leave that part of the protocol out; [protocol.md](protocol.md) says what there is.",
        "SessionEnded": "Begin a new session, and send its points from the first.",
        "Unauthenticated": "Send a token that the server has, and that has not expired: [access.md](../access.md).",
        "UnknownCertificate": "Show a certificate that `--client-roles` has a row for: [access.md](../access.md).",
        "PermissionDenied": "Use a token with that role, and for that model.",
        "InternalError": "Look for the id in the server's log, and report the traceback that is there.",
    }
)
"""What to do about an error, by its class."""


def errors_of_server() -> Iterator[str]:
    """The page of the errors, line by line."""
    kinds = [kind for kind in vars(errors).values() if _is_told(kind)]
    missing = {kind.__name__ for kind in kinds} ^ set(REMEDIES)
    if missing:
        raise SystemExit(f"docs/tools/errors_reference.py: remedies and errors differ by {', '.join(sorted(missing))}")
    yield "# Errors\n"
    yield (
        "What a server tells a caller, and what to do about it. The reason is the label of `rnnserve_refusals_total` "
        "([metrics.md](metrics.md)) and stands in the line of the log; the exception is what our client raises "
        "(`rnnserve.client`).\n"
    )
    yield "| error | reason | gRPC | HTTP | exception | what it means | what to do |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for kind in kinds:
        code = grpc.StatusCode[kind.status]
        raised = next((one for one in _client_errors() if code is one.STATUS), client_errors.ClientError)
        yield (
            f"| {kind.__name__} | `{_reason(kind)}` | {kind.status} | {error_of_status(code, 'x').status} "
            f"| `{raised.__name__}` | {cell(_first_paragraph(kind))} | {REMEDIES[kind.__name__]} |"
        )
    yield "\n## What a client raises by itself\n\n| exception | what it means |\n| --- | --- |"
    for one in _client_errors():
        if one.STATUS is grpc.StatusCode.UNKNOWN:
            yield f"| `{one.__name__}` | {cell(_first_paragraph(one))} |"


def _is_told(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.ServeError) and kind is not errors.ServeError


def _client_errors() -> list[type[client_errors.ClientError]]:
    return [
        kind
        for kind in vars(client_errors).values()
        if isinstance(kind, type) and issubclass(kind, client_errors.ClientError)
    ]


def _reason(kind: type[errors.ServeError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _first_paragraph(what: Any) -> str:  # noqa: ANN401
    return " ".join(inspect.cleandoc(what.__doc__).split("\n\n")[0].split())
