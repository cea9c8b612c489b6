"""What servers are sent over HTTP, and what is checked of their answers."""

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import http_measurement, preparation
from benchmarks.errors import MissingDependency, WrongAnswer
from benchmarks.http_requests import http_request
from benchmarks.http_servers import ENVIRONMENTS
from benchmarks.load_generators.large_json import large_body
from benchmarks.requests import BenchmarkRequest
from benchmarks.scenarios import SCENARIOS
from benchmarks.server_names import BENTOML, HTTP, LITSERVE, MLSERVER, MOSEC, TRITON_HTTP
from benchmarks.server_processes import cpu_seconds
from rnnserve.web.rest.infer_request import read_infer_request

WALK = BenchmarkRequest(np.array([[[1, 2], [3, 4]]], "f4"), np.array([[0.5, -0.25]], "f4"))
FORMS = [(scenario.load.generator, server) for scenario in SCENARIOS
         if scenario.load.generator in ("json", "binary") for server in scenario.servers]  # fmt: skip
LENGTH = "inference-header-content-length"


@pytest.mark.parametrize(("form", "server"), FORMS)
def test_every_server_is_sent_the_same_points(form, server):
    sent = http_request(server, form, "m", WALK)
    if sent.path.startswith("/v2/"):
        size = sent.fields.get(LENGTH)
        read, _ = read_infer_request(sent.body, None if size is None else int(size), "m", "")
        assert read.raw_input_contents[0] == WALK.input.tobytes()
    elif form == "json":
        np.testing.assert_array_equal(json.loads(sent.body)["input"], WALK.input)
    else:
        assert sent.body == WALK.input.tobytes()


@pytest.mark.parametrize("server", [LITSERVE, BENTOML, MLSERVER])
def test_servers_that_take_json_alone(server):
    with pytest.raises(ValueError, match="binary"):
        http_request(server, "binary", "m", WALK)


OUTPUT = {"name": "logits", "datatype": "FP32", "shape": [1, 2]}
HEAD = json.dumps({"outputs": [{**OUTPUT, "parameters": {"binary_data_size": 8}}]}).encode()
ANSWERS = [
    (HTTP, "json", {}, json.dumps({"outputs": [{**OUTPUT, "data": [0.5, -0.25]}]}).encode()),
    (TRITON_HTTP, "binary", {LENGTH: str(len(HEAD))}, HEAD + WALK.logits.tobytes()),
    (LITSERVE, "json", {}, b'{"logits": [[0.5, -0.25]]}'),
    (BENTOML, "json", {}, b"[[0.5, -0.25]]"),
    (MOSEC, "binary", {}, WALK.logits.tobytes()),
]


@pytest.fixture
def answering():
    """A server that answers what it is told to."""
    told = SimpleNamespace(status=200, fields={}, body=b"")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(told.status)
            for name, value in {**told.fields, "content-length": str(len(told.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        told.process = SimpleNamespace(name="it", port=server.server_port, check_alive=lambda: None)
        yield told
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("server", "form", "fields", "body"), ANSWERS)
def test_answers_are_compared_with_eagers(answering, monkeypatch, server, form, fields, body):
    monkeypatch.setattr(http_measurement, "_START_S", 0.0)
    asked = http_request(server, form, "m", WALK)
    answering.fields, answering.body = fields, body
    assert http_measurement._check_http_answers(answering.process, asked, WALK) == len(body)
    wrong = BenchmarkRequest(WALK.input, WALK.logits + 1)
    with pytest.raises(WrongAnswer, match="expected eager PyTorch's"):
        http_measurement._check_http_answers(answering.process, asked, wrong)
    answering.status = 500
    with pytest.raises(WrongAnswer, match="answers 500"):
        http_measurement._check_http_answers(answering.process, asked, WALK)


def test_a_peer_that_cannot_be_had_is_named_with_the_reason(monkeypatch):
    tried = []

    class Environment:
        def __init__(self, name):
            self.name = name

        def ensure(self):
            tried.append(self.name)
            if self.name == MOSEC:
                raise MissingDependency("no wheel")

    monkeypatch.setattr(preparation, "ENVIRONMENTS", {name: Environment(name) for name in ENVIRONMENTS})
    assert preparation.install_http_peers(["http_json"], [LITSERVE]) == {MOSEC: "no wheel"}
    assert set(tried) == set(ENVIRONMENTS) - {LITSERVE}
    assert preparation.install_http_peers(["throughput"], []) == {}


def test_the_large_body_has_16_mib_and_a_message_to_the_server_has_room_for_it():
    body = large_body()
    assert len(body) >= 16 << 20
    request, _ = read_infer_request(body, None, "m", "")
    assert len(request.SerializeToString()) < 4 << 20


def test_the_time_of_a_process_that_has_ended_meanwhile_is_left_out():
    with subprocess.Popen(["sleep", "60"]) as process:
        pids = [os.getpid(), process.pid]
        before = {pid: cpu_seconds([pid]) for pid in pids}
        process.kill()
    before[process.pid] = 1000.0
    assert 0 <= http_measurement._cpu_seconds_since(before, pids) < 10
