"""Which thread reads the sockets: grpcio's own, or the fast path's."""

import contextlib
import time
from concurrent import futures
from typing import Any

import numpy as np

from kit.inference_requests import request
from kit.served import served
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc


def test_both_methods_are_answered_while_one_client_calls_continuously(repository):
    """And a client beside it, of another method, whose thread leaves the sockets to the fast path's."""
    with served(repository) as running, contextlib.ExitStack() as stack:
        channels = [stack.enter_context(running.channel()) for _ in range(2)]
        stubs = [rpc.GRPCInferenceServiceStub(channel) for channel in channels]
        pool = stack.enter_context(futures.ThreadPoolExecutor(1))
        message = request("direction_simple", {"input": np.zeros((1, 1, 2), np.float32)}, ["logits"])
        fast_path: Any = running.server._transport._transport
        pace = fast_path._pace
        seen = []

        def ask():
            deadline = time.monotonic() + 30
            while len(seen) < 5 and time.monotonic() < deadline:
                stubs[0].ModelInfer(message)
            return len(seen)

        asking = pool.submit(ask)
        for _ in range(5):
            until(pace.is_left_to_fast_path)
            time.sleep(0.15)  # the other thread's own calls are long past
            seen.append(stubs[1].ServerLive(pb.ServerLiveRequest(), timeout=20).live)
        assert asking.result() == 5
        assert all(seen)
        until(lambda: not pace.is_left_to_fast_path())
        assert stubs[1].ServerLive(pb.ServerLiveRequest(), timeout=20).live
        assert stubs[0].ModelInfer(message, timeout=20).outputs
