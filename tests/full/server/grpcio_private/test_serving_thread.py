"""grpcio's own thread is seen to make turns, and to make none while a handler is chosen on it."""

import threading
import time
from concurrent import futures

import grpc
import pytest

from rnnserve.server.grpcio_private.serving_thread import ServingThread


class Handlers(grpc.GenericRpcHandler):
    """Chooses no handler, after a while."""

    def __init__(self):
        self.may_go = threading.Event()
        self.is_asked = threading.Event()

    def service(self, _):
        self.is_asked.set()
        assert self.may_go.wait(20)


@pytest.fixture
def handlers():
    return Handlers()


@pytest.fixture
def server(handlers):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handlers,))
    yield server
    handlers.may_go.set()
    server.stop(0).wait()


def test_a_thread_that_waits_makes_turns_and_one_that_is_held_makes_none(server, handlers):
    watched = ServingThread(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/service/Method")
        call = method.future(b"", timeout=20)
        assert handlers.is_asked.wait(20)
        held = watched.turn()
        time.sleep(1.5)
        assert watched.turn() == held
        handlers.may_go.set()
        assert call.code() == grpc.StatusCode.UNIMPLEMENTED
    ends = time.monotonic() + 20
    while watched.turn() == held:
        assert time.monotonic() < ends
        time.sleep(0.1)
