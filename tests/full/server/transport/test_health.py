"""grpc.health.v1: the server, its service and its models, and nothing that is kept for others."""

import json
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


@pytest.fixture
def health(channel):
    return health_pb2_grpc.HealthStub(channel)


def test_health_checks_are_answered_although_all_watches_are_taken(server):
    """If a watch failed with another status, gRPC's client would stop sending to the server."""
    address = f"127.0.0.1:{server.port}"
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    options = [("grpc.service_config", json.dumps(config)), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address) as channel, grpc.insecure_channel(address, options) as balancing:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(256)]
        assert [next(watch).status for watch in watches] == [SERVING] * len(watches)
        with pytest.raises(grpc.RpcError) as refused:
            next(health.Watch(health_pb2.HealthCheckRequest()))
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert refused.value.details() == "256 watches and reflections are already open; call Check instead"
        assert (
            inference_pb2_grpc.GRPCInferenceServiceStub(balancing).ServerLive(pb.ServerLiveRequest(), timeout=20).live
        )
        for watch in watches:
            watch.cancel()


def test_server_stops_at_once_despite_open_watches(repository):
    with served(repository, grace=60.0) as running, running.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
        assert next(watch).status == SERVING
        started = time.monotonic()
        running.server.stop()
        assert time.monotonic() - started < 30
        assert [response.status for response in watch] == [NOT_SERVING]
