"""What servers are sent over HTTP, and what is checked of their answers."""

import json

import numpy as np

from benchmarks.http_requests import http_request
from benchmarks.requests import BenchmarkRequest
from benchmarks.scenarios import SCENARIOS
from rnnserve.web.rest.infer_request import read_infer_request

WALK = BenchmarkRequest(np.array([[[1, 2], [3, 4]]], "f4"), np.array([[0.5, -0.25]], "f4"))
FORMS = [(scenario.load.generator, server) for scenario in SCENARIOS
         if scenario.load.generator in ("json", "binary") for server in scenario.servers]  # fmt: skip
LENGTH = "inference-header-content-length"


def test_every_server_is_sent_the_same_points():
    for form, server in FORMS:
        sent = http_request(server, form, "m", WALK)
        if sent.path.startswith("/v2/"):
            size = sent.fields.get(LENGTH)
            read, _ = read_infer_request(sent.body, None if size is None else int(size), "m", "")
            assert read.raw_input_contents[0] == WALK.input.tobytes()
        elif form == "json":
            np.testing.assert_array_equal(json.loads(sent.body)["input"], WALK.input)
        else:
            assert sent.body == WALK.input.tobytes()
