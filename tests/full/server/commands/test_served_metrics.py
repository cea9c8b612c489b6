"""What `/metrics` says of two workers is what their clients have counted, after one was killed, too."""

import collections
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import urllib.request

import grpc
import numpy as np
import pytest

from kit.asking import Load
from kit.inference_requests import request
from kit.served import new_channel, served_process
from kit.waiting import PATIENCE, until
from rnnserve.protos import inference_pb2_grpc as rpc

SIMPLE = "direction_simple"
PAUSE = 0.02
"""Seconds: what is counted is the same at any rate, and clients without a pause take the cores from what they ask."""


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = reply.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def requests(found):
    """By model, protocol and status, how many requests were answered."""
    told = re.compile(r'rnnserve_requests_total\{code="(\w+)",model="(\w+)",protocol="(\w+)",version="\d*"\}')
    return {
        (match[2], match[3], match[1]): value
        for name, value in found.items()
        if value and (match := told.fullmatch(name))
    }


STATUSES = {200: "OK", 400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}


def over_http(address, model, features, *, points=3, count=1, headers=None):
    """Ask over HTTP, on one connection. The statuses in gRPC's names."""
    data = [[[0.0] * features] * points]
    body = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, points, features], "data": data}]})
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    said = []
    for _ in range(count):
        connection.request("POST", f"/v2/models/{model}/infer", body, headers or {})
        reply = connection.getresponse()
        reply.read()
        said.append(STATUSES[reply.status])
    connection.close()
    return said


@pytest.fixture
def scraped(repository):
    """The server of two workers, and where its metrics are: of HTTP, and a port of their own."""
    with served_process(repository, workers=2, http_port=0, metrics_port=0) as server:
        yield server, server.http_address, server.metrics_address
        assert "Traceback" not in server.log


def refused(stub, message):
    """The status that a request is refused with; OK where it is not."""
    try:
        stub.ModelInfer(message, timeout=PATIENCE)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_counts_match_the_clients_after_a_worker_was_killed(scraped):
    server, by_http, by_port = scraped
    walk = {"input": np.zeros((1, 3, 2), np.float32)}
    with contextlib.ExitStack() as stack:
        stubs = [rpc.GRPCInferenceServiceStub(stack.enter_context(new_channel(server.port))) for _ in range(8)]
        for stub in stubs:
            assert refused(stub, request("no_such_model", walk)) == "NOT_FOUND"
            assert refused(stub, request(SIMPLE, {"input": np.zeros((1, 3, 5), np.float32)})) == "INVALID_ARGUMENT"
    with Load(server.port, clients=4, reconnect=True, pause=PAUSE).running() as load:
        until(lambda: load.answered() >= 200)
        over = [over_http(by_http, SIMPLE, 2, count=3) for _ in range(6)]  # workers share connections
        over += [over_http(by_http, SIMPLE, 5, count=2), over_http(by_http, "no_such_model", 2, count=4)]
        over.append(over_http(by_http, SIMPLE, 2, points=3000))  # in a call of its own, being large
        over.append(over_http(by_http, SIMPLE, 2, headers={"Authorization": "Bearer x"}))  # likewise
        over.append(over_http(by_http, SIMPLE, 5, headers={"Authorization": "Bearer x"}))
    assert not load.failed
    told = collections.Counter(itertools.chain.from_iterable(over))
    assert told == {"OK": 20, "INVALID_ARGUMENT": 3, "NOT_FOUND": 4}
    before = {
        ("other", "grpc", "NOT_FOUND"): 8,
        ("other", "http", "NOT_FOUND"): 4,
        (SIMPLE, "grpc", "INVALID_ARGUMENT"): 8,
        (SIMPLE, "http", "INVALID_ARGUMENT"): 3,
        (SIMPLE, "grpc", "OK"): load.answered(),
        (SIMPLE, "http", "OK"): 20,
    }
    assert requests(scrape(by_port)) == before
    assert without_gauges(scrape(by_http)) == without_gauges(scrape(by_port))

    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)  # at once after its last answer: it has told no one what it has counted
    until(lambda: "is ready again" in server.log)
    with Load(server.port, clients=4, reconnect=True, pause=PAUSE).running() as more:
        until(lambda: more.answered() >= 50)
    assert not more.failed
    answered = load.answered() + more.answered()
    found = scrape(by_port)
    assert requests(found) == {**before, (SIMPLE, "grpc", "OK"): answered}
    answered += 20
    labels = f'{{model="{SIMPLE}",version="1"}}'
    for name in ("request", "queue"):
        assert found[f"rnnserve_{name}_duration_seconds_count{labels}"] == answered
    assert found[f"rnnserve_steps_total{labels}"] == 3 * answered + 2997
    assert found['rnnserve_worker_restarts_total{reason="died"}'] == 1
    assert found[f"nv_inference_request_success{labels}"] == answered


def without_gauges(found):
    """What does not change from one moment to the next."""
    return {
        name: value for name, value in found.items() if not re.match("rnnserve_(held_bytes|requests_in_flight)", name)
    }
