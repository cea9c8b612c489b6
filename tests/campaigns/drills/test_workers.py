"""Workers that die or restart under load, signals, and shutdown within the grace period."""

import functools
import os
import signal
import time
from typing import Any

import grpc
import numpy as np
import pytest

from kit.asking import Load, ask
from kit.inference_requests import request
from kit.running_processes import is_running
from kit.served import ServedProcess, new_channel, served_process
from kit.waiting import PATIENCE, until
from rnnserve.protos import inference_pb2_grpc as rpc

TWO = ("--workers", "2")


def are_ready_again(server: ServedProcess, count: int) -> bool:
    """Whether this number of workers have been replaced so far."""
    return server.log.count("is ready again") == count


def test_replacement_worker_listens_only_after_loading(repository, tmp_path):
    """Clients connect again for each request while one worker after another is killed."""
    with served_process(repository, options=TWO) as server, Load(server.port, 4, reconnect=True).running() as load:
        for count in range(3):
            os.kill(server.workers()[0], signal.SIGKILL)
            until(functools.partial(are_ready_again, server, count + 1))
    assert load.answered() > 100
    # Requests in hand, and connections made before the kernel closes the dead process's sockets: it frees its memory
    # first, which takes milliseconds, in which a client may meet it more than once.
    assert sum(load.failed.values()) <= 3 * 4 * 4
    assert all(said.startswith("UNAVAILABLE") for said in load.failed)
    assert not [said for said in load.failed if "is loading" in said or "does not serve" in said]
    assert "Traceback" not in server.log


@pytest.mark.parametrize("reconnect", [False, True])
def test_rolling_restart_fails_almost_no_request(repository, tmp_path, reconnect):
    """SIGHUP under load, with clients that keep their connections and clients that don't."""
    with (
        served_process(repository, options=(*TWO, "--max-connection-age", "2")) as server,
        Load(server.port, 8, reconnect=reconnect).running() as load,
    ):
        before = server.workers()
        until(lambda: load.answered() > 100)
        server.send(signal.SIGHUP)
        until(lambda: not any(is_running(pid) for pid in before))
        print(load.failed)
        load.goes_on(100)
        assert len(server.workers()) == 2
    assert all(said.startswith("UNAVAILABLE") for said in load.failed), load.failed
    assert sum(load.failed.values()) <= 2 * 8, load.failed
    assert "Traceback" not in server.log
    assert "E0000" not in server.log  # gRPC's own errors


HANG = """
import time
from typing import Any
from rnnserve.server.fast_path import dispatcher

run = dispatcher.run_pending

def run_or_hang(model, batch):
    if any(pending.steps == 78 for pending in batch):
        time.sleep(3600)
    run(model, batch)

dispatcher.run_pending = run_or_hang
dispatcher._shared_prefix = lambda calls: None
"""
"""A run of 78 steps hangs on the thread that takes requests."""


def hang(channel: grpc.Channel) -> Any:
    """Send a request that hangs."""
    sent = request("direction_stacked", {"input": np.zeros((1, 78, 2), np.float32)})
    return rpc.GRPCInferenceServiceStub(channel).ModelInfer.future(sent, timeout=2 * PATIENCE)


ANY_KIND = pytest.mark.parametrize(
    "options", [(*TWO, "--plain"), ("--plain",), ()], ids=["plain workers", "plain", "fast path"]
)


@ANY_KIND
def test_server_ends_when_the_grace_period_is_over(repository, tmp_path, options):
    """With an endless inference call in flight, and a call that was only opened."""
    with (
        served_process(repository, options=(*options, "--grace", "0.5"), patch=HANG) as server,
        new_channel(server.port) as channel,
    ):
        half_open = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer").future(endless())
        hung = hang(channel)
        ask(channel, 2.0)
        assert server.end() == 0
        assert hung.code() == half_open.code() == grpc.StatusCode.UNAVAILABLE  # and not CANCELLED
    assert "These did not end within the grace period of 0.5 s" in server.log
    assert "is killed" not in server.log


def endless():
    """A stream of requests that neither sends one nor ends."""
    time.sleep(PATIENCE)
    yield b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_signal_is_lost(repository, tmp_path, number):
    for _ in range(10):
        with served_process(repository, plain=True) as server:
            assert server.end(number) == 0
