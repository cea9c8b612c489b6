"""The lane's own loop, and what it needs of grpcio."""

import subprocess
import sys
from concurrent import futures

import grpc

from rnnserve.server.lane.completion_queue import missing_parts

STOP_AT_ONCE = """
import random, time
from concurrent import futures
import grpc
from rnnserve.server.lane import completion_queue

class Idle:
    def take(self, arrived): pass
    def work(self): return False

completion_queue._OUTSTANDING = 2000
for _ in range(60):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    one = completion_queue.Lane(server, "/a.B/C", Idle())
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
    assert "has no attribute" in str(missing_parts(object()))
