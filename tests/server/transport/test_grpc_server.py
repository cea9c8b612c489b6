"""The lane and the public transport give the same answers, byte for byte, whatever else is asked."""

import contextlib
import random
import socket
import time
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest

from campaigns.drills.wire.http2 import END_HEADERS, HEADERS, Http2Connection, call_headers, frame, literal
from kit.inference_requests import request
from kit.served_here import asking
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError
from rnnserve.server.process.memory_limits import Room
from rnnserve.server.transport import grpc_server

FLOOD = b"\x40" + literal("x-key", "y" * 100)[1:] + b"\xbe" * 600
"""A header field of 100 bytes, and 600 references to it."""

METHOD = "/inference.GRPCInferenceService/ModelInfer"
STATES = {"direction_simple": 1, "direction_stacked": 2, "direction_bidirectional": 2}


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive"])
def test_a_flood_of_header_fields_ends_its_connection_and_no_other(server, stub, method):
    answered = request("direction_simple", {"input": np.zeros((1, 4, 2), np.float32)})
    stub.ModelInfer(answered, timeout=20)
    with Http2Connection("127.0.0.1", server.port) as connection:
        ends = time.monotonic() + 20
        path = f"/inference.GRPCInferenceService/{method}"
        connection.send(frame(HEADERS, END_HEADERS, 1, call_headers(path) + FLOOD), ends)
        while not connection.is_closed:
            assert time.monotonic() < ends
            connection.read(ends)
    stub.ModelInfer(answered, timeout=20)


def mixed(count: int, seed: int):
    """Requests of every kind that is valid: sizes, optional inputs, outputs, ids, raw and typed."""
    numbers, chance = np.random.default_rng(seed), random.Random(seed)
    for index in range(count):
        name = chance.choice(list(STATES))
        batch, sequence = chance.randint(1, 3), chance.randint(1, 6)
        sent: dict[str, np.ndarray] = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
        if chance.random() < 0.5:
            sent["lengths"] = numbers.integers(1, sequence + 1, batch)
        if chance.random() < 0.4:
            sent["h_0"] = numbers.normal(size=(STATES[name], batch, 16)).astype(np.float32)
        outputs = [output for output in ("logits", "output", "h_n") if chance.random() < 0.6]
        yield request(name, sent, outputs, id=chance.choice(["", str(index)]), raw=chance.random() < 0.9)


def test_both_transports_answer_alike_in_any_company(repository):
    sent = list(mixed(1500, seed=3))
    answers = []
    for kind in ("lane", "public"):
        with asking(repository, transport=kind) as stub, futures.ThreadPoolExecutor(64) as pool:
            answers.append([answer.SerializeToString() for answer in pool.map(stub.ModelInfer, sent)])
            backwards = [answer.SerializeToString() for answer in pool.map(stub.ModelInfer, sent[::-1])]
            assert backwards[::-1] == answers[-1]
    assert answers[0] == answers[1]


def test_a_large_model_is_queued_and_answers_the_same(repository, monkeypatch):
    """Where a model is large, its thread runs it: the path is another, the answers are not."""
    sent = list(mixed(200, seed=4))
    answers = []
    for small in (1e9, 0.0):
        monkeypatch.setattr("rnnserve.server.lane.dispatcher._LANE_SECONDS", small)
        with asking(repository, transport="lane") as stub, futures.ThreadPoolExecutor(32) as pool:
            answers.append([answer.SerializeToString() for answer in pool.map(stub.ModelInfer, sent)])
    assert answers[0] == answers[1]


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


def test_clients_that_vanish_leave_the_server_as_it_was(server, stub):
    """Connections that end in the middle of a handshake, a frame, or a run."""
    payload = request("direction_stacked", {"input": np.zeros((256, 64, 2), np.float32)}).SerializeToString()
    for start in (b"", b"PRI * HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(start)
    for _ in range(5):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
            calls = [channel.unary_unary(METHOD).future(payload) for _ in range(8)]  # type: ignore[arg-type]
        assert all(call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.OK) for call in calls)
    assert stub.ModelInfer(request("direction_stacked", {"input": np.zeros((1, 3, 2), np.float32)})).outputs


def test_many_connections(server):
    sent = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)})
    options = [("grpc.use_local_subchannel_pool", 1)]
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}", options)) for _ in range(100)]
        calls = [rpc.GRPCInferenceServiceStub(channel).ModelInfer.future(sent) for channel in channels]
        assert len({call.result(20).SerializeToString() for call in calls}) == 1


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(stub, compression):
    message = request("direction_simple", {"input": np.zeros((64, 64, 2), np.float32)})
    plain, compressed = stub.ModelInfer(message), stub.ModelInfer(message, compression=compression)
    assert plain.SerializeToString() == compressed.SerializeToString()


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_a_graceful_stop_answers_what_is_under_way(repository, kind):
    server = Server(Settings(repository, grpc_port=0, provider="cpu", transport=kind))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer = channel.unary_unary(METHOD)
        large = request("direction_stacked", {"input": np.zeros((2000, 200, 2), np.float32)}, ["logits"])
        calls = [infer.future(large.SerializeToString()) for _ in range(4)]
        infer(request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)}).SerializeToString())
        server.stop(grace=30)
        for call in calls:
            try:
                assert call.result()
            except grpc.RpcError as error:  # it had not reached the server when that stopped
                assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_starting_and_stopping_many_times(repository, kind):
    for _ in range(5):
        with Server(Settings(repository, grpc_port=0, provider="cpu", transport=kind)):
            pass


def test_memory_is_given_back_when_other_models_serve_and_not_at_each_tick(repository, monkeypatch):
    noted, looked = [], []
    with Server(Settings(repository, grpc_port=0, provider="cpu")) as server:
        monkeypatch.setattr(server._transport, "note_new_models", lambda: noted.append(server._repository.generation))
        monkeypatch.setattr(server._transport, "_fit_into_memory", lambda: looked.append(len(noted)))
        for _ in range(30):
            server._tick()
        assert noted == []
        assert len(looked) in (3, 4)  # the server's own thread ticks, too
        server.live.load("direction_simple")
        server._tick()
        assert noted == [server._repository.generation]


def test_a_look_at_memory_waits_until_nothing_is_in_hand_unless_little_was_left(repository, monkeypatch):
    with Server(Settings(repository, grpc_port=0, provider="cpu")) as server:
        transport, budget = server._transport, server._transport._budget
        usual = budget.limit
        monkeypatch.setattr(grpc_server, "memory_left", lambda _: Room(50 << 20, "it"))
        transport.look_at_memory(is_due=False)
        budget.take("ipv4:127.0.0.1:1", 1000)
        transport.look_at_memory(is_due=True)
        assert budget.limit == usual
        budget.give_back("ipv4:127.0.0.1:1", 1000)
        transport.look_at_memory(is_due=True)
        assert budget.limit < usual
        monkeypatch.setattr(grpc_server, "memory_left", lambda _: None)
        budget.take("ipv4:127.0.0.1:1", 1000)
        transport.look_at_memory(is_due=False)
        assert budget.limit == usual
        budget.give_back("ipv4:127.0.0.1:1", 1000)


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
    with asking(repository, transport="auto") as stub:
        assert stub.ModelInfer(request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})).outputs
    assert "ModelInfer takes the public transport, which is slower" in caplog.text


@pytest.mark.parametrize("limited", ["address_space_left", "memory_left"])
@pytest.mark.parametrize("transport", ["lane", "public"])
def test_what_little_memory_bounds_is_as_before_when_there_is_more_of_it(repository, monkeypatch, transport, limited):
    """What is received at once, which streams are open, what requests hold, and what memory is short."""
    settings = Settings(repository, grpc_port=0, provider="cpu", transport=transport)

    def bounds():
        of_transport: Any = serving._transport
        windows = (
            [of_transport._window]
            if transport == "lane"
            else [pool._window for pool in (of_transport._inference, of_transport._streams)]
        )
        streams = of_transport._streams.most if transport == "lane" else None
        held = serving._budget.limit, serving._service.response_room, serving._memory_guard.most_bytes
        return [window.limit for window in windows], streams, held

    with Server(settings) as server:
        serving = server._transport
        usual = bounds()
        for left in (100 << 20, 1 << 50, 50 << 20, None):
            room = None if left is None else Room(left, "it")
            monkeypatch.setattr(grpc_server, limited, lambda *_, room=room: room)
            serving.look_at_memory(is_due=True)
            assert (bounds() == usual) == (left not in (100 << 20, 50 << 20))
