"""Responses are written as protobuf writes them, byte for byte."""

import numpy as np
import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.protocol.responses import ResponseHead, encode_response, encode_varint
from support.checked_requests import checked_request
from support.inference_requests import DATATYPES

NAME = "direction_stacked"


def built(model, outputs, id_, *, raw):
    """The response as protobuf builds it from its fields."""
    response = pb.ModelInferResponse(model_name=NAME, model_version="1", id=id_)
    for name, array in outputs.items():
        tensor = response.outputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        if raw:
            response.raw_output_contents.append(array.tobytes())
        else:
            tensor.contents.fp32_contents.extend(array.ravel().tolist())
    return response.SerializeToString()


@pytest.mark.parametrize("names", [("logits",), ("h_n", "logits"), ("logits", "output", "h_n")])
@pytest.mark.parametrize("id_", ["", "x", "ü", "7" * 500])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(("batch", "sequence"), [(1, 1), (3, 70)])
def test_a_response_is_what_protobuf_writes(service, names, id_, raw, batch, sequence):
    model, numbers = service.repository.find(NAME).model, np.random.default_rng(3)
    specs = model.signature.outputs
    outputs = {
        name: numbers.normal(size=specs[name].shape(batch, {"sequence": sequence})).astype(np.float32) for name in names
    }
    request = checked_request(batch, sequence, {}, names, id=id_, is_raw=raw)
    assert encode_response(model, request, outputs) == built(model, outputs, id_, raw=raw)


def test_a_view_that_is_not_contiguous_is_written_in_order(service):
    model, names = service.repository.find(NAME).model, ("h_n",)
    whole = np.arange(2 * 6 * 16, dtype=np.float32).reshape(2, 6, 16)
    view = whole[:, 2:5]  # (layers * directions, batch, hidden)
    request = checked_request(3, 4, {}, names)
    assert encode_response(model, request, {"h_n": view}) == built(model, {"h_n": view.copy()}, "", raw=True)


def test_a_head_needs_an_array_for_each_output(service):
    head = ResponseHead.of(service.repository.find(NAME).model, 1, {"sequence": 2}, ("logits", "h_n"))
    with pytest.raises(ValueError, match="shorter"):
        head.encode(b"", [np.zeros((1, 2), np.float32)])


@given(st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 16383, 16384, 2**32]))
def test_a_varint_is_what_protobuf_writes(number):
    assert encode_varint(number) == encoder._VarintBytes(number)  # type: ignore[attr-defined]
