import dataclasses

import numpy as np
import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.load import workload
from rnnserve.load.inputs import SampleCase
from rnnserve.load.workload import build_pool
from rnnserve.protos import inference_pb2 as pb


def read(payload):
    request = pb.ModelInferRequest.FromString(payload)
    return request, {
        tensor.name: np.frombuffer(raw, "<f4" if tensor.datatype == "FP32" else "<i8").reshape(tensor.shape)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def test_rows_of_different_lengths_share_a_request(spec):
    pool = build_pool(spec(length="1:9", batch="4", pool=50))
    assert len(pool.payloads) == 50
    for index, payload in enumerate(pool.payloads):
        request, tensors = read(payload)
        assert request.model_name == "walks"
        assert [output.name for output in request.outputs] == ["logits"]
        lengths = tensors.get("lengths", np.full(4, tensors["input"].shape[1]))
        assert tensors["input"].shape == (4, lengths.max(), 2)
        assert [ends["sequence"] for ends in pool.checks[index].rows.ends] == lengths.tolist()
        for walk, length in zip(tensors["input"], lengths, strict=True):
            assert not walk[length:].any()


def test_pools_of_generators_differ_and_repeat(spec):
    one, other, again = build_pool(spec(), 0), build_pool(spec(), 1), build_pool(spec(), 0)
    assert one.payloads == again.payloads
    assert one.payloads != other.payloads
    assert build_pool(spec(seed=14)).payloads != one.payloads


def test_pool_does_not_outgrow_memory(spec, monkeypatch):
    monkeypatch.setattr(workload, "_MAX_POOL_BYTES", 10_000)
    pool = build_pool(spec(length="100", batch="2"))
    assert 1 <= len(pool.payloads) < 10
    assert len(pool.rows) == len(pool.model) == len(pool.payloads) > max(pool.checks)


TOKENS = ModelMetadata(
    "tagger",
    ("1",),
    "",
    {
        "tokens": TensorMetadata("tokens", "INT64", (-1, -1), ("batch", "sequence"), low=0, high=9),
        "lengths": TensorMetadata("lengths", "INT64", (-1,), ("batch",), optional=True, lengths_of="sequence"),
    },
    {
        "tags": TensorMetadata("tags", "FP32", (-1, -1, 2), ("batch", "sequence", "classes")),
        "h_n": TensorMetadata("h_n", "FP32", (1, -1, 2), ("layers", "batch", "hidden")),
    },
    properties={"batch_invariant": "true"},
)


def test_any_model_gets_inputs_as_described_and_all_outputs_are_compared(spec):
    pool = build_pool(spec(TOKENS, length="1:9", batch="3", pool=20))
    for index, payload in enumerate(pool.payloads):
        request = pb.ModelInferRequest.FromString(payload)
        tokens = np.frombuffer(request.raw_input_contents[0], "<i8").reshape(request.inputs[0].shape)
        assert 0 <= tokens.min() <= tokens.max() < 9
        assert [output.name for output in request.outputs] == ["tags", "h_n"]
        check = pool.checks[index]
        assert (check.is_exact, check.expected, list(check.chosen)) == (True, None, [0, 1, 2])
        assert max(end["sequence"] for end in check.rows.ends) == tokens.shape[1]


def test_samples_are_taken_with_their_answers(spec):
    tokens, tags = np.arange(8).reshape(4, 2), np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    alone = dataclasses.replace(TOKENS, properties={"batching": "alone"})  # gets whole cases
    assert build_pool(spec(alone, pool=3, samples=(SampleCase({"tokens": tokens}),))).rows.tolist() == [4] * 3
    case = SampleCase({"tokens": tokens, "lengths": np.array([2, 1, 2, 2])}, {"tags": tags})
    pool = build_pool(spec(TOKENS, batch="2", pool=30, samples=(case,)))
    starts = set()
    for index, payload in enumerate(pool.payloads):
        request = pb.ModelInferRequest.FromString(payload)
        found = np.frombuffer(request.raw_input_contents[0], "<i8").reshape(request.inputs[0].shape)
        start = int(found[0, 0]) // 2
        starts.add(start)
        assert found.tolist() == tokens[start : start + 2].tolist()
        assert [output.name for output in request.outputs] == ["tags"]
        expected = pool.checks[index].expected
        ends = [2, 1, 2, 2][start : start + 2]
        assert [row["tags"].tolist() for row in expected] == [
            tags[row, :end].tolist() for row, end in zip((start, start + 1), ends, strict=True)
        ]
    assert starts == {0, 1, 2}


def test_answers_that_do_not_match_their_inputs_are_refused(spec):
    case = SampleCase({"tokens": np.zeros((4, 2), int)}, {"tags": np.zeros((4, 3, 2), np.float32)})
    with pytest.raises(InvalidRequest, match=r"outputs in the file do not match its inputs: .* tags has shape"):
        build_pool(spec(TOKENS, samples=(case,)))


STATE = ("layers * directions", "batch", "hidden")


def session_model(name="gru", **parameters):
    """Its state comes before its points, as in no request of a session."""
    inputs = {
        "h_0": TensorMetadata("h_0", "FP32", (2, -1, 3), STATE, optional=True),
        "x": TensorMetadata("x", "FP32", (-1, -1, 4), ("batch", "sequence", "features")),
        "c_0": TensorMetadata("c_0", "FP64", (1, -1, 5), STATE, optional=True),
    }
    outputs = {
        "c_n": TensorMetadata("c_n", "FP64", (1, -1, 5), STATE, continues_as="c_0"),
        "logits": TensorMetadata("logits", "FP32", (-1, 2), ("batch", "classes")),
        "h_n": TensorMetadata("h_n", "FP32", (2, -1, 3), STATE, continues_as="h_0"),
    }
    return ModelMetadata(name, ("1",), "", inputs, outputs, None, parameters)


def whole(pool, script, step, states=None):
    fields = script.begin("a session") if states is None else states
    return pb.ModelInferRequest.FromString(pool.payloads[script.first + step] + fields)


def test_step_s_states_are_appended(spec):
    pool = build_pool(spec(session_model(), length="1", batch="3", sessions=2, steps=4))
    assert [(script.first, script.steps) for script in pool.scripts] == [(0, 4), (4, 4)]
    assert len(pool.payloads) == len(set(pool.payloads)) == 8
    assert (pool.rows.tolist(), pool.model.tolist()) == ([3] * 8, [0] * 8)
    script = pool.scripts[1]
    request = whole(pool, script, 2)
    assert [(tensor.name, list(tensor.shape)) for tensor in request.inputs] == [
        ("x", [3, 1, 4]),
        ("h_0", [2, 3, 3]),
        ("c_0", [1, 3, 5]),
    ]
    assert [len(raw) for raw in request.raw_input_contents] == [3 * 4 * 4, 2 * 3 * 3 * 4, 3 * 5 * 8]
    assert not any(np.frombuffer(raw, np.uint8).any() for raw in request.raw_input_contents[1:])
    assert [output.name for output in request.outputs] == ["logits", "c_n", "h_n"]
