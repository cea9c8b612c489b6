"""Bytes become a message in bounded memory: compressed ones up to a limit, and those with few enough fields."""

import gzip
import tracemalloc
import zlib

import numpy as np
import pytest

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import Settings
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.validation.parsing import (
    decompress,
    decompress_small,
    is_compressed,
    parse_request,
    refuse_crowded,
)

MESSAGE = pb.ModelInferRequest(model_name="direction_simple", raw_input_contents=[bytes(5000)]).SerializeToString()


def test_compressed_messages_are_decompressed():
    for compressed in (gzip.compress(MESSAGE), *(zlib.compress(MESSAGE, level) for level in range(10))):
        assert is_compressed(compressed)
        assert decompress(compressed, 10_000) == decompress_small(compressed, len(MESSAGE)) == MESSAGE
        assert decompress_small(compressed, len(MESSAGE) - 1) is None
        with pytest.raises(InvalidRequest, match="decompressed message has more than the 5,000 bytes"):
            decompress(compressed, 5000)


def test_uncompressed_messages_are_unchanged():
    for message in (b"", b"\x1f", MESSAGE, pb.ModelInferRequest(id="x").SerializeToString()):
        assert not is_compressed(message)
        assert decompress(message, 1) is message


def test_compressed_bomb_is_refused_in_bounded_memory():
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="more than"):
        decompress(bomb, 1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_damaged_messages_are_refused():
    for compressed in (gzip.compress(MESSAGE), zlib.compress(MESSAGE)):
        for damaged in (compressed[:-1], compressed[:30], compressed + b"x", compressed + compressed):
            with pytest.raises(InvalidRequest, match="must be one complete stream"):
                decompress(damaged, 10_000)
    wrong = bytearray(gzip.compress(MESSAGE))
    wrong[12] ^= 0xFF
    with pytest.raises(InvalidRequest, match="cannot be decompressed"):
        decompress(bytes(wrong), 10_000)


def test_bytes_that_are_not_a_request_are_refused():
    with pytest.raises(InvalidRequest, match=r"3 bytes are not an inference\.ModelInferRequest"):
        parse_request(b"\xff\xff\xff", Settings())


MANY = 2048


def crowded(payload) -> bool:
    """Whether a message, or its bytes, are refused."""
    try:
        refuse_crowded(payload if isinstance(payload, bytes) else payload.SerializeToString())
    except InvalidRequest as error:
        assert str(error).startswith("the request has more than 2,048 fields, ")  # noqa: PT017
        return True
    return False


def with_contents(**contents):
    tensor = pb.ModelInferRequest.InferInputTensor(name="input", contents=pb.InferTensorContents(**contents))
    return pb.ModelInferRequest(model_name="m", inputs=[tensor])


def test_fields_of_any_tag_and_kind_are_counted():
    large = b"\x3a\x80\x20" + bytes(4096)
    for tag in (b"\x22", b"\x2a", b"\x32", b"\x3a", b"\x0a", b"\x7a"):
        assert not crowded((tag + b"\x00") * (MANY // 2))  # few bytes
        assert not crowded(large + (tag + b"\x00") * (MANY - 1))
        assert crowded(large + (tag + b"\x00") * MANY)
    assert not crowded(large + b"\x0b\x0c")
    varints, fixed = (b"\x08\x01", b"\x08" + b"\xff" * 9 + b"\x01"), (b"\x09" + bytes(8), b"\x0d" + bytes(4))
    for field in (*varints, *fixed, b"\x0b\x0c"):
        assert crowded(field * (MANY + 1) + bytes(4096))


def test_fields_inside_tensors_are_counted_but_not_their_data():
    inner = b"\x22\x00" * MANY
    for tag, counts in ((b"\x2a", True), (b"\x32", True), (b"\x22", False), (b"\x3a", False)):
        assert crowded(tag + b"\x80\x20" + inner) is counts


def test_elements_of_contents_are_counted_unless_packed():
    assert crowded(with_contents(bytes_contents=[b"x"] * MANY))
    assert not crowded(with_contents(bytes_contents=[b"x"] * 10, int64_contents=range(100_000)))
    assert crowded(b"\x2a\x80\xa0\x01" + b"\x2a\xfc\x9f\x01" + b"\x10\x01" * 10_238)  # int_contents, unpacked


def test_large_tensors_and_many_inputs_are_accepted():
    array = np.ones((300, 90, 2), np.float32)
    for raw in (True, False):
        assert not crowded(request("m", {"input": array}, raw=raw))
    message = pb.ModelInferRequest(model_name="m")
    for number in range(200):
        message.inputs.add(name=f"input_{number}", datatype="FP32", shape=[1, 4, 2]).parameters["a"].int64_param = 1
        message.raw_input_contents.append(bytes(32))
    assert not crowded(message)


def test_bytes_that_are_not_a_message_are_left_to_the_parser():
    for payload in (b"\x3a\xff\xff\xff\xff\x0f" + bytes(5000), b"\xff" * 5000, b"\x3a\x80\x28" + bytes(4999) + b"\x2a"):
        assert not crowded(payload)


@pytest.mark.parametrize(("axes", "is_too_many"), [(1000, False), (20_000, False), (30_000, True)])
def test_axes_are_counted_by_their_bytes(axes, is_too_many):
    tensor = pb.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[1] * axes)
    message = pb.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[bytes(5000)])
    assert crowded(message) is is_too_many
