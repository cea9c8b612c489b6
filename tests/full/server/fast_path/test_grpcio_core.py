"""Which thread reads the sockets: grpcio's own or the fast path's; and what is chosen before grpcio is imported."""

import contextlib
import os
import subprocess
import sys
import time
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kit.inference_requests import request
from kit.served import served
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.fast_path import grpcio_core
from rnnserve.server.fast_path.grpcio_core import ArrivalPace


@pytest.fixture
def clock(monkeypatch):
    """The clock of the module, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(grpcio_core, "now", lambda: clock.now)
    return clock


def arrive(pace, *connections):
    pace.note([SimpleNamespace(peer=lambda name=name: name) for name in connections])


@pytest.fixture
def pace(clock):
    """One that has heard a connection before, and some time ago."""
    pace = ArrivalPace()
    assert not pace.is_left_to_fast_path()  # none at all
    arrive(pace, "one")
    arrive(pace, "two")
    clock.now += 10
    return pace


def test_both_methods_are_answered_while_one_client_asks_again_and_again(repository):
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


SHOW = """
import os
from rnnserve.server.fast_path.grpcio_core import choose_polling
print(choose_polling(), os.environ.get("GRPC_EXPERIMENTS"))
"""


def said(code: str, **environment: str) -> tuple[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**kept, **environment},
    )
    return done.stdout.strip(), done.stderr.strip()


def test_the_users_own_choice_stays():
    assert said(SHOW, GRPC_EXPERIMENTS="x") == ("False x", "")


def test_it_is_too_late_once_grpc_is_imported():
    assert said(f"import grpc\n{SHOW}") == ("False None", "")


def test_importing_has_no_effect():
    """Neither that of the package, nor that of the command."""
    shown = "import os, sys, rnnserve.server, rnnserve.server.commands.serve, rnnserve.server.fast_path.grpcio_core; "
    shown += "print(os.environ.get('GRPC_EXPERIMENTS'), sorted({'grpc', 'onnxruntime', 'torch'} & sys.modules.keys()))"
    assert said(shown) == ("None []", "")
