"""Workers share a port, outlive one another, and end together."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.running_processes import is_running
from kit.waiting import PATIENCE, until
from kit.workers import new_channel, serving
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.workers.supervisor import worker_count


@pytest.fixture(scope="module")
def served(repository, tmp_path_factory):
    """A server of two workers for the tests that leave it as it was."""
    with serving(repository, tmp_path_factory.mktemp("workers"), "--workers", "2") as server:
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
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_one_dies_and_the_service_does_not(served, number):
    before, replaced = served.workers(), served.log.count("is ready again")
    assert len(before) == 2
    met = Counter(ask(served.port) for _ in range(20))
    os.kill(before[0], number)
    met += Counter(ask(served.port) for _ in range(40))
    until(lambda: len(set(served.workers()) - set(before)) == 1)
    assert before[1] in served.workers()
    met += Counter(ask(served.port) for _ in range(20))
    # Connections that lay in the dead worker's hands fail, with the status that says "try again".
    assert met.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert met[grpc.StatusCode.UNAVAILABLE] <= 3
    until(lambda: served.log.count("is ready again") == replaced + 1)


@needs_proc
def test_both_workers_are_asked(served):
    """The log names the one that has refused a request; and either tells what all together have answered."""
    logged, before = len(served.log), counted(served.port)
    for _ in range(60):
        assert ask(served.port) == grpc.StatusCode.OK
        assert ask(served.port, "nobody") == grpc.StatusCode.NOT_FOUND
    assert {counted(served.port) for _ in range(20)} == {before + 60}
    refused = re.compile(r"\[(\d+)\] rnnserve\.requests: .* status=NOT_FOUND ")
    until(lambda: set(map(int, refused.findall(served.log[logged:]))) == set(served.workers()))


def counted(port: int) -> int:
    """How many requests all workers have answered, as some worker tells it."""
    with new_channel(port) as channel:
        asked = pb.ModelStatisticsRequest(name="direction_simple")
        (said,) = rpc.GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=PATIENCE).model_stats
        return said.inference_stats.success.count


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_they_end_together(repository, tmp_path, number):
    with serving(repository, tmp_path, "--workers", "2") as server:
        workers = server.workers()
        assert len(workers) == 2
        server.send(number)
        assert server.process.wait(PATIENCE) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@needs_proc
def test_workers_do_not_outlive_a_supervisor_that_was_killed(repository, tmp_path):
    with serving(repository, tmp_path, "--workers", "2") as server:
        workers = server.workers()
        assert len(workers) == 2
        server.process.kill()
        server.process.wait(PATIENCE)
        until(lambda: not any(is_running(pid) for pid in workers))
        server.process.returncode = 0  # it is not asked to end once more


def test_workers_that_cannot_start_are_the_end_of_it(tmp_path):
    (tmp_path / "direction_simple" / "1").mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "rnnserve.cli",
        "serve",
        str(tmp_path),
        "--no-http",
        "--grpc-port",
        "0",
        "--workers",
        "2",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert re.fullmatch(r"rnnserve serve: worker \d ended before it was ready, with exit status 1", last)
    assert "config.pbtxt: is missing" in run.stderr


@pytest.mark.parametrize("asked", ["0", "-1", "two", "", "1.5"])
def test_a_number_of_workers(asked):
    with pytest.raises(ValueError, match="neither auto nor a number"):
        worker_count(asked)
    assert worker_count("auto") >= 1
    assert worker_count("3") == 3
