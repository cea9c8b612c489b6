"""grpc.health.v1 reports the server, its service and its models."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rnnserve.protos import health_pb2 as own_health_pb2
from rnnserve.server.transport.health import HealthService

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture
def health(channel):
    return health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("name", ["", SERVICE, "direction_simple"])
def test_known_names_are_serving(health, name):
    assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest(service=name))
    assert next(watch).status == SERVING
    watch.cancel()


def test_unknown_names_are_refused_or_can_be_watched(health):
    """Check refuses unknown names. Watch reports them and stays open, except for names that are too long."""
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service="x"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == (
        f'no service is named "x"; there are "", "{SERVICE}", "direction_bidirectional", "direction_simple", '
        '"direction_stacked"'
    )
    watch = health.Watch(health_pb2.HealthCheckRequest(service="x" * 1000))
    assert next(watch).status == SERVICE_UNKNOWN
    watch.cancel()
    with pytest.raises(grpc.RpcError) as refused:
        next(health.Watch(health_pb2.HealthCheckRequest(service="x" * 1001)))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert refused.value.details().startswith(f'no service is named "{"x" * 100}…" (1,001 characters); there are ""')


def test_list_contains_all_names(channel):
    call = channel.unary_unary(
        "/grpc.health.v1.Health/List",
        own_health_pb2.HealthListRequest.SerializeToString,
        own_health_pb2.HealthListResponse.FromString,
    )
    listed = call(own_health_pb2.HealthListRequest()).statuses
    assert {name: status.status for name, status in listed.items()} == dict.fromkeys(
        ["", SERVICE, "direction_simple", "direction_stacked", "direction_bidirectional"], SERVING
    )


class Models:
    """A repository of models: whether each one serves, by name."""

    def __init__(self, **serves):
        self.serves = serves

    def statuses(self):
        return ((name, {}) for name in self.serves)

    def is_served(self, name):
        return self.serves.get(name, False)


class WatchedCall:
    """A call that the test ends."""

    def __init__(self):
        self.active = True

    def is_active(self):
        return self.active

    def add_callback(self, wake):
        self.wake = wake
        return True


def no_grant():
    """Return a caller's rights on a server without tokens."""


def new_service(models, **more):
    return HealthService(("", SERVICE), models, **more)


def test_model_is_serving_independent_of_others():
    models, call = Models(good=True, bad=False), WatchedCall()
    health = new_service(models, look_seconds=0.01)

    def check(name):
        asked = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        return health_pb2.HealthCheckResponse.FromString(health.check(asked, no_grant)).status

    def watch(name):
        asked = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        return (
            health_pb2.HealthCheckResponse.FromString(said).status
            for said in health.watch(asked, call, lambda: no_grant)
        )

    assert [check(name) for name in ("", "good", "bad")] == [NOT_SERVING, SERVING, NOT_SERVING]
    good, bad, later = watch("good"), watch("bad"), watch("later")
    assert [next(said) for said in (good, bad, later)] == [SERVING, NOT_SERVING, SERVICE_UNKNOWN]
    models.serves |= {"bad": True, "later": True}  # nobody tells the watches
    assert [next(bad), next(later)] == [SERVING, SERVING]
    del models.serves["later"]
    assert next(later) == SERVICE_UNKNOWN
    health.set_serving(True)
    assert check("") == SERVING
    health.drain(is_last=True)
    assert [check(name) for name in ("", "good")] == [NOT_SERVING, NOT_SERVING]
    assert [list(good), list(bad), list(later)] == [[NOT_SERVING], [NOT_SERVING], []]


@pytest.mark.parametrize("method", ["Check", "Watch", "List"])
def test_invalid_health_request_is_refused(channel, method):
    with pytest.raises(grpc.RpcError) as refused:
        next(channel.unary_stream(f"/grpc.health.v1.Health/{method}")(b"\xff\xff"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
