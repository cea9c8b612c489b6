"""What callers are told: a status for each error, an id for a defect, and one line of what another library said."""

import logging
import re

import grpc
import pytest

from rnnserve.server import errors
from rnnserve.server.errors import InternalError, QueueFull, ServeError, one_line

STATUSES = {
    "InvalidRequest": "INVALID_ARGUMENT",
    "NotFound": "NOT_FOUND",
    "NotReady": "UNAVAILABLE",
    "ShuttingDown": "UNAVAILABLE",
    "QueueFull": "RESOURCE_EXHAUSTED",
    "DeadlinePassed": "DEADLINE_EXCEEDED",
    "Cancelled": "CANCELLED",
    "Unsupported": "UNIMPLEMENTED",
    "InternalError": "INTERNAL",
}


def test_each_error_has_its_status():
    assert {error.__name__: error.status for error in ServeError.__subclasses__()} == STATUSES
    for name, status in STATUSES.items():
        assert name in errors.__all__
        assert grpc.StatusCode[status]
        assert re.search(rf"── {name} +{status}  ", errors.__doc__)


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


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        (" two\n  lines\t", "two lines"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 299 + "…"),
        ("in /home/some/one.py:12: no", "in no"),
        ("in C:\\a\\b.cc:12 no", "in no"),
        ("core/x.h:7: no", "no"),
        ("1/2 and a/b stay", "1/2 and a/b stay"),
    ],
)
def test_a_message_becomes_a_line_without_paths(message, line):
    assert one_line(message) == line
