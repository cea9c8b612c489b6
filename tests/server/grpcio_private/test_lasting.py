"""A thread that takes calls goes on where there was no memory for one of them."""

from concurrent import futures
from typing import Any

import grpc
import pytest

from kit.waiting import PATIENCE
from rnnserve.server.grpcio_private import lasting


def test_work_is_done_again_until_it_returns(caplog):
    left, ended = [MemoryError(), MemoryError()], []

    def work():
        if left:
            raise left.pop()

    lasting.run_lasting(work, lambda: ended.append(1))
    assert ended == [1, 1]
    said = "a message was lost: there was no memory for it (thread MainThread)"
    assert [record.message for record in caplog.records] == [said] * 2


def test_another_error_is_not_suppressed():
    def work():
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        lasting.run_lasting(work, lambda: None)


def test_what_ends_the_lost_may_lack_memory_too():
    left: list[Exception] = [MemoryError()]

    def work():
        if left:
            raise left.pop()

    def end():
        raise MemoryError

    lasting.run_lasting(work, end)
    assert not left


def test_grpcios_thread_serves_on(monkeypatch):
    """Its first turns raise, as where the system gives no address space for a message's bytes."""
    module: Any = grpc._server  # type: ignore[attr-defined]
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


def test_a_grpcio_without_the_function_is_left_as_it_is(monkeypatch):
    monkeypatch.delattr(grpc._server, "_serve")  # type: ignore[attr-defined]
    assert not lasting.make_serving_lasting()
