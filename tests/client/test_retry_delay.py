"""How long a refusal asks a client to wait, of whatever server or proxy it is."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from rnnserve.client.errors import retry_delay
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.protocol.responses import trailing_metadata


def test_retry_delay_is_read_within_bounds():
    named: Any = trailing_metadata(InvalidRequest("no", field="id"))[0][1]
    assert retry_delay(named) is None
    assert retry_delay(detail_of(Duration(seconds=2, nanos=500_000_000))) == 2.5
    timed = detail_of(Duration(nanos=31_000_000))
    for damaged in (b"", b"\xff", timed[:-1], timed + b"\xff", timed + bytes(20_000)):
        assert retry_delay(damaged) in (None, 0.031)
    assert retry_delay(detail_of(Duration(seconds=-5))) == 0.0


def detail_of(delay):
    """Write the status details that other servers, such as proxies, send with a retry delay."""
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status.SerializeToString()
