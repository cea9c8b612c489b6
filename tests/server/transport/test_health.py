"""grpc.health.v1: the services that are known, and nothing that is kept for others."""

import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rnnserve.server import Server, Settings

SERVING, NOT_SERVING = 1, 2
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture
def health(channel):
    return health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("name", ["", SERVICE])
def test_what_is_known_serves(health, name):
    assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest(service=name))
    assert next(watch).status == SERVING
    watch.cancel()


def test_a_name_that_is_not_known_is_refused_and_not_kept(health):
    unknown = health_pb2.HealthCheckRequest(service="x" * 5000)
    for call in (lambda: health.Check(unknown), lambda: next(health.Watch(unknown))):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert refused.value.details() == (
            f'no service is named "{"x" * 100}…" (5,000 characters); there are "", "{SERVICE}"'
        )


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_garbage_is_refused(channel, method):
    with pytest.raises(grpc.RpcError) as refused:
        next(channel.unary_stream(f"/grpc.health.v1.Health/{method}")(b"\xff\xff"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_those_who_watch_hear_when_the_server_stops(repository):
    with (
        Server(Settings(repository, grpc_port=0, provider="cpu")) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        watches = [
            health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))  # type: ignore[attr-defined]
            for name in ("", SERVICE)
            for _ in range(40)  # more than there are threads: a watch keeps none
        ]
        assert [next(watch).status for watch in watches] == [SERVING] * len(watches)
        server._transport.set_ready(False)
        assert [next(watch).status for watch in watches] == [NOT_SERVING] * len(watches)


def test_watches_that_are_cancelled_at_once_stop_nobody(channel, health):
    """grpcio's own servicer deadlocks within a few."""
    for _ in range(300):
        health.Watch(health_pb2.HealthCheckRequest()).cancel()
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=20).status == SERVING


def test_a_server_stops_at_once_though_somebody_watches(repository):
    server = Server(Settings(repository, grpc_port=0, provider="cpu", grace=60.0))
    with server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
        assert next(watch).status == SERVING
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 30
        assert [response.status for response in watch] == [NOT_SERVING]
