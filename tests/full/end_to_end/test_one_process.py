"""Our client, our server and tritonclient in one process, whichever is imported first."""

import subprocess
import sys

import pytest

PROBE = """
import importlib, sys
repository, *modules = sys.argv[1:]
for name in modules:
    importlib.import_module(name)

import grpc
import numpy as np
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rnnserve.client import Client
from rnnserve.server.testing import serve

walk = [[-1, -1], [-1, 1], [1, 1]]
with serve(repository) as server:
    with Client(server.address) as client:
        (ours,) = client.classify("direction_simple", [walk])
    tensor = triton.InferInput("input", [1, 3, 2], "FP32")
    tensor.set_data_from_numpy(np.array([walk], np.float32))
    with triton.InferenceServerClient(server.address) as client:
        answer = client.infer("direction_simple", [tensor])
        assert client.get_model_config("direction_simple").config.name == "direction_simple"
    np.testing.assert_array_equal(answer.as_numpy("logits")[0], ours.logits)
    assert answer.get_response().model_name == "direction_simple"
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
print("answered")
"""


@pytest.mark.parametrize(
    "modules",
    [
        ["rnnserve.client", "tritonclient.grpc"],
        ["tritonclient.grpc", "rnnserve.server"],
    ],
    ids=" then ".join,
)
def test_tritonclient_works_in_the_same_process(repository, modules):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(repository), *modules], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "answered\n"), done.stderr
