"""Sequences of a model that declares no state: an ONNX file with a causal convolution before a layer, adopted."""

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from kit.cut_graphs import FEATURES, CutGraph
from kit.inference_requests import request
from kit.sequence_requests import PATIENCE, in_parts, raw, step
from kit.served_here import asking
from rnnserve.client import Client
from rnnserve.client.errors import DeadlineExceeded, FailedPrecondition, InvalidRequest
from rnnserve.export.adoption import Roles, adopt
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.artifact import PARTS, read_version
from rnnserve.server import Settings
from rnnserve.server.testing import serve

MODEL, BACKWARD = "found", "backward"

NODES = [
    ("Transpose", "x", "c", {"perm": [0, 2, 1]}),
    ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}),
    ("Transpose", "v", "t", {"perm": [2, 0, 1]}),
    ("Cast", "lengths", "ends", {"to": TensorProto.INT32}),
    ("GRU", "t W R - ends", "all last", {"hidden_size": FEATURES, "name": "gru/node"}),
    ("Squeeze", "all one", "steps", {}),
    ("Transpose", "steps", "y", {"perm": [1, 0, 2]}),
]


def backward(nodes):
    return [
        (operator, given, results, attributes | ({"direction": "reverse"} if operator == "GRU" else {}))
        for operator, given, results, attributes in nodes
    ]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    for name, nodes in ((MODEL, NODES), (BACKWARD, backward(NODES))):
        onnx.save(CutGraph(nodes, inputs=("lengths",)).model, folder / f"{name}.onnx")
        adopt(folder / f"{name}.onnx", name, folder / "repository", Roles(lengths={"lengths": "sequence"}))
    return folder / "repository"


@pytest.fixture(scope="module", params=["lane", "public"])
def stub(request, repository):
    with asking(repository, transport=request.param, allow_unproven=True) as stub:
        yield stub


def drawn(steps, rows=1, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, steps, FEATURES)).astype(np.float32)


def test_what_is_found_is_in_the_manifest_and_not_in_the_interface(repository, stub):
    version = read_version(repository / MODEL / "1")
    assert version.manifest.parts.file == PARTS
    assert [tensor.name for tensor in version.manifest.parts.inputs] == ["conv.last", "gru.h"]
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL))
    assert [tensor.name for tensor in metadata.inputs] == ["x", "lengths"]
    assert [tensor.name for tensor in metadata.outputs] == ["y"]
    assert metadata.properties["sequences"] == "kept"
    assert metadata.properties["found_states"] == '["conv.last", "gru.h"]'
    assert "conv.last" not in (repository / MODEL / "config.pbtxt").read_text()


@pytest.mark.parametrize("rows", [1, 2])
def test_however_a_sequence_is_cut_the_answers_are_the_same_bits(stub, rows):
    inputs = drawn(12, rows)
    whole = np.frombuffer(raw(stub.ModelInfer(request(MODEL, {"x": inputs}, ["y"])))[0], np.float32).reshape(
        rows, 12, -1
    )
    for number, parts in enumerate(([12], [1] * 12, [5, 7], [1, 11], [11, 1])):
        answers = [
            stub.ModelInfer(message)
            for message in in_parts(inputs, parts, number + 1, input_name="x", name=MODEL, outputs=["y"])
        ]
        found = [np.frombuffer(raw(answer)[0], np.float32).reshape(rows, -1, FEATURES) for answer in answers]
        assert np.concatenate(found, 1).tobytes() == whole.tobytes()
        streamed = stub.ModelStreamInfer(
            in_parts(inputs, parts, number + 1, input_name="x", name=MODEL, outputs=["y"]), timeout=PATIENCE
        )
        assert [raw(each.infer_response) for each in streamed] == [raw(answer) for answer in answers]
        assert [output.name for output in answers[-1].outputs] == ["y"]


def test_the_state_of_a_row_is_that_at_its_length(stub):
    """Rows of different lengths in one request of a sequence: what lies after a length counts for nothing."""
    inputs, lengths = drawn(6, 2, seed=3), np.array([6, 4])
    stub.ModelInfer(step({"x": inputs, "lengths": lengths}, 70, name=MODEL, starts=True, outputs=["y"]))
    more = drawn(3, 2, seed=4)
    answer = stub.ModelInfer(step({"x": more}, 70, name=MODEL, ends=True, outputs=["y"]))
    found = np.frombuffer(raw(answer)[0], np.float32).reshape(2, 3, FEATURES)
    for row, length in enumerate(lengths):
        joined = np.concatenate([inputs[row : row + 1, :length], more[row : row + 1]], 1)
        whole = raw(stub.ModelInfer(request(MODEL, {"x": joined}, ["y"])))[0]
        expected = np.frombuffer(whole, np.float32).reshape(-1, FEATURES)[length:]
        assert found[row].tobytes() == expected.tobytes()


def test_what_is_found_can_neither_be_sent_nor_asked_for(stub):
    state = np.zeros((1, 1, FEATURES), np.float32)
    for message in (
        step({"x": drawn(2), "gru.h": state}, 80, name=MODEL, starts=True, outputs=["y"]),
        step({"x": drawn(2)}, 80, name=MODEL, starts=True, outputs=["y", "gru.h_n"]),
        request(MODEL, {"x": drawn(2), "gru.h": state}, ["y"]),
    ):
        with pytest.raises(grpc.RpcError, match=r"unknown (input|output) \"gru\.h"):
            stub.ModelInfer(message)


def test_what_stands_in_the_way_is_told(stub):
    with pytest.raises(grpc.RpcError, match=r"gru \(backward\) reads the sequence from its end"):
        stub.ModelInfer(step({"x": drawn(2)}, 90, name=BACKWARD, starts=True, outputs=["y"]))


def test_sequences_count_as_requests_of_their_model(stub):
    def counted():
        (found,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name=MODEL)).model_stats
        return found.inference_count

    before = counted()
    for message in in_parts(drawn(3), [1, 2], 95, input_name="x", name=MODEL, outputs=["y"]):
        stub.ModelInfer(message)
    assert counted() == before + 2


@pytest.mark.parametrize("key", [False, True])
def test_a_session_gives_the_bits_of_the_whole(repository, tmp_path, key):
    """The states are kept by a server without a key, and sealed by one that has one."""
    inputs = drawn(5)
    file = tmp_path / "key"
    file.write_bytes(bytes(range(128, 160)))
    file.chmod(0o600)
    settings = Settings(provider="cpu", allow_unproven=True, session_key=file if key else None)
    with serve(repository, settings) as server, Client(server.address) as client:
        (whole,) = client.predict(MODEL, inputs)
        with client.session(MODEL) as session:
            steps = np.stack([session.step(point)["y"] for point in inputs[0]])
            assert session.state == ("sealed" if key else "server")
            assert steps.tobytes() == whole["y"].tobytes()
            session.reset()
            assert session.step(inputs[0])["y"].tobytes() == whole["y"].tobytes()
            with pytest.raises(InvalidRequest):
                session.step(np.zeros(FEATURES + 1, np.float32))
            session.step(inputs[0])  # the refused step has cost nothing
        with pytest.raises(InvalidRequest, match="no part of its interface"), client.session(MODEL, state="carried"):
            pass
        with pytest.raises(InvalidRequest, match=r"gru \(backward\) reads the sequence"), client.session(BACKWARD):
            pass


def test_a_kept_session_whose_answer_was_lost_is_over_until_it_is_reset(repository):
    settings = Settings(provider="cpu", allow_unproven=True)
    with serve(repository, settings) as server, Client(server.address) as client, client.session(MODEL) as session:
        session.step(drawn(1)[0])
        with pytest.raises(DeadlineExceeded):
            session.step(drawn(1)[0], timeout=1e-9)
        with pytest.raises(FailedPrecondition, match="an answer was lost"):
            session.step(drawn(1)[0])
        session.reset()
        session.step(drawn(1)[0])
