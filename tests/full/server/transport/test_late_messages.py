"""Calls whose messages do not arrive: which of them give way, and what they hear."""

import threading
from concurrent import futures
from typing import Any

import grpc
import pytest

from rnnserve.server.transport.late_messages import end_call

PATIENCE = 20.0
METHOD = "/test.Test/Take"


def test_a_client_hears_why_its_call_was_ended():
    """By grpcio's own means it would hear CANCELLED, with the message CANCELLED."""
    begun: list[grpc.ServicerContext] = []
    has_begun = threading.Event()

    def take(messages: Any, context: grpc.ServicerContext) -> bytes:
        begun.append(context)
        has_begun.set()
        return next(messages)

    handler = grpc.method_handlers_generic_handler("test.Test", {"Take": grpc.stream_unary_rpc_method_handler(take)})
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            may_end = threading.Event()
            send: Any = channel.stream_unary(METHOD)
            call = send.future(iter(lambda: may_end.wait(PATIENCE) and None, None), timeout=PATIENCE)
            assert has_begun.wait(PATIENCE)
            end_call(begun[0], "slow down")
            with pytest.raises(grpc.RpcError) as told:
                call.result()
            may_end.set()
        assert (told.value.code(), told.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
    finally:
        server.stop(0).wait(PATIENCE)
