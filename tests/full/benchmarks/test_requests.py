"""The requests that every server gets."""

import base64
import json

import numpy as np
import pytest

from benchmarks.requests import encode_request, perf_analyzer_input, read_requests
from rnnserve.protos import inference_pb2 as pb


@pytest.fixture
def answers(tmp_path):
    arrays = {}
    for length in range(1, 6):
        arrays[f"m/{length}/input"] = np.full((1, length, 2), length, np.float32)
        arrays[f"m/{length}/logits"] = np.array([[length, -length]], np.float32)
    np.savez(tmp_path / "answers.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "answers.npz"


def test_a_request_asks_for_logits_only(answers):
    (request,) = read_requests(answers, "m", (3, 3))
    message = pb.ModelInferRequest.FromString(encode_request("m", request))
    assert message.model_name == "m"
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in message.inputs] == [
        ("input", "FP32", [1, 3, 2])
    ]
    assert [tensor.name for tensor in message.outputs] == ["logits"]
    np.testing.assert_array_equal(np.frombuffer(message.raw_input_contents[0], "<f4"), np.full(6, 3))


@pytest.mark.parametrize(("with_batch", "axes"), [(True, 3), (False, 2)])
def test_perf_analyzer_gets_every_request_once_with_its_shape(answers, with_batch, axes):
    requests = read_requests(answers, "m", (1, 5))
    entries = [entry["input"] for entry in json.loads(perf_analyzer_input(requests, with_batch=with_batch))["data"]]
    assert sorted(entry["shape"][-2] for entry in entries) == [1, 2, 3, 4, 5]
    for entry in entries:
        assert len(entry["shape"]) == axes
        points = np.frombuffer(base64.b64decode(entry["content"]["b64"]), "<f4")
        np.testing.assert_array_equal(points, np.full(2 * entry["shape"][-2], entry["shape"][-2]))
