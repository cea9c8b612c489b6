"""What callers are told: a status for each error, an id for a defect, and one line of what another library said."""

import logging
import re

import grpc
import numpy as np
import pytest

from rnnserve.server import errors
from rnnserve.server.errors import InternalError, InvalidRequest, NoMemory, QueueFull, ServeError, one_line, quoted

STATUSES = {
    "InvalidRequest": "INVALID_ARGUMENT",
    "NotFound": "NOT_FOUND",
    "NotReady": "UNAVAILABLE",
    "LoadFailed": "FAILED_PRECONDITION",
    "WrongOutputSize": "FAILED_PRECONDITION",
    "ShuttingDown": "UNAVAILABLE",
    "TimeoutExpired": "UNAVAILABLE",
    "QueueFull": "RESOURCE_EXHAUSTED",
    "TooManyCalls": "RESOURCE_EXHAUSTED",
    "WaitTooLong": "RESOURCE_EXHAUSTED",
    "TooMuchHeld": "RESOURCE_EXHAUSTED",
    "NoMemory": "RESOURCE_EXHAUSTED",
    "TooManyStreams": "RESOURCE_EXHAUSTED",
    "TooManySequences": "RESOURCE_EXHAUSTED",
    "SequenceInUse": "ABORTED",
    "DeadlinePassed": "DEADLINE_EXCEEDED",
    "Cancelled": "CANCELLED",
    "Unsupported": "UNIMPLEMENTED",
    "SessionEnded": "FAILED_PRECONDITION",
    "InternalError": "INTERNAL",
    "Unauthenticated": "UNAUTHENTICATED",
    "PermissionDenied": "PERMISSION_DENIED",
}


def test_each_error_has_its_status():
    assert {error.__name__: error.status for error in ServeError.__subclasses__()} == STATUSES
    for name, status in STATUSES.items():
        assert name in errors.__all__
        assert grpc.StatusCode[status]
        assert re.search(rf"── {name} +{status}  ", errors.__doc__)


def test_a_callers_own_text_is_repeated_in_part():
    assert quoted("a" * 100) == f'"{"a" * 100}"'
    assert quoted("a" * 101) == f'"{"a" * 100}…" (101 characters)'


@pytest.mark.parametrize("character", ["a", "%", "\n", "ä", "😀"])
def test_a_message_fits_into_the_metadata_of_a_call(character):
    """gRPC writes every byte but plain ASCII as three, and lets 8 kB of metadata through."""
    for count in (1, 300, 341, 342, 1365, 1366, 4096, 4097, 10_000):
        told = str(InvalidRequest(character * count))
        written = sum(1 if " " <= c <= "~" and c != "%" else 3 * len(c.encode()) for c in told)
        assert written <= 4096
        whole = count * (1 if character == "a" else 3 * len(character.encode())) <= 4096
        assert told == character * count if whole else told.endswith("…")
        assert whole or written > 4000


def test_a_full_queue_says_how_many_wait():
    assert str(QueueFull("m", 7)) == "m: 7 requests wait already (--max-queue); slow down"


def test_a_defect_is_logged_under_the_id_that_the_caller_is_told(caplog):
    told = str(InternalError.hiding(ZeroDivisionError("secret")))
    said = re.fullmatch(r"internal error ([0-9a-f]{8}): the server's log has the details", told)
    assert said
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, f"internal error {said[1]}")
    assert "ZeroDivisionError: secret" in caplog.text
    assert str(InternalError.hiding(ValueError())) != told


def raised_by(call):
    with pytest.raises(MemoryError) as raised:
        call()
    return raised.value


@pytest.mark.parametrize(
    "cause",
    [
        MemoryError(),
        raised_by(lambda: np.empty(1 << 58)),
        RuntimeError("std::bad_alloc"),
        RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 64"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_want_of_memory_is_no_defect(cause, caplog):
    told = InternalError.hiding(cause)
    assert isinstance(told, NoMemory)
    (record,) = caplog.records
    assert re.search(r"\(error ([0-9a-f]{8})\)", str(told))[1] in record.getMessage()
    assert "Traceback" not in caplog.text


def test_message_becomes_a_line_without_paths():
    for message, line in (
        ("", ""),
        (" two\n  lines\t", "two lines"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 299 + "…"),
        ("in /home/some/one.py:12: no", "in no"),
        ("in C:\\a\\b.cc:12 no", "in no"),
        ("core/x.h:7: no", "no"),
        ("1/2 and a/b stay", "1/2 and a/b stay"),
    ):
        assert one_line(message) == line
