"""Load reports: what they say, how often they come, when they end, and that clients balance by them."""

import struct
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from rnnserve.server.errors import InvalidRequest
from rnnserve.server.transport import load_reports
from rnnserve.server.transport.load_reports import LoadReports


def interval(seconds, nanos=0):
    duration = Duration(seconds=seconds, nanos=nanos).SerializeToString()
    return bytes((0x0A, len(duration))) + duration


def read(report):
    """The numbers of a report by the numbers of their fields."""
    assert len(report) == 27
    return {report[at] >> 3: struct.unpack_from("<d", report, at + 1)[0] for at in range(0, 27, 9)}


class _Context:
    """A call that is open until it is ended."""

    def __init__(self):
        self.end = lambda: None

    def add_callback(self, callback):
        self.end = callback
        return True


Context: Any = _Context  # has what is needed of grpcio's


def reports_of(*looks, cores=2):
    """Reports of what the clock, the kernel and the table of counts say at each look."""
    clock, busy, answered = (iter(column).__next__ for column in zip(*looks, strict=True))
    return LoadReports(clock=clock, busy=busy, answered=answered, cores=cores)


@pytest.fixture
def at_once(monkeypatch):
    """Without the time between two reports."""
    monkeypatch.setattr(load_reports, "_SHORTEST_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_report_has_what_was_between_two_looks():
    looks = [(100.0, 7.0, 1000.0), (102.0, 9.0, 1300.0), (103.0, 9.5, 1300.0), (104.0, 99.0, 1301.0)]
    stream = reports_of(*looks).stream(b"", Context())
    assert [read(next(stream)) for _ in looks[1:]] == [
        {1: 0.5, 6: 150.0, 9: 0.5}, {1: 0.25, 6: 0.0, 9: 0.25}, {1: 1.0, 6: 1.0, 9: 1.0},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "seconds"),
    [
        (b"", 1.0),
        (interval(5), 5.0),
        (interval(0, 100), 1.0),
        (interval(2, 500_000_000), 2.5),
        (interval(3600), 60.0),
        (interval(3) + b"\x12\x01x", 3.0),  # and a name of a cost
        (b"\x12\x01x", 1.0),
    ],
)
def test_they_come_as_often_as_is_asked_for_within_bounds(monkeypatch, payload, seconds):
    waited = []

    class Ended(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return True

    monkeypatch.setattr(load_reports, "threading", SimpleNamespace(Event=Ended))
    assert list(LoadReports().stream(payload, Context())) == []
    assert waited == [seconds]


@pytest.mark.parametrize("payload", [b"\x0a", b"\x0a\x05\x08", b"\x0a\x02\xff\xff", b"\x0a\x01"])
def test_what_is_no_request(payload):
    with pytest.raises(InvalidRequest, match=r"not an xds\.service\.orca\.v3\.OrcaLoadReportRequest"):
        next(LoadReports().stream(payload, Context()))
