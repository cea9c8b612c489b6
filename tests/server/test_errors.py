"""Errors as callers get them: a status, an id for a defect, and one line from other libraries."""

import logging
import re

import grpc
import numpy as np
import pytest

from rnnserve.server import errors
from rnnserve.server.errors import InternalError, InvalidRequest, NoMemory, ServeError, one_line, quoted


def test_every_error_is_in_the_table_with_its_status():
    for error in ServeError.__subclasses__():
        assert error.__name__ in errors.__all__
        assert grpc.StatusCode[error.status]
        assert re.search(rf"── {error.__name__} +{error.status}  ", errors.__doc__)


def test_quoted_text_of_callers_is_shortened():
    assert quoted("a" * 100) == f'"{"a" * 100}"'
    assert quoted("a" * 101) == f'"{"a" * 100}…" (101 characters)'


@pytest.mark.parametrize("character", ["a", "%", "\n", "ä", "😀"])
def test_error_message_fits_into_call_metadata(character):
    """gRPC writes every byte but plain ASCII as three, and lets 8 kB of metadata through."""
    for count in (1, 300, 341, 342, 1365, 1366, 4096, 4097, 10_000):
        told = str(InvalidRequest(character * count))
        written = sum(1 if " " <= c <= "~" and c != "%" else 3 * len(c.encode()) for c in told)
        assert written <= 4096
        whole = count * (1 if character == "a" else 3 * len(character.encode())) <= 4096
        assert told == character * count if whole else told.endswith("…")
        assert whole or written > 4000


def test_defect_is_logged_with_the_id_that_the_caller_gets(caplog):
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
def test_lack_of_memory_is_not_a_defect(cause, caplog):
    told = InternalError.hiding(cause)
    assert isinstance(told, NoMemory)
    (record,) = caplog.records
    assert re.search(r"\(error ([0-9a-f]{8})\)", str(told))[1] in record.getMessage()
    assert "Traceback" not in caplog.text


def test_message_is_reduced_to_one_line_without_paths():
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
