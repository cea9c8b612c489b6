"""Server reflection: what grpcurl and its like ask, in both versions, and what bounds it."""

import contextlib
import time

import grpc
from grpc_reflection.v1alpha import reflection_pb2

from campaigns.drills.wire.http2 import DATA, END_HEADERS, HEADERS, Http2Connection, call_headers, frame, grpc_message

PATIENCE = 20.0


def stream(channel, version):
    return channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )


def test_streams_that_send_nothing_make_room(server):
    """More of them than there are threads, each of which asks once and then no more."""
    asked = grpc_message(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
    headers = call_headers("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    streams = range(1, 80, 2)
    opened = [frame(HEADERS, END_HEADERS, at, headers) + frame(DATA, 0, at, asked) for at in streams]
    until = time.monotonic() + PATIENCE
    with (
        Http2Connection("127.0.0.1", server.port) as connection,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert connection.send(b"".join(opened), until)
        while time.monotonic() < until:
            with contextlib.suppress(grpc.RpcError):  # the idle ones are ended after a second
                (answer,) = stream(channel, "v1")(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
                assert answer.list_services_response.service
                return
            time.sleep(0.05)
    raise AssertionError("none was answered")
