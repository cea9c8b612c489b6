"""Several servers that are fakes, each with its health, and what a client asks of them."""

from concurrent import futures
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kit.waiting import until
from rnnserve.protos.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from .conftest import FakeService


@dataclass
class Served:
    """A fake on a port, with its health."""

    service: FakeService
    health: health.HealthServicer
    server: grpc.Server
    port: int

    @classmethod
    def start(cls, address="127.0.0.1:0"):
        served = grpc.server(futures.ThreadPoolExecutor(24), options=[("grpc.so_reuseport", 0)])
        service, told = FakeService(), health.HealthServicer()  # type: ignore[abstract]
        add_GRPCInferenceServiceServicer_to_server(service, served)
        health_pb2_grpc.add_HealthServicer_to_server(told, served)
        port = served.add_insecure_port(address)
        served.start()
        return cls(service, told, served, port)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def asked(self):
        return self.service.calls.count("ModelInfer")

    def say(self, status):
        self.health.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))


def listed(servers):
    return [each.address for each in servers]


def ask(client, times=1):
    for _ in range(times):
        assert client.infer("echo", {"input": [1.0]})["input"].tolist() == [1.0]


def asked(servers):
    return [each.asked for each in servers]


def reach_all(client, servers):
    """Ask until each has answered, and count from there on: the connections are not made at the same moment."""

    def all_asked():
        ask(client)
        return all(asked(servers))

    until(all_asked)
    for each in servers:
        each.service.calls.clear()
