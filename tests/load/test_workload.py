import dataclasses

import numpy as np
import pytest

from kit.load_tests import direction, metadata
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.load import workload
from rnnserve.load.labelled_walks import UNKNOWN_CLASS, WALK_LABELS
from rnnserve.load.sample_inputs import SampleCase
from rnnserve.load.workload import build_request_pool, classifies_walks
from rnnserve.protos import inference_pb2 as pb


def read(payload):
    request = pb.ModelInferRequest.FromString(payload)
    return request, {
        tensor.name: np.frombuffer(raw, "<f4" if tensor.datatype == "FP32" else "<i8").reshape(tensor.shape)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def test_rows_of_different_lengths_share_a_request(spec):
    pool = build_request_pool(spec(length="1:9", batch="4", pool=50))
    assert len(pool.payloads) == 50
    for payload, expected in zip(pool.payloads, pool.expected, strict=True):
        request, tensors = read(payload)
        assert request.model_name == "walks"
        assert [output.name for output in request.outputs] == ["logits"]
        lengths = tensors.get("lengths", np.full(4, tensors["input"].shape[1]))
        assert tensors["input"].shape == (4, lengths.max(), 2)
        for walk, length, class_ in zip(tensors["input"], lengths, expected, strict=True):
            assert not walk[length:].any()
            assert class_ == (direction(walk) if length > 1 else UNKNOWN_CLASS)


def test_model_without_lengths_gets_rows_of_one_length(spec):
    pool = build_request_pool(spec(metadata(has_lengths=False), length="2:9", batch="1:4", pool=50))
    shapes = set()
    for payload, rows in zip(pool.payloads, pool.rows.tolist(), strict=True):
        _, tensors = read(payload)
        assert set(tensors) == {"input"}
        shapes.add(tensors["input"].shape)
        assert len(tensors["input"]) == rows
    assert len({shape[1] for shape in shapes}) > 4


def test_pools_of_generators_differ_and_repeat(spec):
    one, other, again = build_request_pool(spec(), 0), build_request_pool(spec(), 1), build_request_pool(spec(), 0)
    assert one.payloads == again.payloads
    assert one.payloads != other.payloads
    assert build_request_pool(spec(seed=14)).payloads != one.payloads


def test_pool_does_not_outgrow_memory(spec, monkeypatch):
    monkeypatch.setattr(workload, "_MAX_POOL_BYTES", 10_000)
    pool = build_request_pool(spec(length="100", batch="2"))
    assert 1 <= len(pool.payloads) < 10
    assert len(pool.rows) == len(pool.model) == len(pool.expected) == len(pool.payloads)


def test_labels_are_checked_for_classifiers_of_walks_only(spec):
    assert classifies_walks(metadata())
    assert not classifies_walks(metadata(labels=None))
    assert not classifies_walks(metadata(labels=WALK_LABELS[::-1]))
    assert not classifies_walks(metadata(features=3))
    doubles = metadata()
    doubles.outputs["logits"] = TensorMetadata("logits", "FP64", (-1, 2))
    assert not classifies_walks(doubles)
    for settings in (spec(check=False), spec(metadata(labels=None)), spec(metadata(features=3)), spec(length="1")):
        assert set(build_request_pool(settings).expected) == {None}
    assert build_request_pool(spec()).answers == {}
    assert len(build_request_pool(spec(metadata(labels=None), pool=5)).answers) == 5
    assert build_request_pool(spec(metadata(labels=None), check=False)).answers == {}


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
    pool = build_request_pool(spec(TOKENS, length="1:9", batch="3", pool=20))
    for index, payload in enumerate(pool.payloads):
        request = pb.ModelInferRequest.FromString(payload)
        tokens = np.frombuffer(request.raw_input_contents[0], "<i8").reshape(request.inputs[0].shape)
        assert 0 <= tokens.min() <= tokens.max() < 9
        assert [output.name for output in request.outputs] == ["tags", "h_n"]
        check = pool.answers[index]
        assert (check.is_exact, check.expected, list(check.chosen)) == (True, None, [0, 1, 2])
        assert max(end["sequence"] for end in check.rows.ends) == tokens.shape[1]


def test_samples_are_taken_with_their_answers(spec):
    tokens, tags = np.arange(8).reshape(4, 2), np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    alone = dataclasses.replace(TOKENS, properties={"batching": "alone"})  # gets whole cases
    assert build_request_pool(spec(alone, pool=3, samples=(SampleCase({"tokens": tokens}),))).rows.tolist() == [4] * 3
    case = SampleCase({"tokens": tokens, "lengths": np.array([2, 1, 2, 2])}, {"tags": tags})
    pool = build_request_pool(spec(TOKENS, batch="2", pool=30, samples=(case,)))
    starts = set()
    for index, payload in enumerate(pool.payloads):
        request = pb.ModelInferRequest.FromString(payload)
        found = np.frombuffer(request.raw_input_contents[0], "<i8").reshape(request.inputs[0].shape)
        start = int(found[0, 0]) // 2
        starts.add(start)
        assert found.tolist() == tokens[start : start + 2].tolist()
        assert [output.name for output in request.outputs] == ["tags"]
        expected = pool.answers[index].expected
        ends = [2, 1, 2, 2][start : start + 2]
        assert [row["tags"].tolist() for row in expected] == [
            tags[row, :end].tolist() for row, end in zip((start, start + 1), ends, strict=True)
        ]
    assert starts == {0, 1, 2}


def test_answers_that_do_not_match_their_inputs_are_refused(spec):
    case = SampleCase({"tokens": np.zeros((4, 2), int)}, {"tags": np.zeros((4, 3, 2), np.float32)})
    with pytest.raises(InvalidRequest, match=r"answers do not match their inputs: .* tags has shape"):
        build_request_pool(spec(TOKENS, samples=(case,)))


def test_model_whose_inputs_cannot_be_drawn_is_refused(spec):
    for features in (-1, 0):
        with pytest.raises(InvalidRequest, match="does not say what its axes are"):
            build_request_pool(spec(metadata(features=features)))
    other = metadata(labels=None)
    other.inputs["input"] = TensorMetadata("input", "BYTES", (-1, -1))
    with pytest.raises(InvalidRequest, match="takes input as BYTES"):
        build_request_pool(spec(other))
