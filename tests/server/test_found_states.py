"""A model that declares no state: the export infers its states, and the server keeps them for sequences."""

import grpc
import numpy as np
import pytest

from kit.cut_graphs import FEATURES, CutGraph
from kit.inference_requests import request
from kit.sequence_requests import in_parts, raw, step
from kit.served import served
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.artifact import PARTS, read_version

MODEL, BACKWARD = "found", "backward"

NODES = """
    c = Transpose <perm = [0, 2, 1]> (x)  ["conv/node"] v = Conv <pads = [2, 0]> (c, kernel, bias)
    t = Transpose <perm = [2, 0, 1]> (v)  ends = Cast <to = 6> (lengths)
    ["gru/node"] all = GRU <hidden_size = 3> (t, W, R, , ends)  steps = Squeeze (all, one)
    y = Transpose <perm = [1, 0, 2]> (steps)
"""


def import_found(folder):
    """Import the model, and one whose layer runs backward. Return the repository."""
    backward = NODES.replace("<hidden_size", '<direction = "reverse", hidden_size')
    for name, nodes in ((MODEL, NODES), (BACKWARD, backward)):
        path = folder / f"{name}.onnx"
        path.write_bytes(CutGraph(nodes, inputs=("lengths",)).model)
        import_onnx(path, name, folder / "repository", Roles(lengths={"lengths": "sequence"}))
    return folder / "repository"


def drawn(steps, rows=1, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, steps, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return import_found(tmp_path_factory.mktemp("found"))


@pytest.fixture(scope="module")
def stub(repository):
    with served(repository, allow_unproven=True) as server:
        yield server.stub


def test_inferred_states_are_in_the_manifest_but_not_in_the_interface(repository, stub):
    version = read_version(repository / MODEL / "1")
    assert version.manifest.parts.file == PARTS
    assert [tensor.name for tensor in version.manifest.parts.inputs] == ["conv.last", "gru.h"]
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL))
    assert [tensor.name for tensor in metadata.inputs] == ["x", "lengths"]
    assert [tensor.name for tensor in metadata.outputs] == ["y"]
    assert metadata.properties["sequences"] == "kept"
    assert metadata.properties["found_states"] == '["conv.last", "gru.h"]'
    assert "conv.last" not in (repository / MODEL / "config.pbtxt").read_text()


def test_parts_of_a_sequence_have_the_bits_of_the_whole(stub):
    inputs = drawn(12)
    whole = raw(stub.ModelInfer(request(MODEL, {"x": inputs}, ["y"])))[0]
    for number, parts in enumerate(([1] * 12, [5, 7])):
        messages = in_parts(inputs, parts, number + 1, input_name="x", name=MODEL, outputs=["y"])
        assert b"".join(raw(stub.ModelInfer(message))[0] for message in messages) == whole


def test_state_of_a_row_is_taken_at_its_length(stub):
    """Rows of different lengths in one request of a sequence: values after a row's length change nothing."""
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


def test_inferred_state_can_neither_be_sent_nor_requested(stub):
    state = np.zeros((1, 1, FEATURES), np.float32)
    for message in (
        step({"x": drawn(2), "gru.h": state}, 80, name=MODEL, starts=True, outputs=["y"]),
        step({"x": drawn(2)}, 80, name=MODEL, starts=True, outputs=["y", "gru.h_n"]),
        request(MODEL, {"x": drawn(2), "gru.h": state}, ["y"]),
    ):
        with pytest.raises(grpc.RpcError, match=r"unknown (input|output) \"gru\.h"):
            stub.ModelInfer(message)


def test_sequence_of_a_model_that_cannot_be_cut_is_refused_with_the_reason(stub):
    with pytest.raises(grpc.RpcError, match='GRU "gru/node" runs backward over all steps'):
        stub.ModelInfer(step({"x": drawn(2)}, 90, name=BACKWARD, starts=True, outputs=["y"]))
