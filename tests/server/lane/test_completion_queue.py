"""The lane's own loop, and what it needs of grpcio."""

import contextlib
import functools
import queue
import subprocess
import sys
from concurrent import futures

import grpc
import pytest

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.clock import now
from rnnserve.server.boundary.byte_budget import ByteBudget
from rnnserve.server.errors import ShuttingDown
from rnnserve.server.lane.completion_queue import Lane, missing_parts

PATIENCE = 20.0

STOP_AT_ONCE = """
import random, time
from concurrent import futures
import grpc
from rnnserve.server.boundary.byte_budget import ByteBudget
from rnnserve.server.lane import completion_queue

class Idle:
    def take(self, arrived): pass
    def work(self): return False

completion_queue._OUTSTANDING = 2000
for _ in range(60):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    one = completion_queue.Lane(server, "/a.B/C", Idle(), ByteBudget(1 << 28))
    server.add_insecure_port("127.0.0.1:0")
    server.start()
    one.start()
    time.sleep(random.random() * 2e-3)
    one.stop_accepting()
    server.stop(0).wait()
    one.join(20)
    assert not one.is_running()
"""


def test_a_lane_is_stopped_while_it_asks_for_calls():
    """A server that is destroyed meanwhile takes the process with it, one time in three without `stop_accepting`."""
    done = subprocess.run(
        [sys.executable, "-c", STOP_AT_ONCE], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_missing_is_named(monkeypatch):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    assert missing_parts(server) is None
    monkeypatch.delattr("grpc._cython.cygrpc.SendMessageOperation")
    assert missing_parts(server) == f"grpcio {grpc.__version__} lacks SendMessageOperation"
    assert "has no attribute" in str(missing_parts(object()))  # type: ignore[arg-type]


class Held:
    """Keeps calls until the test answers them."""

    def __init__(self):
        self.calls = queue.Queue()

    def take(self, arrived):
        for call in arrived:
            self.calls.put(call)

    def work(self):
        return False


@contextlib.contextmanager
def running(handler):
    """A lane on a server of its own: the server, the lane, and a client's call of its method."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    lane = Lane(server, "/a.B/C", handler, ByteBudget(1 << 28))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    lane.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, lane, channel.unary_unary("/a.B/C")
        lane.stop_accepting()
        server.stop(0).wait()
        lane.join(PATIENCE)
        assert not lane.is_running()


def test_the_lane_ends_after_the_last_answer_and_not_before():
    held = Held()
    with running(held) as (server, lane, infer):
        response = infer.future(b"question")
        call = held.calls.get(timeout=PATIENCE)
        lane.stop_accepting()
        stopped = server.stop(PATIENCE)
        lane.join(0.3)
        assert lane.is_running()
        call.answer(b"answer")
        assert response.result(PATIENCE) == b"answer"
        assert stopped.wait(PATIENCE)
        lane.join(PATIENCE)
        assert not lane.is_running()


def test_a_call_is_answered_once():
    held = Held()
    with running(held) as (_, _, infer):
        response = infer.future(b"question")
        call = held.calls.get(timeout=PATIENCE)
        assert call.payload == b"question"
        assert not call.is_answered
        call.answer(b"first")
        assert call.is_answered
        call.answer(b"second")
        call.refuse(ShuttingDown("third"))
        assert response.result(PATIENCE) == b"first"


def test_a_refusal_has_its_status_and_message():
    held = Held()
    with running(held) as (_, _, infer):
        response = infer.future(b"question")
        held.calls.get(timeout=PATIENCE).refuse(ShuttingDown("the server is shutting down"))
        assert response.code() == grpc.StatusCode.UNAVAILABLE
        assert response.details() == "the server is shutting down"


def test_deadlines_are_on_the_one_clock():
    held = Held()
    with running(held) as (_, _, infer):
        responses = [infer.future(b"with a deadline", timeout=100)]
        first = held.calls.get(timeout=PATIENCE)
        assert first.deadline == pytest.approx(now() + 100, abs=PATIENCE)
        responses.append(infer.future(b"without one"))
        second = held.calls.get(timeout=PATIENCE)
        assert second.deadline > now() + 1e6
        for call in (first, second):
            call.answer(b"answer")
        assert [response.result(PATIENCE) for response in responses] == [b"answer"] * 2


def test_a_watched_call_tells_of_its_cancellation_only_then():
    held, told = Held(), queue.Queue()
    with running(held) as (_, _, infer):
        response, gone = infer.future(b"answered"), infer.future(b"cancelled")
        calls = {call.payload: call for call in (held.calls.get(timeout=PATIENCE) for _ in range(2))}
        for payload, call in calls.items():
            call.watch(functools.partial(told.put, payload))
        calls[b"answered"].answer(b"answer")
        assert response.result(PATIENCE) == b"answer"
        gone.cancel()
        assert told.get(timeout=PATIENCE) == b"cancelled"
        calls[b"cancelled"].refuse(ShuttingDown("for the lane's own count"))
        assert told.empty()


def test_a_defect_of_the_handler_answers_its_calls_and_ends_nothing(caplog):
    class Broken(Held):
        def take(self, arrived):
            if arrived and arrived[0].payload == b"bad":
                raise ZeroDivisionError("secret")
            super().take(arrived)

    held = Broken()
    with running(held) as (_, lane, infer):
        response = infer.future(b"bad")
        assert response.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in response.details()
        assert "secret" in caplog.text
        response = infer.future(b"good")
        held.calls.get(timeout=PATIENCE).answer(b"answer")
        assert response.result(PATIENCE) == b"answer"
        assert lane.is_running()


def test_many_calls_that_arrive_together_are_handed_on_in_bounded_groups():
    """After `MAX_REQUESTS` the lane hands on what it has, so that it looks after the rest of its work."""

    class Counting(Held):
        def __init__(self):
            super().__init__()
            self.sizes = []

        def take(self, arrived):
            self.sizes.append(len(arrived))
            for call in arrived:
                call.answer(call.payload)

    counting = Counting()
    with running(counting) as (_, _, infer):
        responses = [infer.future(str(number).encode()) for number in range(1000)]
        assert [response.result(PATIENCE) for response in responses] == [str(n).encode() for n in range(1000)]
        assert sum(counting.sizes) == 1000
        assert max(counting.sizes) <= MAX_REQUESTS
