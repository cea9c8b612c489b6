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


def test_size_of_the_request_pool_is_bounded(spec, monkeypatch):
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


def test_answers_that_do_not_match_their_inputs_are_refused(spec):
    case = SampleCase({"tokens": np.zeros((4, 2), int)}, {"tags": np.zeros((4, 3, 2), np.float32)})
    with pytest.raises(InvalidRequest, match=r"outputs in the file do not match its inputs: .* tags has shape"):
        build_pool(spec(TOKENS, samples=(case,)))
