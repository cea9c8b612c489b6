"""Sequences outlive the renewal of their connections, and the restart of all workers: they move, with their states."""

import contextlib
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from kit.inference_requests import arrays, request
from kit.served import new_channel, served
from kit.waiting import PATIENCE, until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

CLIENTS = 8
STEPS = 60
SECONDS_EACH = 0.1
"""Between two steps of a client, so that they last for several renewals."""


def point(inputs: np.ndarray, sequence: int, *, starts: bool, key: str = "") -> pb.ModelInferRequest:
    message = request("direction_simple", {"input": inputs}, ["h_n"])
    message.parameters["sequence_id"].int64_param = sequence
    message.parameters["sequence_start"].bool_param = starts
    if key:
        message.parameters["sequence_key"].string_param = key
    return message


class Steppers:
    """Clients that take steps of a sequence each.

    Attributes:
        said: How steps ended.
        wrong: Sequences whose last state is not that of the whole.
    """

    def __init__(self, port: int, *, key: bool, same_id: bool) -> None:
        self.port = port
        self.said: Counter[str] = Counter()
        self.wrong: list[int] = []
        self._threads = [
            threading.Thread(target=self._step_on, args=(number, key, same_id), daemon=True)
            for number in range(CLIENTS)
        ]

    @contextlib.contextmanager
    def running(self) -> Iterator["Steppers"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            for thread in self._threads:
                thread.join(PATIENCE)

    def _step_on(self, number: int, key: bool, same_id: bool) -> None:
        walk = np.random.default_rng(number).standard_normal((1, STEPS, 2)).astype(np.float32)
        identity = 1000 if same_id else 1000 + number
        secret = f"a secret of client {number}" if key else ""
        with new_channel(self.port) as channel:
            stub = rpc.GRPCInferenceServiceStub(channel)
            for step in range(STEPS):
                sent = point(walk[:, step : step + 1], identity, starts=step == 0, key=secret)
                try:
                    answer = stub.ModelInfer(sent, timeout=PATIENCE)
                except grpc.RpcError as error:
                    self.said[f"{error.code().name}: {error.details()}"] += 1
                    return
                self.said["OK"] += 1
                time.sleep(SECONDS_EACH)
            whole = stub.ModelInfer(request("direction_simple", {"input": walk}, ["h_n"]), timeout=PATIENCE)
            if arrays(whole)["h_n"].tobytes() != arrays(answer)["h_n"].tobytes():
                self.wrong.append(number)


@pytest.mark.parametrize("transport", ["lane", "public"])
@pytest.mark.parametrize("key", [False, True])
def test_no_step_fails_while_connections_are_renewed_and_workers_restarted(repository, tmp_path, transport, key):
    options = ("--workers", "2", "--transport", transport, "--max-connection-age", "1")
    with served(repository, "process", options=options) as server:
        before = server.workers()
        with Steppers(server.port, key=key, same_id=key).running() as steppers:
            time.sleep(1)
            server.send(signal.SIGHUP)
            until(lambda: not set(before) & set(server.workers()))
    assert steppers.said == {"OK": CLIENTS * STEPS}
    assert steppers.wrong == []
    assert "Traceback" not in server.log


def test_a_client_that_comes_back_later_finds_its_sequence(repository, tmp_path):
    """No connection is open while the workers are replaced: what the old ones had is with the new ones."""
    inputs = np.ones((1, 1, 2), np.float32)
    with served(repository, "process", workers=2) as server:
        for number in range(20):
            with new_channel(server.port) as channel:
                rpc.GRPCInferenceServiceStub(channel).ModelInfer(point(inputs, 1 + number, starts=True))
        before = server.workers()
        server.send(signal.SIGHUP)
        until(lambda: not set(before) & set(server.workers()))
        for number in range(20):
            with new_channel(server.port) as channel:
                stub = rpc.GRPCInferenceServiceStub(channel)
                found = stub.ModelInfer(point(inputs, 1 + number, starts=False))
                whole = stub.ModelInfer(request("direction_simple", {"input": np.repeat(inputs, 2, axis=1)}, ["h_n"]))
            assert arrays(found)["h_n"].tobytes() == arrays(whole)["h_n"].tobytes()
    given = re.findall(r"(\d+) of (\d+) sequences are with other workers now", server.log)
    assert sum(int(count) for count, _ in given) == sum(int(count) for _, count in given) == 20


def test_of_several_sequences_of_one_id_none_is_given_to_the_wrong_client(repository, tmp_path):
    """Each of two clients on one machine has begun a sequence 7, and both connections are closed."""
    inputs = np.ones((1, 1, 2), np.float32)
    with served(repository, "process", workers=2) as server:
        for _ in range(2):
            with new_channel(server.port) as channel:
                rpc.GRPCInferenceServiceStub(channel).ModelInfer(point(inputs, 7, starts=True))
        for _ in range(6):
            with new_channel(server.port) as channel, pytest.raises(grpc.RpcError) as raised:
                rpc.GRPCInferenceServiceStub(channel).ModelInfer(point(inputs, 7, starts=False))
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            assert "a sequence_key tells them apart" in raised.value.details()


def test_a_sequence_that_nobody_has_is_told_at_once(repository, tmp_path):
    with served(repository, "process", workers=2) as server, new_channel(server.port) as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        for number in range(200):
            with pytest.raises(grpc.RpcError) as raised:
                stub.ModelInfer(point(np.ones((1, 1, 2), np.float32), 1 + number, starts=False), timeout=PATIENCE)
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
