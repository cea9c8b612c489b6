"""Calls on the fast path, without the fast path, and a fast path on a server of its own, without models."""

import contextlib
import math
import queue
from concurrent import futures

import grpc
import numpy as np

from kit.inference_requests import request
from kit.waiting import PATIENCE
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.errors import ServeError
from rnnserve.server.fast_path.calls import UnaryCall
from rnnserve.server.fast_path.fast_path import FastPath


class FakeCall(UnaryCall):
    """A call that keeps what it is answered, and who wants to hear of its end."""

    def __init__(self, payload: bytes, peer: str = "a", deadline: float = math.inf) -> None:
        super().__init__(None, None, deadline)
        self.payload = payload
        self._peer = peer
        self.answers: list[bytes | ServeError] = []
        self.on_cancel = None

    @property
    def is_watched(self):
        return self.on_cancel is not None

    def peer(self):
        return self._peer

    def watch(self, on_cancel):
        assert not self.is_watched
        self.on_cancel = on_cancel

    def answer(self, payload):
        self.answers.append(payload)

    refuse = answer


def asks(name="direction_simple", sequence=3, id="", **more):
    """A call for one row of so many steps."""
    sent = request(name, {"input": np.zeros((1, sequence, 2), np.float32)}, ["logits"], id=id)
    return FakeCall(sent.SerializeToString(), **more)


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
    """A fast path on a server of its own: the server, the fast path, and a client's channel."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    fast_path = FastPath(server, "/a.B/C", handler, budget or ByteBudget(1 << 28))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    fast_path.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, fast_path, channel
        fast_path.stop_accepting()
        server.stop(0).wait()
        assert fast_path.join(PATIENCE)


@contextlib.contextmanager
def running(handler, budget=None):
    """A fast path on a server of its own: the server, the fast path, and a client's call of its method."""
    with connected(handler, budget) as (server, fast_path, channel):
        yield server, fast_path, channel.unary_unary("/a.B/C")
