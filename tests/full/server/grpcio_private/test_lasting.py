"""A thread that takes calls goes on where there was no memory for one of them."""

from concurrent import futures
from typing import Any

import grpc
from grpc import _server

from kit.waiting import PATIENCE
from rnnserve.server.grpcio_private import lasting


def test_grpcios_thread_serves_on(monkeypatch):
    """Its first turns raise, as where the system gives no address space for a message's bytes."""
    module: Any = _server
    left = [MemoryError(), MemoryError()]
    serve = getattr(module._serve, "_serve", module._serve)

    def fails_at_first(state):
        if left:
            raise left.pop()
        serve(state)

    monkeypatch.setattr(module, "_serve", fails_at_first)
    assert lasting.make_serving_lasting()
    assert lasting.make_serving_lasting()  # once is enough
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/service/Method")
            call = method.future(b"", timeout=PATIENCE)
            assert call.code() == grpc.StatusCode.UNIMPLEMENTED
    finally:
        server.stop(0).wait()
    assert not left
