"""A server on a lowered graph: metadata, the bits of its responses, sequences, sessions and workers."""

import itertools
import json

import numpy as np
import pytest

from kit.inference_requests import arrays, request
from kit.served import served
from rnnserve.client import Client
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.repository.findings import NATIVE, SCANNED

NAME, BOTH_WAYS = "direction_stacked", "direction_bidirectional"


@pytest.fixture(scope="module")
def scanned(repository, session_key):
    """A server on which every model runs on its lowered graph."""
    with served(repository, graph=SCANNED, session_key=session_key) as server:
        yield server


@pytest.fixture(scope="module")
def stub(scanned):
    return scanned.stub


def properties(stub, name=NAME):
    return stub.ModelMetadata(pb.ModelMetadataRequest(name=name)).properties


def walk(rows, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (rows, steps, 2)).astype(np.float32)


def test_metadata_name_the_serving_graph_and_the_reason(stub):
    said = properties(stub)
    assert (said["graph"], said["graph_reason"]) == ("scan", "since scan was asked for")
    nodes = json.loads(said["nodes"])["CPUExecutionProvider"]
    assert "RNN" not in nodes
    assert nodes["Scan"] == 2


def test_responses_equal_those_of_the_native_graph_except_last_bits(stub, repository):
    with served(repository, graph=NATIVE) as native:
        for name in ("direction_simple", NAME, BOTH_WAYS):
            sent = request(name, {"input": walk(5, 9), "lengths": np.array([9, 1, 4, 9, 7])})
            found, expected = arrays(stub.ModelInfer(sent)), arrays(native.stub.ModelInfer(sent))
            assert found.keys() == expected.keys()
            for output, array in found.items():
                np.testing.assert_allclose(array, expected[output], rtol=0, atol=2e-4)
            assert not found["output"][1, 1:].any()


def test_sequence_in_parts_has_the_bits_of_the_whole(scanned, stub):
    assert properties(stub)["continuable"] == "true"
    assert properties(stub)["sequences"] == "kept"
    assert properties(stub, BOTH_WAYS)["continuable"] == "false"
    points = walk(1, 12)
    with Client(scanned.address) as client:
        (whole,) = client.predict(NAME, [points[0]])
        for state in ("carried", "sealed"):
            with client.session(NAME, state=state) as session:
                steps = [session.step(point)["logits"] for point in points[0]]
            assert steps[-1].tobytes() == whole["logits"].tobytes(), state
    for number, cuts in enumerate((list(range(13)), [0, 5, 12])):
        for start, stop in itertools.pairwise(cuts):
            sent = request(NAME, {"input": points[:, start:stop]})
            sent.parameters["sequence_id"].int64_param = 70 + number
            sent.parameters["sequence_start"].bool_param = start == 0
            sent.parameters["sequence_end"].bool_param = stop == 12
            answer = arrays(stub.ModelInfer(sent))
        assert answer["logits"][0].tobytes() == whole["logits"].tobytes(), cuts
