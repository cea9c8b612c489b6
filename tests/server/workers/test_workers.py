"""Workers share a port, outlive one another, and end together."""

import contextlib
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

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.workers.supervisor import worker_count
from support.inference_requests import request
from support.running_processes import children_of, is_running
from support.waiting import PATIENCE, until


@contextlib.contextmanager
def serving(repository, *options):
    """`rnnserve serve --workers 2`: the process, its port, and where it logs."""
    command = [
        sys.executable,
        "-m",
        "rnnserve.cli",
        "serve",
        str(repository),
        "--no-http",
        "--grpc-port",
        "0",
        "--workers",
        "2",
    ]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        said = re.fullmatch(r"gRPC on 127\.0\.0\.1:(\d+)\n", line)
        assert said, (line, process.stderr.read())
        try:
            yield process, int(said[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)


def ask(port: int) -> grpc.StatusCode:
    """One request on a connection of its own: any worker may get it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        sent = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)})
        try:
            assert rpc.GRPCInferenceServiceStub(channel).ModelInfer(sent, timeout=PATIENCE).outputs
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers through /proc")


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_one_dies_and_the_service_does_not(repository, number):
    with serving(repository) as (process, port):
        before = children_of(process.pid)
        assert len(before) == 2
        met = Counter(ask(port) for _ in range(20))
        os.kill(before[0], number)
        met += Counter(ask(port) for _ in range(40))
        until(lambda: len(set(children_of(process.pid)) - set(before)) == 1)
        assert before[1] in children_of(process.pid)
        met += Counter(ask(port) for _ in range(20))
        # Connections that lay in the dead worker's hands fail, with the status that says "try again".
        assert met.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        assert met[grpc.StatusCode.UNAVAILABLE] <= 3


def test_both_workers_are_asked(repository):
    """Each counts what it has answered; together they have answered all."""
    with serving(repository) as (_, port):
        for _ in range(60):
            assert ask(port) == grpc.StatusCode.OK
        counts = {counted(port) for _ in range(60)}
        assert 0 not in counts
        assert sum(counts) == 60 or counts == {30}


def counted(port: int) -> int:
    """How many requests some worker has answered."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        asked = pb.ModelStatisticsRequest(name="direction_simple")
        (said,) = rpc.GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=PATIENCE).model_stats
        return said.inference_stats.success.count


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_they_end_together(repository, number):
    with serving(repository) as (process, _):
        workers = children_of(process.pid)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@needs_proc
def test_workers_do_not_outlive_a_supervisor_that_was_killed(repository):
    with serving(repository) as (process, _):
        workers = children_of(process.pid)
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not any(is_running(pid) for pid in workers))


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
