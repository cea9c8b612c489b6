"""Responses are written as protobuf writes them, byte for byte."""

import dataclasses
import itertools

import numpy as np
import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor

from kit.checked_requests import checked_request
from kit.inference_requests import DATATYPES
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.protocol.responses import ResponseHead, encode_response, encode_varint, errors_end_stream

NAME = "direction_stacked"


def built(outputs, id_):
    """The response as protobuf builds it from its fields."""
    response = pb.ModelInferResponse(model_name=NAME, model_version="1", id=id_)
    for name, array in outputs.items():
        response.outputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response.SerializeToString()


@pytest.mark.parametrize("names", [("logits",), ("h_n", "logits"), ("logits", "output", "h_n")])
def test_response_is_what_protobuf_writes(service, names):
    model, numbers = service.repository.find(NAME).model, np.random.default_rng(3)
    for batch, sequence in ((1, 1), (3, 70)):
        shapes = {name: model.signature.outputs[name].shape(batch, {"sequence": sequence}) for name in names}
        outputs = {name: numbers.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        for id_, raw in itertools.product(("", "x", "ü", "7" * 500), (True, False)):
            request = checked_request(batch, sequence, {}, names, id=id_, is_raw=raw)
            assert encode_response(model, request, outputs) == built(outputs, id_)  # raw, whatever was sent


def test_view_that_is_not_contiguous_is_written_in_order(service):
    model, names = service.repository.find(NAME).model, ("h_n",)
    whole = np.arange(2 * 6 * 16, dtype=np.float32).reshape(2, 6, 16)
    view = whole[:, 2:5]  # (layers * directions, batch, hidden)
    request = checked_request(3, 4, {}, names)
    assert encode_response(model, request, {"h_n": view}) == built({"h_n": view.copy()}, "")


def test_classes_take_the_place_of_their_output(service):
    model, numbers = service.repository.find(NAME).model, np.random.default_rng(3)
    outputs = {
        "h_n": numbers.normal(size=(2, 3, 16)).astype(np.float32),  # (layers * directions, batch, hidden)
        "logits": np.array([[0.5, -1.25], [2, 2], [-7.5, 1e-7]], np.float32),  # (batch, classes)
    }
    request = dataclasses.replace(checked_request(3, 4, {}, ("h_n", "logits"), id="ü"), classes={"logits": 2})
    response = pb.ModelInferResponse.FromString(encode_response(model, request, outputs))
    assert (response.model_name, response.model_version, response.id) == (NAME, "1", "ü")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("h_n", "FP32", [2, 3, 16]),
        ("logits", "BYTES", [3, 2]),
    ]
    assert response.raw_output_contents[0] == outputs["h_n"].tobytes()
    assert deserialize_bytes_tensor(response.raw_output_contents[1]).tolist() == [
        b"0.500000:0:counter-clockwise", b"-1.250000:1:clockwise",
        b"2.000000:0:counter-clockwise", b"2.000000:1:clockwise",
        b"0.000000:1:clockwise", b"-7.500000:0:counter-clockwise",
    ]  # fmt: skip


def test_states_have_no_labels(service):
    model = service.repository.find(NAME).model
    request = dataclasses.replace(checked_request(1, 4, {}, ("h_n",)), classes={"h_n": 1})
    states = np.zeros((2, 1, 16), np.float32)
    states[0, 0, 7] = states[1, 0, 15] = 1
    response = pb.ModelInferResponse.FromString(encode_response(model, request, {"h_n": states}))
    assert list(response.outputs[0].shape) == [2, 1, 1]
    assert deserialize_bytes_tensor(response.raw_output_contents[0]).tolist() == [b"1.000000:7", b"1.000000:15"]


def test_head_needs_an_array_for_each_output(service):
    head = ResponseHead.of(service.repository.find(NAME).model, 1, {"sequence": 2}, ("logits", "h_n"))
    with pytest.raises(ValueError, match="shorter"):
        head.encode(b"", [np.zeros((1, 2), np.float32)])


@given(st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 16383, 16384, 2**32]))
def test_varint_is_what_protobuf_writes(number):
    assert encode_varint(number) == encoder._VarintBytes(number)  # type: ignore[attr-defined]


def test_stream_ends_with_its_first_error_if_its_metadata_ask_so():
    asks = ("triton_grpc_error", "true")
    assert errors_end_stream((asks,))
    assert errors_end_stream((("user-agent", "x"), asks))
    for metadata in ((), (("triton_grpc_error", "false"),), (("other", "true"), ("bytes-bin", b"true"))):
        assert not errors_end_stream(metadata)
