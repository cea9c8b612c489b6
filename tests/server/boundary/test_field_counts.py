"""Requests with more fields than any model needs are refused before they are parsed; all others pass."""

import numpy as np
import pytest

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary.field_counts import refuse_crowded
from rnnserve.server.errors import InvalidRequest

MANY = 2048


def crowded(payload: bytes) -> bool:
    try:
        refuse_crowded(payload)
    except InvalidRequest as error:
        assert str(error).startswith("the request has more than 2,048 fields: ")  # noqa: PT017
        return True
    return False


@pytest.mark.parametrize("tag", [b"\x22", b"\x2a", b"\x32", b"\x3a", b"\x0a", b"\x7a"])
def test_fields_are_counted(tag):
    assert not crowded((tag + b"\x00") * (MANY // 2))  # few bytes
    large = b"\x3a\x80\x20" + bytes(4096)
    assert not crowded(large + (tag + b"\x00") * (MANY - 1))
    assert crowded(large + (tag + b"\x00") * MANY)


@pytest.mark.parametrize(("tag", "counts"), [(b"\x2a", True), (b"\x32", True), (b"\x22", False), (b"\x3a", False)])
def test_fields_of_inputs_and_outputs_are_counted_too(tag, counts):
    """Data is not looked into, whatever it is."""
    inner = b"\x22\x00" * MANY
    assert crowded(tag + b"\x80\x20" + inner) is counts


def test_elements_of_contents_are_counted_too_but_for_packed_ones():
    contents = pb.InferTensorContents(bytes_contents=[b"x"] * MANY)
    message = pb.ModelInferRequest(
        model_name="m", inputs=[pb.ModelInferRequest.InferInputTensor(name="input", contents=contents)]
    )
    assert crowded(message.SerializeToString())
    del contents.bytes_contents[10:]
    contents.int64_contents.extend(range(100_000))
    message = pb.ModelInferRequest(
        model_name="m", inputs=[pb.ModelInferRequest.InferInputTensor(name="input", contents=contents)]
    )
    assert not crowded(message.SerializeToString())
    unpacked = b"\x2a\x80\xa0\x01" + b"\x2a\xfc\x9f\x01" + b"\x10\x01" * 10_238  # int_contents
    assert crowded(unpacked)


@pytest.mark.parametrize(
    "field", [b"\x08\x01", b"\x08" + b"\xff" * 9 + b"\x01", b"\x09" + bytes(8), b"\x0d" + bytes(4), b"\x0b\x0c"]
)
def test_fields_of_any_kind_are_counted(field):
    assert crowded(field * (MANY + 1) + bytes(4096))


def test_typed_and_raw_data_of_any_size_pass():
    array = np.ones((300, 90, 2), np.float32)
    for raw in (True, False):
        assert not crowded(request("m", {"input": array}, raw=raw).SerializeToString())


def test_what_is_no_message_is_left_to_the_parser():
    assert not crowded(b"\x3a\xff\xff\xff\xff\x0f" + bytes(5000))
    assert not crowded(b"\xff" * 5000)
    assert not crowded(b"\x3a\x80\x28" + bytes(4999) + b"\x2a")


def test_as_many_inputs_as_any_model_has_pass():
    message = pb.ModelInferRequest(model_name="m")
    for number in range(200):
        message.inputs.add(name=f"input_{number}", datatype="FP32", shape=[1, 4, 2]).parameters["a"].int64_param = 1
        message.raw_input_contents.append(bytes(32))
    assert not crowded(message.SerializeToString())


@pytest.mark.parametrize(("axes", "is_too_many"), [(1000, False), (20_000, False), (30_000, True)])
def test_axes_are_counted_by_their_bytes(axes, is_too_many):
    tensor = pb.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[1] * axes)
    message = pb.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[bytes(5000)])
    assert crowded(message.SerializeToString()) is is_too_many
