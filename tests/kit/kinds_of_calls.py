"""The kinds of calls that a server is asked: each a function with `@kind`, which sends some and checks the answers."""

import contextlib
import queue
import threading
import time

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.batching.waiting_queue import WaitingQueue
from rnnserve.server.errors import QueueFull
from rnnserve.server.fast_path import template_runs
from rnnserve.server.repository.model import Model

MODEL = "direction_simple"
PATIENCE = 20.0

SMALL, MIDDLE, LARGE = (1, 4), (40, 64), (400, 64)  # rows and steps: 32 B, 20 KiB, 200 KiB
KINDS = {}
RUNS = (Model, "run"), (Model, "run_arrays"), (template_runs.SamePrefixRun, "run")


def kind(function):
    """Make a function a kind of call: it is given a client, and pytest's monkeypatch."""
    KINDS[function.__name__] = function
    return function


def points(rows, steps):
    """Walks (batch, sequence, 2) float32."""
    return np.linspace(-1, 1, rows * steps * 2, dtype=np.float32).reshape(rows, steps, 2)


def asks(size=SMALL, *, sequence=None, starts=False, ends=False, session="", model=MODEL, **states):
    """A request of so many rows and steps."""
    message = request(model, {"input": points(*size), **states}, ["logits"])
    if sequence is not None:
        message.parameters["sequence_id"].int64_param = sequence
        message.parameters["sequence_start"].bool_param = starts
        message.parameters["sequence_end"].bool_param = ends
    if session:
        message.parameters["session"].string_param = session
    return message


class Client:
    """Asks by calls or on a stream: a kind of call need not know which."""

    def __init__(self, channel, is_stream):
        self.channel, self.is_stream = channel, is_stream
        self.stub = rpc.GRPCInferenceServiceStub(channel)
        self._streams = {}  # by compression

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sent, answers in self._streams.values():
            sent.put(None)
            assert list(answers) == []

    def ask(self, *messages, compression=None):
        """Ask for all of them at once; give the status of each."""
        if self.is_stream:
            if compression not in self._streams:
                sent = queue.SimpleQueue()
                answers = self.stub.ModelStreamInfer(iter(sent.get, None), compression=compression)
                self._streams[compression] = sent, answers
            sent, answers = self._streams[compression]
            for message in messages:
                sent.put(message)
            return [_status(next(answers)) for _ in messages]
        calls = [
            self.stub.ModelInfer.future(message, timeout=PATIENCE, compression=compression) for message in messages
        ]
        return [call.code().name for call in calls]

    def ask_in_turn(self, *messages, compression=None):
        """Ask for one after the other."""
        return [status for message in messages for status in self.ask(message, compression=compression)]


def _status(answer):
    return answer.infer_response.parameters["status"].string_param if answer.error_message else "OK"


OK = "OK"


@kind
def small_middle_and_large(client, _):
    assert client.ask_in_turn(*[asks(size) for size in (SMALL, MIDDLE, LARGE)]) == [OK] * 3
    assert client.ask(*[asks(size) for size in (SMALL, MIDDLE, LARGE) * 3]) == [OK] * 9


@kind
def compressed(client, _):
    for size in (SMALL, MIDDLE, LARGE):
        assert client.ask(asks(size), compression=grpc.Compression.Gzip) == [OK]


@kind
def steps_of_a_sequence(client, _):
    for size in (SMALL, SMALL, MIDDLE, LARGE):
        for compression in (None, grpc.Compression.Gzip):
            number = 1 if compression is None else 101
            steps = [asks(size, sequence=number, starts=not n, ends=n == 3) for n in range(4)]
            assert client.ask_in_turn(*steps, compression=compression) == [OK] * 4


@kind
def steps_that_wait_for_their_turn(client, _):
    for size in (SMALL, MIDDLE, LARGE):
        assert client.ask(asks(size, sequence=2, starts=True)) == [OK]
        assert client.ask(*[asks(size, sequence=2) for _ in range(12)]) == [OK] * 12
        said = client.ask(asks(size, sequence=2, ends=True), *[asks(size, sequence=2) for _ in range(6)])
        assert set(said) <= {OK, "NOT_FOUND"}


@kind
def steps_that_are_refused(client, _):
    for size in (SMALL, LARGE):
        assert client.ask_in_turn(asks(size, sequence=3)) == ["NOT_FOUND"]
        assert client.ask_in_turn(asks(size, sequence=3, starts=True)) == [OK]
        wrong_rows = (size[0] + 1, size[1])
        with_state = asks(size, sequence=3, h_0=np.zeros((1, size[0], 16), np.float32))
        assert client.ask_in_turn(asks(wrong_rows, sequence=3), with_state) == ["INVALID_ARGUMENT"] * 2
        assert client.ask_in_turn(asks(size, sequence=3, ends=True)) == [OK]
        assert client.ask(asks(size, sequence=3, model="direction_bidirectional", starts=True)) == ["UNIMPLEMENTED"]


@kind
def sealed_sessions(client, _):
    first = client.stub.ModelInfer(asks(SMALL, session="sealed"))
    token = first.parameters["session"].string_param
    assert client.ask_in_turn(asks(SMALL, session=token), asks(SMALL, session=token)) == [OK] * 2
    assert client.ask_in_turn(asks(SMALL, session="no token")) == ["INVALID_ARGUMENT"]


@kind
def refused_by_validation(client, _):
    wrong = [request(MODEL, {"input": np.full((*size, 2), np.nan, np.float32)}) for size in (SMALL, MIDDLE, LARGE)]
    assert client.ask_in_turn(*wrong, *wrong) == ["INVALID_ARGUMENT"] * 6
    assert client.ask_in_turn(request("nobody", {"input": points(*LARGE)})) == ["NOT_FOUND"]
    assert client.ask_in_turn(request(MODEL, {"inputs": points(*SMALL)})) == ["INVALID_ARGUMENT"]


@kind
def queue_full(client, monkeypatch):
    def refuse(_, model, cost, pending):
        return QueueFull(model, 1)

    monkeypatch.setattr(WaitingQueue, "refusal", refuse)
    for size in (MIDDLE, LARGE):
        said = client.ask_in_turn(asks(size), asks(size, sequence=4, starts=True))
        assert set(said) <= {OK, "RESOURCE_EXHAUSTED"}
        said = client.ask(*[asks(size, sequence=4) for _ in range(6)])
        assert set(said) <= {OK, "RESOURCE_EXHAUSTED", "NOT_FOUND"}


@contextlib.contextmanager
def held_up(monkeypatch):
    """Let runs wait until the end."""
    may_go = threading.Event()

    def wait(run):
        def waiting(*args):
            may_go.wait(PATIENCE)
            return run(*args)

        return waiting

    with monkeypatch.context() as patched:
        for owner, name in RUNS:
            patched.setattr(owner, name, wait(getattr(owner, name)))
        try:
            yield
        finally:
            may_go.set()


@kind
def deadlines_that_pass_and_calls_that_are_cancelled(client, monkeypatch):
    for size in (SMALL, LARGE):
        messages = [asks(size), asks(size, sequence=9, starts=True), asks(size, sequence=9), asks(size, sequence=9)]
        for timeout in (0.3, None):
            with held_up(monkeypatch):
                if client.is_stream:
                    calls = [client.stub.ModelStreamInfer(iter(messages), timeout=timeout)]
                else:
                    calls = [client.stub.ModelInfer.future(message, timeout=timeout) for message in messages]
                time.sleep(0.2)
                if timeout is None:
                    for call in calls:
                        call.cancel()
                else:
                    said = {call.code().name for call in calls}  # by calls, a step may arrive before its start
                    assert {"DEADLINE_EXCEEDED"} <= said <= {"DEADLINE_EXCEEDED", "NOT_FOUND"}
                time.sleep(0.1)
        anew = asks(size, sequence=9, starts=True, ends=True)
        assert eventually(lambda anew=anew: client.ask(anew), ["ABORTED"]) == [OK]


def eventually(ask, refused):
    deadline = time.monotonic() + PATIENCE
    while (said := ask()) == refused and time.monotonic() < deadline:
        time.sleep(0.02)
    return said


@kind
def runs_that_fail(client, monkeypatch):
    """All of a batch, so that it is made again in parts."""

    def fail(*_):
        raise RuntimeError("the kernel says no")

    assert client.ask(asks(SMALL, sequence=10, starts=True)) == [OK]
    for owner, name in RUNS:
        monkeypatch.setattr(owner, name, fail)
    for size in (SMALL, MIDDLE, LARGE):
        assert set(client.ask(*[asks(size) for _ in range(7)])) == {"INTERNAL"}
    assert set(client.ask(*[asks(SMALL, sequence=10) for _ in range(7)])) == {"INTERNAL"}
    assert client.ask(asks(SMALL, sequence=11, starts=True)) == ["INTERNAL"]


@kind
def unloaded_meanwhile(client, _):
    control = pb.RepositoryModelUnloadRequest(model_name=MODEL), pb.RepositoryModelLoadRequest(model_name=MODEL)
    assert client.ask(asks(LARGE, sequence=13, starts=True)) == [OK]
    client.stub.RepositoryModelUnload(control[0])
    assert client.ask_in_turn(asks(LARGE)) == ["UNAVAILABLE"]
    assert client.ask_in_turn(asks(LARGE, sequence=13), asks(LARGE, sequence=13, ends=True)) == [OK] * 2
    client.stub.RepositoryModelLoad(control[1])
    assert client.ask_in_turn(asks(LARGE)) == [OK]


@kind
def cut_off_before_the_message(client, _):
    for method in ("ModelInfer", "ModelStreamInfer"):
        waits = threading.Event()
        call = client.channel.stream_stream(f"/inference.GRPCInferenceService/{method}")(_never(waits))
        time.sleep(0.1)
        call.cancel()
        waits.set()


def _never(waits):
    waits.wait(PATIENCE)
    yield from ()


@kind
def an_error_that_ends_the_stream(client, _):
    for before in (1, 20):
        messages = [asks(SMALL) for _ in range(before)] + [request("nobody", {"input": points(*LARGE)})]
        stream = client.stub.ModelStreamInfer(
            iter(messages), timeout=PATIENCE, metadata=(("triton_grpc_error", "true"),)
        )
        with pytest.raises(grpc.RpcError):
            list(stream)
