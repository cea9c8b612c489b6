"""The requests that every server gets."""

import base64
import json

import numpy as np
import pytest

from benchmarks.requests import BenchmarkRequest, add_grpc_frame, encode_request, perf_analyzer_input, read_requests
from rnnserve.protos import inference_pb2 as pb


@pytest.fixture
def answers(tmp_path):
    arrays = {}
    for length in range(1, 6):
        arrays[f"m/{length}/input"] = np.full((1, length, 2), length, np.float32)
        arrays[f"m/{length}/logits"] = np.array([[length, -length]], np.float32)
    np.savez(tmp_path / "answers.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "answers.npz"


def test_there_is_a_request_of_each_length(answers):
    requests = read_requests(answers, "m", (2, 4))
    assert [request.input.shape for request in requests] == [(1, 2, 2), (1, 3, 2), (1, 4, 2)]
    assert [request.logits[0, 0] for request in requests] == [2, 3, 4]


def test_a_request_asks_for_logits_only(answers):
    (request,) = read_requests(answers, "m", (3, 3))
    message = pb.ModelInferRequest.FromString(encode_request("m", request))
    assert message.model_name == "m"
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in message.inputs] == [
        ("input", "FP32", [1, 3, 2])
    ]
    assert [tensor.name for tensor in message.outputs] == ["logits"]
    np.testing.assert_array_equal(np.frombuffer(message.raw_input_contents[0], "<f4"), np.full(6, 3))


def test_a_frame_is_the_flag_the_length_and_the_message():
    assert add_grpc_frame(b"abc") == b"\0\0\0\0\3abc"


@pytest.mark.parametrize(("with_batch", "axes"), [(True, 3), (False, 2)])
def test_perf_analyzer_gets_every_request_once_with_its_shape(answers, with_batch, axes):
    requests = read_requests(answers, "m", (1, 5))
    entries = [entry["input"] for entry in json.loads(perf_analyzer_input(requests, with_batch=with_batch))["data"]]
    assert sorted(entry["shape"][-2] for entry in entries) == [1, 2, 3, 4, 5]
    for entry in entries:
        assert len(entry["shape"]) == axes
        points = np.frombuffer(base64.b64decode(entry["content"]["b64"]), "<f4")
        np.testing.assert_array_equal(points, np.full(2 * entry["shape"][-2], entry["shape"][-2]))


def test_perf_analyzer_gets_the_lengths_in_mixed_order():
    logits = np.zeros((1, 2), np.float32)
    requests = [BenchmarkRequest(np.zeros((1, length, 2), np.float32), logits) for length in range(1, 65)]
    entries = json.loads(perf_analyzer_input(requests, with_batch=True))["data"]
    lengths = [entry["input"]["shape"][1] for entry in entries]
    steps = np.abs(np.diff(lengths))
    assert np.median(steps) > 8
