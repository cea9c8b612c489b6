"""What `/metrics` says of two workers is what their clients have counted, after one was killed, too."""

import collections
import contextlib
import os
import re
import signal
import urllib.request

import grpc
import numpy as np
import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from support.inference_requests import request
from support.waiting import PATIENCE, until
from support.workers import Load, new_channel, serving

SIMPLE = "direction_simple"


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = reply.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def requests(found):
    """By model and status, how many requests were answered."""
    told = re.compile(r'rnnserve_requests_total\{model="(\w+)",version="\d*",protocol="\w+",code="(\w+)"\}')
    counted = collections.Counter()
    for name, value in found.items():
        if value and (match := told.fullmatch(name)):
            counted[match.groups()] += value
    return dict(counted)


@pytest.fixture(scope="module")
def served(repository, tmp_path_factory):
    """The server of two workers, and where its metrics are: of HTTP, and a port of their own."""
    folder = tmp_path_factory.mktemp("metrics")
    options = ("--workers", "2", "--http-port", "0", "--metrics-port", "0")
    with serving(repository, folder, *options) as server:
        addresses = [server.process.stdout.readline().split()[-1] for _ in range(2)]
        yield server, *addresses
        assert "Traceback" not in server.log


def statistics(channel):
    asked = pb.ModelStatisticsRequest(name=SIMPLE)
    (said,) = rpc.GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=PATIENCE).model_stats
    return said


def refused(stub, message):
    """The status that a request is refused with; OK where it is not."""
    try:
        stub.ModelInfer(message, timeout=PATIENCE)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_counts_are_the_clients_after_a_worker_was_killed(served):
    server, by_http, by_port = served
    walk = {"input": np.zeros((1, 3, 2), np.float32)}
    with contextlib.ExitStack() as stack:
        stubs = [rpc.GRPCInferenceServiceStub(stack.enter_context(new_channel(server.port))) for _ in range(8)]
        for stub in stubs:
            assert refused(stub, request("no_such_model", walk)) == "NOT_FOUND"
            assert refused(stub, request(SIMPLE, {"input": np.zeros((1, 3, 5), np.float32)})) == "INVALID_ARGUMENT"
    with Load(server.port, clients=4, reconnect=True).running() as load:
        until(lambda: load.answered() >= 200)
    assert not load.failed
    before = {("other", "NOT_FOUND"): 8, (SIMPLE, "INVALID_ARGUMENT"): 8, (SIMPLE, "OK"): load.answered()}
    assert requests(scrape(by_port)) == before
    assert scrape(by_http) == scrape(by_port)

    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)  # at once after its last answer: it has told no one what it has counted
    until(lambda: "is ready again" in server.log)
    with Load(server.port, clients=4, reconnect=True).running() as more:
        until(lambda: more.answered() >= 50)
    assert not more.failed
    answered = load.answered() + more.answered()
    found = scrape(by_port)
    assert requests(found) == {**before, (SIMPLE, "OK"): answered}
    labels = f'{{model="{SIMPLE}",version="1"}}'
    for name in ("request", "queue"):
        assert found[f"rnnserve_{name}_duration_seconds_count{labels}"] == answered
    assert found[f"rnnserve_steps_total{labels}"] == 3 * answered
    assert found['rnnserve_worker_restarts_total{reason="died"}'] == 1
    assert found[f"nv_inference_request_success{labels}"] == answered
    with new_channel(server.port) as channel:
        said = statistics(channel)
    stats = said.inference_stats
    assert (stats.success.count, stats.fail.count, said.inference_count) == (answered, 8, answered)
    assert said.execution_count == found[f"nv_inference_exec_count{labels}"]


def test_names_that_clients_make_up_make_no_series(served):
    server, _, by_port = served
    before = scrape(by_port)
    with new_channel(server.port) as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        calls = [
            stub.ModelInfer.future(pb.ModelInferRequest(model_name=f"{number} \n\"'"), timeout=PATIENCE)
            for number in range(500)
        ]
        assert {call.code().name for call in calls if call.exception()} == {"NOT_FOUND"}
    after = scrape(by_port)
    assert after.keys() == before.keys()
    assert sum(requests(after).values()) - sum(requests(before).values()) == 500
