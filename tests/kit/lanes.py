"""A lane on a server of its own, without models."""

import contextlib
import queue
from concurrent import futures

import grpc

from kit.waiting import PATIENCE
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.lane.completion_queue import Lane

__all__ = ["Held", "connected", "running"]


class Held:
    """Keeps calls until the test answers them."""

    def __init__(self):
        self.calls, self.large = queue.Queue(), queue.Queue()
        self.failure = None

    def take_large(self, call):
        if self.failure is not None:
            raise self.failure
        self.large.put(call)

    def take(self, arrived):
        for call in arrived:
            self.calls.put(call)

    def work(self):
        return False

    def nap_seconds(self, _):
        return 0.0


@contextlib.contextmanager
def connected(handler, budget=None):
    """A lane on a server of its own: the server, the lane, and a client's channel."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    lane = Lane(server, "/a.B/C", handler, budget or ByteBudget(1 << 28), print)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    lane.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, lane, channel
        lane.stop_accepting()
        server.stop(0).wait()
        lane.join(PATIENCE)
        assert not lane.is_running()


@contextlib.contextmanager
def running(handler, budget=None):
    """A lane on a server of its own: the server, the lane, and a client's call of its method."""
    with connected(handler, budget) as (server, lane, channel):
        yield server, lane, channel.unary_unary("/a.B/C")
