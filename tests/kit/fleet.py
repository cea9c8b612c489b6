"""Several fake servers, each with its state for health checks, and what a client asks of them."""

import contextlib
from dataclasses import dataclass

import pytest
from grpc_health.v1 import health, health_pb2

from kit.clients import new_service
from kit.fakes import FakeModels, serving
from kit.waiting import until

__all__ = ["Served", "addresses_of", "ask", "counts", "reach_all", "servers", "started"]


@dataclass
class Served:
    """A fake that is served; `stop` ends it."""

    service: FakeModels
    states: health.HealthServicer
    address: str
    stop: contextlib.ExitStack

    def report(self, state):
        self.states.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(state))


@contextlib.contextmanager
def started(address="127.0.0.1:0"):
    service, states = new_service(), health.HealthServicer()
    with contextlib.ExitStack() as stack:
        yield Served(service, states, stack.enter_context(serving(service, states=states, address=address)), stack)
        if service.blocked is not None:
            service.blocked.set()


@pytest.fixture
def servers():
    """Three fakes."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(started()) for _ in range(3)]


def addresses_of(servers):
    return [each.address for each in servers]


def ask(client, times=1):
    for _ in range(times):
        assert client.infer("echo", {"input": [1.0]})["input"].tolist() == [1.0]


def counts(servers):
    """The number of inference requests that each server got."""
    return [each.service.calls.count("ModelInfer") for each in servers]


def reach_all(client, servers):
    """Ask until each server has answered, because connections aren't made at the same moment; then count from 0."""

    def all_answered():
        ask(client)
        return all(counts(servers))

    until(all_answered)
    for each in servers:
        each.service.calls.clear()
