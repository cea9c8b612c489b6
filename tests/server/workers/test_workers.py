"""Workers share a port, outlive one another, and end together."""

import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.served import RNNSERVE, new_channel, served
from kit.waiting import PATIENCE, until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc


@pytest.fixture(scope="module")
def two_workers(repository):
    """A server of two workers, for the tests that leave it as it was."""
    with served(repository, "process", workers=2) as server:
        yield server


def ask(port: int, model: str = "direction_simple") -> grpc.StatusCode:
    """One request on a connection of its own: any worker may get it."""
    with new_channel(port) as channel:
        sent = request(model, {"input": np.zeros((1, 3, 2), np.float32)})
        try:
            assert rpc.GRPCInferenceServiceStub(channel).ModelInfer(sent, timeout=PATIENCE).outputs
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers through /proc")


@needs_proc
def test_one_dies_and_the_service_does_not(two_workers):
    before, replaced = two_workers.workers(), two_workers.log.count("is ready again")
    assert len(before) == 2
    met = Counter(ask(two_workers.port) for _ in range(20))
    os.kill(before[0], signal.SIGKILL)
    met += Counter(ask(two_workers.port) for _ in range(40))
    until(lambda: len(set(two_workers.workers()) - set(before)) == 1)
    assert before[1] in two_workers.workers()
    met += Counter(ask(two_workers.port) for _ in range(20))
    # Connections that lay in the dead worker's hands fail, with the status that says "try again".
    assert met.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert met[grpc.StatusCode.UNAVAILABLE] <= 3
    until(lambda: two_workers.log.count("is ready again") == replaced + 1)


@needs_proc
def test_both_workers_are_asked(two_workers):
    """The log names the one that has refused a request; and either tells what all together have answered."""
    logged, before = len(two_workers.log), counted(two_workers.port)
    for _ in range(60):
        assert ask(two_workers.port) == grpc.StatusCode.OK
        assert ask(two_workers.port, "nobody") == grpc.StatusCode.NOT_FOUND
    assert {counted(two_workers.port) for _ in range(20)} == {before + 60}
    refused = re.compile(r"\[(\d+)\] rnnserve\.requests: .* status=NOT_FOUND ")
    until(lambda: set(map(int, refused.findall(two_workers.log[logged:]))) == set(two_workers.workers()))


def counted(port: int) -> int:
    """How many requests all workers have answered, as some worker tells it."""
    with new_channel(port) as channel:
        asked = pb.ModelStatisticsRequest(name="direction_simple")
        (said,) = rpc.GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=PATIENCE).model_stats
        return said.inference_stats.success.count


@needs_proc
def test_they_end_together(repository):
    with served(repository, "process", workers=2) as server:
        workers = server.workers()
        assert len(workers) == 2
        assert server.end() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_that_cannot_start_are_the_end_of_it(tmp_path):
    (tmp_path / "direction_simple" / "1").mkdir(parents=True)
    command = [*RNNSERVE, "serve", str(tmp_path), "--no-http", "--grpc-port", "0", "--workers", "2"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert re.fullmatch(r"rnnserve serve: worker \d ended before it was ready, with exit status 1", last)
    assert "config.pbtxt: is missing" in run.stderr
