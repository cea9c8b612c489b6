"""Tensors that are not what they say: shapes, sizes, values, contents. Peers read foreign memory for some of them."""

import itertools
import math
import struct

from rnnserve.protos import inference_pb2 as pb

from ..attack import Strike, attack
from ..target import encode_varint

__all__ = ["ATTACKS"]

_SHAPES = "shapes that overflow"
_SIZES = "data of another size"
_VALUES = "values out of bounds"
_LARGE = "work without bound"

_ANSWER_ROWS = 4096

_INTEGERS = {"INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I"}
_FLOATS = {"FP16": ("e", 0x7E00), "FP32": ("f", 0x7FC00000), "FP64": ("d", 0x7FF8 << 48)}


def _with_shape(strike: Strike, at: int, shape: list[int], data: bytes | None = None) -> bytes:
    message = strike.target.request()
    message.inputs[at].shape[:] = shape
    if data is not None:
        message.raw_input_contents[at] = data
    return message.SerializeToString()


def _each_axis(strike: Strike, sizes: tuple[int, ...]) -> list[bytes]:
    """Requests in which one axis of one input has one of these sizes, with the valid data, and without data."""
    message = strike.target.request()
    sent: list[bytes] = []
    for at, tensor in enumerate(message.inputs):
        for axis, size in itertools.product(range(len(tensor.shape)), sizes):
            shape = [*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]]
            sent += (_with_shape(strike, at, shape), _with_shape(strike, at, shape, b""))
    return sent


@attack(_SHAPES)
def millions_of_dimensions(strike: Strike) -> None:
    """A shape of 15 million axes."""
    described = strike.target.request().inputs[0]
    del described.shape[:]
    dimensions = b"\x01" * 15_000_000
    tensor = described.SerializeToString() + b"\x1a" + encode_varint(len(dimensions)) + dimensions
    model = strike.target.model.encode()
    sent = b"\x0a" + encode_varint(len(model)) + model + b"\x2a" + encode_varint(len(tensor)) + tensor
    strike.call("ModelInfer", sent)


@attack(_SHAPES)
def negative_shapes(strike: Strike) -> None:
    """Each axis -1, -2 and -2**63."""
    strike.flood("ModelInfer", _each_axis(strike, (-1, -2, -(2**63))))


@attack(_SHAPES)
def overflowing_shapes(strike: Strike) -> None:
    """Shapes whose product is small, or 0, in 32 and in 64 bits."""
    strike.flood("ModelInfer", _each_axis(strike, (2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**61, 2**62, 2**63 - 1)))
    shapes = ([2**32, 2**32, 2], [2**31, 2**31, 2**2], [-1, -1, 2], [2**63 - 1, 2, 2], [-(2**63), 2], [-2, -4])
    strike.flood("ModelInfer", [_with_shape(strike, 0, shape, data) for shape in shapes for data in (None, b"")])


@attack(_SHAPES)
def zero_axes(strike: Strike) -> None:
    """Each axis 0, with data and without: onnxruntime aborts the process for some."""
    strike.flood("ModelInfer", _each_axis(strike, (0,)))
    message = strike.target.request()
    for tensor in message.inputs:
        tensor.shape[:] = [0] * len(tensor.shape)
    for at in range(len(message.raw_input_contents)):
        message.raw_input_contents[at] = b""
    strike.call("ModelInfer", message.SerializeToString())


@attack(_SHAPES)
def other_ranks(strike: Strike) -> None:
    """No axis, one, and as many as 64."""
    shapes = [[], [1], *([1] * axes for axes in (2, 4, 5, 8, 9, 16, 17, 64))]
    strike.flood("ModelInfer", [_with_shape(strike, 0, shape) for shape in shapes])


@attack(_SIZES)
def sizes_that_disagree(strike: Strike) -> None:
    """Data of more and of fewer bytes than the shape says: none, one byte, half, one less, one more, 15 MB."""
    message = strike.target.request()
    sent: list[bytes] = []
    for at, whole in enumerate(message.raw_input_contents):
        for data in (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"\0", whole * 2, bytes(15_000_000)):
            changed = strike.target.request()
            changed.raw_input_contents[at] = data
            sent.append(changed.SerializeToString())
    for extra in (1, 5, 1000):
        changed = strike.target.request()
        changed.raw_input_contents.extend([b"\0" * 4] * extra)
        sent.append(changed.SerializeToString())
    changed = strike.target.request()
    del changed.raw_input_contents[:]
    sent.append(changed.SerializeToString())
    strike.flood("ModelInfer", sent)


@attack(_SIZES)
def other_datatypes(strike: Strike) -> None:
    """Another datatype for the same bytes, BYTES with sizes that lie among them."""
    sent: list[bytes] = []
    for datatype in ("FP64", "FP16", "BF16", "INT64", "BOOL", "BYTES", "", "X" * 5000):
        message = strike.target.request()
        message.inputs[0].datatype = datatype
        sent.append(message.SerializeToString())
        message.raw_input_contents[0] = struct.pack("<I", 2**32 - 1) * (len(message.raw_input_contents[0]) // 4)
        sent.append(message.SerializeToString())
    strike.flood("ModelInfer", sent)


@attack(_SIZES)
def huge_typed_contents(strike: Strike) -> None:
    """15 MB of typed contents: valid for a large batch where the model takes one, and millions of elements too many."""
    row = math.prod(strike.target.request().inputs[0].shape)
    for rows in (3_500_000 // row, 1):
        message = strike.target.request(rows)
        del message.raw_input_contents[:]
        for tensor in message.inputs:
            count = 3_500_000 if rows == 1 else math.prod(tensor.shape)
            if tensor.datatype == "FP32":
                tensor.contents.fp32_contents.extend([0.5] * count)
            elif tensor.datatype == "INT64":
                tensor.contents.int64_contents.extend([1] * count)
        strike.call("ModelInfer", message.SerializeToString())


@attack(_VALUES)
def integers_out_of_bounds(strike: Strike) -> None:
    """Every integer input, optional lengths included: -1, 0, one more than the axis, and the ends of its datatype."""
    sent: list[bytes] = []
    for tensor in strike.target.inputs:
        code = _INTEGERS.get(tensor.datatype)
        if code is None:
            continue
        bits = struct.calcsize(code) * 8
        numbers = (-1, 0, 5, 6, 1000, 2**31 - 1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 2**bits - 1)
        sent += [_with_integer(strike, tensor, code, number) for number in numbers]
    strike.flood("ModelInfer", sent)


def _with_integer(strike: Strike, tensor: pb.ModelMetadataResponse.TensorMetadata, code: str, number: int) -> bytes:
    message = strike.target.request()
    names = [sent.name for sent in message.inputs]
    element = (number % 256 ** struct.calcsize(code)).to_bytes(struct.calcsize(code), "little")
    if tensor.name in names:
        at = names.index(tensor.name)
        message.raw_input_contents[at] = element * (len(message.raw_input_contents[at]) // len(element))
    else:
        shape = [max(size, 1) for size in tensor.shape]
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        message.raw_input_contents.append(element * math.prod(shape))
    return message.SerializeToString()


@attack(_VALUES)
def not_finite(strike: Strike) -> None:
    """NaN with payloads and infinities in every float input, among valid requests with the same prefix."""
    message = strike.target.request()
    sent: list[bytes] = []
    for at, tensor in enumerate(message.inputs):
        if tensor.datatype not in _FLOATS:
            continue
        code, nan = _FLOATS[tensor.datatype]
        size = struct.calcsize(code)
        for bits in (nan, nan | 1, 2 ** (8 * size) - 1):
            changed = strike.target.request()
            data = changed.raw_input_contents[at]
            changed.raw_input_contents[at] = data[:-size] + bits.to_bytes(size, "little")
            sent += (changed.SerializeToString(), strike.target.valid)
    strike.flood("ModelInfer", itertools.islice(itertools.cycle(sent), 500) if sent else [])


@attack(_LARGE)
def large_answers(strike: Strike) -> None:
    """Requests for the largest answers: 4,096 rows of 120 steps, all outputs, eight at a time."""
    message = strike.target.request(_ANSWER_ROWS, 120)
    strike.flood("ModelInfer", itertools.repeat(message.SerializeToString(), 8), in_flight=8)


@attack(_LARGE)
def long_requests(strike: Strike) -> None:
    """Valid requests of 64 rows of 4,000 steps, eight at a time."""
    message = strike.target.request(64, 4000)
    strike.flood("ModelInfer", itertools.repeat(message.SerializeToString(), 16), in_flight=8)


ATTACKS = (
    millions_of_dimensions, negative_shapes, overflowing_shapes, zero_axes, other_ranks, sizes_that_disagree,
    other_datatypes, huge_typed_contents, integers_out_of_bounds, not_finite, large_answers, long_requests,
)  # fmt: skip
