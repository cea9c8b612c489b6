"""A server under a tight limit on its address space: large requests are refused, and it serves on."""

import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from campaigns.drills.drilled import MODEL, Bystander, Infer, drilled, points
from kit import narrowed
from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb

LARGE = request(MODEL, {"input": points(260, 4000)}).SerializeToString()  # 8 MB, and the answer 66 MB

ROOM = {"lane": (520, 560, 640, 760), "public": (860, 960)}
"""MB of address space, of which a server takes 450 before any request. Each thread of the public transport takes 8."""


@pytest.fixture
def limit(monkeypatch):
    """Limits the address space of processes that are started to so many MB."""

    def of(megabytes):
        start: Any = subprocess.Popen.__init__

        def start_limited(self, command, **kwargs):
            start(self, narrowed.limited(command, RLIMIT_AS=megabytes << 20), **kwargs)

        monkeypatch.setattr(subprocess.Popen, "__init__", start_limited)

    return of


def by_calls(port):
    """What 24 calls are told that three clients make at once."""
    futures = [client.call.future(LARGE, timeout=60) for client in [Infer(port) for _ in range(3)] for _ in range(8)]
    return Counter(future.code().name for future in futures)


def by_streams(port):
    """What each message of 24 streams is told that three clients open at once, or else the stream."""

    def told(channel):
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(iter([LARGE]), timeout=60)
        try:
            (answer,) = stream
        except grpc.RpcError as error:
            return error.code().name
        said = pb.ModelStreamInferResponse.FromString(answer)
        return said.infer_response.parameters["status"].string_param if said.error_message else "OK"

    channels = [grpc.insecure_channel(f"127.0.0.1:{port}", [("client", number)]) for number in range(3)]
    with ThreadPoolExecutor(24) as pool:
        said = Counter(pool.map(told, [channel for channel in channels for _ in range(8)]))
    for channel in channels:
        channel.close()
    return said


@pytest.mark.parametrize("ask", [by_calls, by_streams])
@pytest.mark.parametrize(("transport", "room"), [(way, room) for way, rooms in ROOM.items() for room in rooms])
def test_a_large_answer_does_not_end_the_server(repository, transport, room, ask, limit):
    limit(room)
    with drilled(repository, "--transport", transport) as server:
        with Bystander(server.port) as bystander:
            said = ask(server.port)
        assert set(said) == {"RESOURCE_EXHAUSTED"}, said
        assert bystander.failures == []
        assert "the limit on the address space (ulimit -v) leaves" in server.server.log
