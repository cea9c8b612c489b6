import dataclasses

import numpy as np
import pytest

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


def direction(walk):
    """1 clockwise, 0 counter-clockwise, by the turn from the first corner to the second."""
    (a, b), (c, d) = walk[:2]
    return int(a * d - b * c < 0)


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


def test_a_model_without_lengths_gets_rows_of_one_length(spec, metadata):
    pool = build_request_pool(spec(metadata(ragged=False), length="2:9", batch="1:4", pool=50))
    shapes = set()
    for payload, rows in zip(pool.payloads, pool.rows.tolist(), strict=True):
        _, tensors = read(payload)
        assert set(tensors) == {"input"}
        shapes.add(tensors["input"].shape)
        assert len(tensors["input"]) == rows
    assert len({shape[1] for shape in shapes}) > 4


def test_states_that_a_server_wants_are_zeros(spec, metadata):
    _, tensors = read(build_request_pool(spec(metadata(states=True), batch="3", pool=1)).payloads[0])
    np.testing.assert_array_equal(tensors["h_0"], np.zeros((2, 3, 3), np.float32))


def test_models_are_asked_by_their_weights(spec, metadata):
    models = (metadata("often"), metadata("seldom"))
    pool = build_request_pool(spec(*models, weights={"often": 9.0, "seldom": 1.0}, pool=2000))
    assert pool.models == ("often", "seldom")
    assert (pool.model == 0).mean() == pytest.approx(0.9, abs=0.03)
    assert {read(payload)[0].model_name for payload in pool.payloads[:200]} == {"often", "seldom"}


def test_generators_ask_different_things_and_the_same_again(spec):
    one, other, again = build_request_pool(spec(), 0), build_request_pool(spec(), 1), build_request_pool(spec(), 0)
    assert one.payloads == again.payloads
    assert one.payloads != other.payloads
    assert build_request_pool(spec(seed=14)).payloads != one.payloads


def test_a_pool_does_not_outgrow_memory(spec, monkeypatch):
    monkeypatch.setattr(workload, "_MAX_POOL_BYTES", 10_000)
    pool = build_request_pool(spec(length="100", batch="2"))
    assert 1 <= len(pool.payloads) < 10
    assert len(pool.rows) == len(pool.model) == len(pool.expected) == len(pool.payloads)


def test_only_answers_of_our_models_are_checked(spec, metadata):
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


@pytest.mark.parametrize("features", [-1, 0])
def test_a_model_that_does_not_say_its_features_is_refused(spec, metadata, features):
    with pytest.raises(InvalidRequest, match="does not say what its axes are"):
        build_request_pool(spec(metadata(features=features)))


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


def test_any_model_gets_what_its_description_allows_and_all_outputs_are_compared(spec):
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


def test_a_model_that_is_served_alone_gets_whole_cases(spec):
    alone = dataclasses.replace(TOKENS, properties={"batching": "alone"})
    case = SampleCase({"tokens": np.arange(8).reshape(4, 2)})
    pool = build_request_pool(spec(alone, batch="1", pool=3, samples=(case,)))
    assert pool.rows.tolist() == [4, 4, 4]


def test_answers_that_do_not_match_their_inputs_are_refused(spec):
    case = SampleCase({"tokens": np.zeros((4, 2), int)}, {"tags": np.zeros((4, 3, 2), np.float32)})
    with pytest.raises(InvalidRequest, match=r"answers do not match their inputs: .* tags has shape"):
        build_request_pool(spec(TOKENS, samples=(case,)))


def test_a_model_that_takes_no_sequences_is_refused(spec, metadata):
    other = metadata(labels=None)
    other.inputs["input"] = TensorMetadata("input", "BYTES", (-1, -1))
    with pytest.raises(InvalidRequest, match="takes input as BYTES"):
        build_request_pool(spec(other))
