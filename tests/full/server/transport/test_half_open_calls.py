"""Calls whose message never arrives keep no one from health, metadata and readiness."""

import contextlib
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from campaigns.drills.http2 import END_HEADERS, HEADERS, Http2Connection, call_headers, frame
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

SERVICE = "/inference.GRPCInferenceService"
PATIENCE = 30.0
"""Seconds for a call. Where half-open calls took turns with others, one of 300 waited for three minutes."""


@contextlib.contextmanager
def half_open(port: int, connections: int, calls: int, *methods: str):
    """Calls of these methods on some connections, which send their headers and nothing else."""
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            connection = stack.enter_context(Http2Connection("127.0.0.1", port))
            opened = [
                frame(HEADERS, END_HEADERS, 2 * number + 1, call_headers(methods[number % len(methods)]))
                for number in range(calls)
            ]
            assert connection.send(b"".join(opened), time.monotonic() + PATIENCE)
        yield


@pytest.mark.parametrize(("connections", "calls"), [(1, 1024), (40, 3)])
def test_health_and_metadata_are_answered_beside_half_open_calls(server, connections, calls):
    methods = [f"{SERVICE}/ServerLive", f"{SERVICE}/ModelMetadata", "/grpc.health.v1.Health/Check"]
    with (
        half_open(server.port, connections, calls, *methods),
        grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        stub = rpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE).live
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_simple"), timeout=PATIENCE).inputs
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == 1
