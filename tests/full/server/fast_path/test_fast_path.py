"""The fast path's own loop, and what it needs of grpcio."""

import contextlib
import queue
import subprocess
import sys

import grpc

from kit.fast_paths import Held, connected
from kit.waiting import PATIENCE, until

STOP_AT_ONCE = """
import random, time
from concurrent import futures
import grpc
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.fast_path import fast_path

class Idle:
    def take(self, arrived): pass
    def take_large(self, call): pass
    def work(self): return False
    def nap_seconds(self, calls): return 0.0

fast_path._OUTSTANDING = 2000
for _ in range(60):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    one = fast_path.FastPath(server, "/a.B/C", Idle(), ByteBudget(1 << 28))
    server.add_insecure_port("127.0.0.1:0")
    server.start()
    one.start()
    time.sleep(random.random() * 2e-3)
    one.stop_accepting()
    server.stop(0).wait()
    assert one.join(20)
"""


def test_fast_path_can_be_stopped_while_it_requests_calls():
    """A server that is destroyed meanwhile takes the process with it, one time in three without `stop_accepting`."""
    done = subprocess.run(
        [sys.executable, "-c", STOP_AT_ONCE], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def open_calls(channel, count):
    """Calls that send no message for now: each has a queue, from which its message comes."""
    messages = [queue.Queue() for _ in range(count)]
    stream = channel.stream_unary("/a.B/C")
    return messages, [stream.future(iter(one.get, None)) for one in messages]


def test_calls_whose_messages_do_not_arrive_do_not_block_others():
    held = Held()
    with connected(held) as (_, fast_path, channel), contextlib.ExitStack() as ends:
        infer = channel.unary_unary("/a.B/C")
        messages, calls = open_calls(channel, 300)
        ends.callback(lambda: [one.put(None) for one in messages])
        until(lambda: len(fast_path._unfinished) == len(calls))
        response = infer.future(b"question")
        call = held.calls.get(timeout=PATIENCE)
        assert call.payload == b"question"
        call.answer(b"answer")
        assert response.result(PATIENCE) == b"answer"
        messages[5].put(b"at last")
        call = held.calls.get(timeout=PATIENCE)
        assert call.payload == b"at last"
        call.answer(b"answer")
        assert calls[5].result(PATIENCE) == b"answer"
        for one in calls:
            one.cancel()


def test_late_calls_are_ended_oldest_first_with_a_message():
    held = Held()
    with connected(held) as (_, fast_path, channel), contextlib.ExitStack() as ends:
        messages, calls = open_calls(channel, 5)
        ends.callback(lambda: [one.put(None) for one in messages])
        until(lambda: len(fast_path._unfinished) == 5)
        assert fast_path.end_late(3) == 3
        until(lambda: sum(call.done() for call in calls) == 3)
        ended = [call for call in calls if call.done()]
        assert {call.code() for call in ended} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert {call.details() for call in ended} == {"the server is low on memory; send requests more slowly"}
        assert fast_path.end_late(3) == 2, "no call is ended twice"
        until(lambda: all(call.done() for call in calls))
        for call in calls:
            call.cancel()
