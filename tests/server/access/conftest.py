"""What the tests of access share."""

import threading

import pytest

from kit.locked_servers import BODIES, SIMPLE
from rnnserve.protos import health_pb2
from rnnserve.protos.access_table import INFERENCE


@pytest.fixture
def lasting_calls():
    """Opens a call of each kind that lasts, and waits for its first answer. The first call is for inference."""
    over = threading.Event()

    def messages(body):
        yield body
        over.wait(20)

    def open_all(channel, metadata=()):
        calls = [
            channel.stream_stream(method)(messages(body), metadata=metadata)
            for method, body in (
                (f"{INFERENCE}ModelStreamInfer", BODIES["ModelStreamInfer"]),
                ("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()),
                ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"\x3a\x00"),  # list_services
            )
        ]
        for call in calls:
            next(call)
        return calls

    yield open_all
    over.set()
