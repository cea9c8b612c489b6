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

from kit.asking import Load
from kit.inference_requests import request
from kit.served import RNNSERVE, new_channel, served_process
from kit.tiny import call_for_factor, is_answered_by, publish_tiny
from kit.waiting import PATIENCE, until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc


@pytest.fixture(scope="module")
def two_workers(repository):
    """A server of two workers, for the tests that leave it as it was."""
    with served_process(repository, workers=2) as server:
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
def test_service_continues_when_a_worker_dies(two_workers):
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
def test_both_workers_answer(two_workers):
    """The log names the worker that refused a request."""
    logged = len(two_workers.log)
    for _ in range(60):
        assert ask(two_workers.port) == grpc.StatusCode.OK
        assert ask(two_workers.port, "nobody") == grpc.StatusCode.NOT_FOUND
    refused = re.compile(r"\[(\d+)\] rnnserve\.requests: .* status=NOT_FOUND ")
    until(lambda: set(map(int, refused.findall(two_workers.log[logged:]))) == set(two_workers.workers()))


@needs_proc
def test_workers_end_with_the_server(repository):
    with served_process(repository, workers=2) as server:
        workers = server.workers()
        assert len(workers) == 2
        assert server.end() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_server_ends_when_its_workers_cannot_start(tmp_path):
    (tmp_path / "direction_simple" / "1").mkdir(parents=True)
    command = [*RNNSERVE, "serve", str(tmp_path), "--no-http", "--grpc-port", "0", "--workers", "2"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert re.fullmatch(r"rnnserve serve: worker \d ended before it was ready, with exit status 1", last)
    assert "config.pbtxt: is missing" in run.stderr


def retried_call_for_factor(channel):
    """Retry once, as clients do if a call reaches a worker that ends. The channel stays with a worker that answers."""
    said = call_for_factor(channel)
    return call_for_factor(channel) if isinstance(said, str) and said.startswith("UNAVAILABLE") else said


@needs_proc
def test_sighup_keeps_models_whose_files_are_damaged(tmp_path):
    """A new worker could not load the damaged files, so the workers that have the model in memory stay."""
    root = tmp_path / "repository"
    publish_tiny(root, "scale", 1, 1.5)
    publish_tiny(root, "other", 1, 7.0)
    with (
        served_process(root, workers=2) as server,
        Load(server.port, 2, reconnect=True, pause=0.05, call=retried_call_for_factor).running() as load,
    ):
        before = server.workers()
        (root / "scale" / "1" / "model.onnx").write_bytes(b"nonsense")
        server.send(signal.SIGHUP)
        until(lambda: "could not serve the current models (scale: version 1)" in server.log)
        until(lambda: server.workers() == before)
        publish_tiny(root, "scale", 2, 2.5)
        server.send(signal.SIGHUP)
        until(lambda: is_answered_by(server.port, "2", 2.5))
    assert load.failed == {}
    assert load.said.keys() == {("1", 1.5), ("2", 2.5)}


@needs_proc
def test_workers_follow_load_and_unload_requests(tmp_path):
    root = tmp_path / "repository"
    publish_tiny(root, "scale", 1, 1.5)
    publish_tiny(root, "other", 1, 7.0)
    with served_process(root, workers=2, model_control="explicit", load_model="scale") as server:
        server.stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="other"))
        assert server.stub.ModelReady(pb.ModelReadyRequest(name="other")).ready
        until(lambda: readiness(server.port, "other") == {True})
        server.stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="scale"))
        until(lambda: readiness(server.port, "scale") == {False})
        first = server.workers()[0]
        os.kill(first, signal.SIGKILL)  # the next one begins with what clients have asked for
        until(lambda: "is ready again" in server.log)
        assert (readiness(server.port, "other"), readiness(server.port, "scale")) == ({True}, {False})


def readiness(port: int, name: str) -> set[bool]:
    """Return the answers of the workers on 20 connections."""
    met = set()
    for _ in range(20):
        with new_channel(port) as channel:
            met.add(rpc.GRPCInferenceServiceStub(channel).ModelReady(pb.ModelReadyRequest(name=name)).ready)
    return met


def test_sequence_step_at_another_worker_is_refused_with_a_remedy(two_workers):
    """A sequence_key leads to it from any connection, but not from any worker."""
    key = {"sequence_key": "a key of this test"}
    with new_channel(two_workers.port) as channel:
        step(channel, sequence_id=7, sequence_start=True, **key)
        step(channel, sequence_id=7, **key)
        said = set()
        for _ in range(40):
            with new_channel(two_workers.port) as other:
                try:
                    step(other, sequence_id=7, **key)
                except grpc.RpcError as error:
                    said.add((error.code(), error.details()))
        ((code, details),) = said
        assert code == grpc.StatusCode.NOT_FOUND
        assert "belongs to one of this server's 2 workers" in details
        assert "send all of its requests on one stream or connection" in details
        step(channel, sequence_id=7, sequence_end=True, **key)


def step(channel: grpc.Channel, **parameters) -> None:
    sent = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)})
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(sent.parameters[name], kind, value)
    rpc.GRPCInferenceServiceStub(channel).ModelInfer(sent, timeout=PATIENCE)
