"""A gRPC server among clients that vanish or are many, and one that starts again and again."""

import random
import socket
from concurrent import futures

import grpc
import numpy as np

from kit.inference_requests import request
from kit.served import new_channel, served

METHOD = "/inference.GRPCInferenceService/ModelInfer"
STATES = {"direction_simple": 1, "direction_stacked": 2, "direction_bidirectional": 2}


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


def test_a_large_model_is_queued_and_answers_the_same(repository, monkeypatch):
    """Where a model is large, its thread runs it: the path is another, the answers are not."""
    sent = list(mixed(200, seed=4))
    answers = []
    for small in (1e9, 0.0):
        monkeypatch.setattr("rnnserve.server.fast_path.dispatcher._SHORT_SECONDS", small)
        with served(repository) as running, futures.ThreadPoolExecutor(32) as pool:
            answers.append([answer.SerializeToString() for answer in pool.map(running.stub.ModelInfer, sent)])
    assert answers[0] == answers[1]


def test_clients_that_vanish_leave_the_server_as_it_was(server, stub):
    """Connections that end in the middle of a handshake, a frame, or a run."""
    payload = request("direction_stacked", {"input": np.zeros((256, 64, 2), np.float32)}).SerializeToString()
    for start in (b"", b"PRI * HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(start)
    for _ in range(5):
        with new_channel(server.port) as channel:
            calls = [channel.unary_unary(METHOD).future(payload) for _ in range(8)]  # type: ignore[arg-type]
        assert all(call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.OK) for call in calls)
    assert stub.ModelInfer(request("direction_stacked", {"input": np.zeros((1, 3, 2), np.float32)})).outputs
