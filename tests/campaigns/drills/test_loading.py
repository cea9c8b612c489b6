"""Bad versions next to a good version, with a real `rnnserve serve`: the good version soon serves, and goes on."""

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from campaigns.drills.drilled import Memory
from kit.bad_versions import BAD_GRAPHS, SAMPLE, publish_good
from kit.inference_requests import arrays, request
from kit.served import ServedProcess, served_process
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

PATIENCE = 60.0
"""Seconds that anything may take before a drill fails. All of it takes a tenth of that on an idle machine."""

MOST_BYTES = 700 << 20


def asked(stub) -> None:
    answer = stub.ModelInfer(request("good", SAMPLE), timeout=PATIENCE)
    np.testing.assert_array_equal(arrays(answer)["output"], 2 * SAMPLE["input"])


def index(stub) -> dict[str, tuple[str, str]]:
    models = stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=PATIENCE).models
    return {model.name: (model.state, model.reason) for model in models}


def all_tried(stub) -> dict[str, tuple[str, str]]:
    """Send requests to the good model until all versions have been checked."""
    deadline = time.monotonic() + 3 * PATIENCE
    while "LOADING" in {state for state, _ in index(stub).values()}:
        assert time.monotonic() < deadline
        asked(stub)
        time.sleep(0.02)
    return index(stub)


def check_log(server: ServedProcess, bad: set[str]) -> None:
    """Check that the log has a line for each bad version, and only log lines."""
    lines = server.log.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d .* (INFO|WARNING|ERROR) ", line) for line in lines), lines
    errors = [line for line in lines if " ERROR " in line]
    named = [re.search(r"loader: (?:Not serving )?(\w+)(?: version 1)?: ", line) for line in errors]
    assert sorted(found[1] for found in named if found) == sorted(bad), errors


@pytest.fixture
def loading(tmp_path):
    """Publishes bad versions next to the good version, and serves all."""
    with contextlib.ExitStack() as stack:

        def start(bad: dict, **options: Any) -> ServedProcess:
            root = tmp_path / "repository"
            publish_good(root, "good")
            for name, (plant, _) in bad.items():
                plant(root, name)
            return stack.enter_context(served_process(root, **options))

        yield start


def test_graph_that_crashes_or_blocks_a_process_does_not_stop_serving(loading):
    process = loading(BAD_GRAPHS, load_timeout=6, ready="all")
    with process.channel() as channel, Memory(process.process.pid) as memory:
        stub = rpc.GRPCInferenceServiceStub(channel)
        asked(stub)
        states = all_tried(stub)
        assert states.pop("good") == ("READY", "")
        for name, (state, reason) in states.items():
            assert state == "UNAVAILABLE", name
            assert re.fullmatch(BAD_GRAPHS[name][1], reason), (name, reason)
        assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE).ready
    assert memory.peak < MOST_BYTES
    assert memory.now < 200 << 20
    assert process.children() == []
    check_log(process, set(BAD_GRAPHS))


def test_version_that_never_loads_does_not_block_other_models(loading):
    """Ten such versions precede the good one by name. The server as a whole isn't ready until all have been checked."""
    endless = {f"endless_{number}": BAD_GRAPHS["endless"] for number in range(10)}
    process = loading(endless)
    with process.channel() as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        longest, began = 0.0, time.monotonic()
        while time.monotonic() - began < 3:
            before = time.monotonic()
            asked(stub)
            longest = max(longest, time.monotonic() - before)
        assert stub.ModelReady(pb.ModelReadyRequest(name="good"), timeout=PATIENCE).ready
        assert not any(stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=PATIENCE).ready for name in endless)
        assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE).ready
        states = index(stub)
        assert states["good"] == ("READY", "")
        assert {state for name, (state, _) in states.items() if name != "good"} == {"LOADING"}
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request("endless_3", SAMPLE), timeout=PATIENCE)
        assert refused.value.details() == 'model "endless_3" is not served: version 1: is loading'
    assert longest < PATIENCE / 4
    check_log(process, set())


def test_server_stopped_while_loading_leaves_no_process(loading):
    process = loading({"endless": BAD_GRAPHS["endless"]})
    (tries,) = process.children()
    assert process.end() == 0
    assert not Path(f"/proc/{tries}").exists()


def test_stop_signal_during_the_first_load_ends_the_server(tmp_path):
    BAD_GRAPHS["endless"][0](tmp_path / "repository", "endless")
    with contextlib.closing(ServedProcess(tmp_path / "repository", provider=None)) as process:
        until(lambda: "took cpu" in process.log)  # the load starts after this line
        assert process.end() == 0
        assert process.process.stdout.read() == ""
        assert "Traceback" not in process.log


def test_workers_serve_the_good_model_beside_a_bad_one(loading):
    process = loading({"endless": BAD_GRAPHS["endless"], "aborting": BAD_GRAPHS["aborting"]}, workers=2)
    for _ in range(8):
        with process.channel() as channel:
            asked(rpc.GRPCInferenceServiceStub(channel))
    assert "Traceback" not in process.log
