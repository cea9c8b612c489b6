"""Clients are told that a server is going before it goes: none of their calls is cancelled."""

import contextlib
import socket
import threading
import time
import types
from collections import Counter
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from campaigns.drills.drilled import Infer, unread
from kit.inference_requests import request
from kit.waiting import until
from kit.workers import new_channel
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.sockets.goaway import GOAWAY, say_goodbye

PATIENCE = 20.0
METHOD = "/inference.GRPCInferenceService/ModelInfer"
REQUEST = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)}, ["logits"])
PAYLOAD = REQUEST.SerializeToString()


@contextlib.contextmanager
def connected():
    """Both ends of a connection that was accepted on a port, and the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            accepted, _ = listener.accept()
            with accepted:
                yield accepted, client, port


def test_a_connection_is_told_after_it_was_greeted():
    with connected() as (accepted, client, port):
        assert say_goodbye(port) == 0
        accepted.send(b"settings")
        assert client.recv(100) == b"settings"
        until(lambda: say_goodbye(port) == 1)  # when the kernel has confirmed it
        assert client.recv(100) == GOAWAY
    assert GOAWAY.hex(" ") == "00 00 08 07 00 00 00 00 00 7f ff ff ff 00 00 00 00"


def test_a_connection_on_which_something_waits_to_be_sent_is_left_alone():
    with connected() as (accepted, client, port):
        accepted.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += accepted.send(bytes(1 << 20))
        assert say_goodbye(port) == 0
        received = 0
        while received < sent:
            received += len(client.recv(1 << 20))


class Clients:
    """Calls that are made whether or not earlier ones have been answered, on some connections, and how they ended."""

    def __init__(self, port: int) -> None:
        self.said: Counter[str] = Counter()
        self._port = port
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(4)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        while not self.said["OK"]:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _call(self) -> None:
        with new_channel(self._port) as channel:
            call: Any = channel.unary_unary(METHOD)
            calls: list[Any] = []
            while not self._is_over.is_set():
                calls.append(call.future(PAYLOAD, timeout=PATIENCE))
                calls[-1].add_done_callback(lambda done: self.said.update([done.code().name]))
                time.sleep(1e-3)
            for done in calls:
                done.code()


def has_run(port: int, model: str) -> bool:
    with new_channel(port) as channel:
        asked = pb.ModelStatisticsRequest(name=model)
        [statistics] = rpc.GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=PATIENCE).model_stats
        return bool(statistics.execution_count)


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_no_call_is_cancelled_when_a_server_stops_under_load(repository, kind):
    server = Server(Settings(repository, grpc_port=0, provider="cpu", transport=kind))
    server.start()
    with Clients(server.port) as clients:
        until(lambda: clients.said["OK"] > 100)
        assert server.stop() == []
    assert set(clients.said) <= {"OK", "UNAVAILABLE"}, clients.said


def test_a_client_that_does_not_read_costs_no_other_its_answer(repository):
    """Its answer waits to be sent, so that it cannot be told, and is cut off in the end."""
    server = Server(Settings(repository, grpc_port=0, provider="cpu", transport="lane", grace=1.5))
    server.start()
    large = request("direction_stacked", {"input": np.zeros((4096, 64, 2), np.float32)}, ["output"])  # 16 MB
    with Clients(server.port) as clients:
        waiting = unread(Infer(server.port), large.SerializeToString())
        until(lambda: has_run(server.port, "direction_stacked"))
        assert server.stop() == ["calls", "requests on the lane"]
        waiting.cancel()
    assert set(clients.said) <= {"OK", "UNAVAILABLE"}, clients.said


def test_a_machine_that_stalls_leaves_no_thread_that_only_had_to_be_told(repository, monkeypatch):
    server = Server(Settings(repository, grpc_port=0, provider="cpu", transport="lane"))
    server.start()
    lane: Any = server._transport._transport
    ended = lane.join
    monkeypatch.setattr(lane, "join", lambda timeout: (ended(timeout), time.sleep(1.5)))
    assert server.stop(grace=0.1) == []


def test_while_it_drains_a_server_answers_and_says_that_it_is_not_ready(repository, monkeypatch):
    may_end, asked = threading.Event(), []
    waits = types.SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda seconds: (asked.append(seconds), may_end.wait(PATIENCE))
    )
    monkeypatch.setattr("rnnserve.server.app.time", waits)
    settings = Settings(repository, grpc_port=0, provider="cpu", drain=0.5)
    with Server(settings) as server, new_channel(server.port) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        stub = rpc.GRPCInferenceServiceStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        draining = threading.Thread(target=server.drain)
        draining.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not stub.ServerReady(pb.ServerReadyRequest()).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name="direction_simple")).ready
        assert draining.is_alive()
        with new_channel(server.port) as later:
            assert rpc.GRPCInferenceServiceStub(later).ModelInfer(REQUEST).outputs
        may_end.set()
        draining.join(PATIENCE)
        assert asked == [0.5]
        server._announce()  # as after a change of what serves
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_calls_of_a_connection_that_has_come_of_age_have_their_grace(repository):
    settings = Settings(repository, grpc_port=0, provider="cpu", max_connection_age=0.2, max_connection_age_grace=1.0)
    with Server(settings) as server, new_channel(server.port) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert rpc.GRPCInferenceServiceStub(channel).ModelInfer(REQUEST, timeout=PATIENCE).outputs
