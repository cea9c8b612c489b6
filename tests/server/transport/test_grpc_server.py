"""A gRPC server in one piece: single calls, compression, its end, and what little memory bounds."""

from typing import Any

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.served import served
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError
from rnnserve.server.process.memory_limits import Room
from rnnserve.server.transport import grpc_server

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def test_a_call_without_a_message(channel):
    with pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(METHOD)(iter([]))
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "requires exactly one request message" in refused.value.details()


def test_cancelled_calls_leave_the_server_as_it_was(channel, stub):
    infer = channel.unary_unary(METHOD)
    payload = request("direction_stacked", {"input": np.zeros((512, 128, 2), np.float32)}).SerializeToString()
    for _ in range(20):
        for call in [infer.future(payload) for _ in range(4)]:
            call.cancel()
    answer = stub.ModelInfer(request("direction_stacked", {"input": np.zeros((1, 3, 2), np.float32)}))
    assert answer.outputs


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(stub, compression):
    message = request("direction_simple", {"input": np.zeros((64, 64, 2), np.float32)})
    plain, compressed = stub.ModelInfer(message), stub.ModelInfer(message, compression=compression)
    assert plain.SerializeToString() == compressed.SerializeToString()


def test_graceful_stop_answers_what_is_in_flight(repository):
    with served(repository) as running:
        infer = running.stub.ModelInfer
        large = request("direction_stacked", {"input": np.zeros((2000, 200, 2), np.float32)}, ["logits"])
        calls = [infer.future(large) for _ in range(4)]
        infer(request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)}))
        running.server.stop(grace=30)
        codes = {call.code() for call in calls}  # a call that comes after the stop is refused
        assert grpc.StatusCode.OK in codes
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_a_server_that_was_never_started_leaves_no_process(repository):
    server = Server(Settings(repository, grpc_port=0, provider="cpu"))
    processes = list(server._trials._processes)
    server.stop(0)
    assert processes
    assert [process._process for process in processes] == [None] * len(processes)


def test_a_grpcio_without_what_the_lane_needs(repository, monkeypatch, caplog):
    monkeypatch.setattr(grpc_server, "missing_parts", lambda _: "grpcio 9.9 lacks CompletionQueue")
    with pytest.raises(StartError, match=r"transport lane: cannot run here: grpcio 9\.9 lacks CompletionQueue"):
        Server(Settings(repository, grpc_port=0, provider="cpu", transport="lane"))
    with served(repository, transport="auto") as running:
        assert running.stub.ModelInfer(request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})).outputs
    assert "ModelInfer takes the public transport, which is slower" in caplog.text


@pytest.mark.parametrize("limited", ["address_space_left", "memory_left"])
def test_little_memory_bounds_a_server_until_there_is_more(repository, monkeypatch, limited):
    """It bounds what is received at once, open streams, what requests hold, and what counts as short of memory."""
    with served(repository, transport="lane") as running:
        transport: Any = running.server._transport

        def bounds():
            lane = transport._transport
            held = transport._budget.limit, transport._service.response_room, transport._memory_guard.most_bytes
            return lane._window.limit, lane._streams.most, held

        usual = bounds()
        for left in (100 << 20, 1 << 50, 50 << 20, None):
            room = None if left is None else Room(left, "it")
            monkeypatch.setattr(grpc_server, limited, lambda *_, room=room: room)
            transport.look_at_memory(is_due=True)
            assert (bounds() == usual) == (left not in (100 << 20, 50 << 20))
