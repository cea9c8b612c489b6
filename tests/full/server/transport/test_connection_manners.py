"""What a connection may do: metadata up to one size, and pings as often as its client likes."""

import struct
import time

from campaigns.drills.wire.http2 import ACK, GOAWAY, PING, Http2Connection, frame


def test_a_client_that_pings_often_without_calls_keeps_its_connection(server):
    """gRPC's servers close a connection after three pings that come within minutes while there is no call."""
    with Http2Connection("127.0.0.1", server.port) as connection:
        until = time.monotonic() + 20
        pings = 0
        for number in range(10):
            assert connection.send(frame(PING, payload=struct.pack(">Q", number)), until)
            while pings <= number:
                frames = connection.read(until)
                assert frames, "no answer came"
                assert not [came.error for came in frames if came.kind == GOAWAY]
                pings += sum(came.kind == PING and came.flags == ACK for came in frames)
        assert not connection.is_closed
