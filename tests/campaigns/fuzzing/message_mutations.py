"""Changes of what a ModelInferRequest says: shapes, sizes, values, contents, parameters, names, ids.

The message stays one that protobuf writes. Half of these are what a client gets wrong, half what an attacker tries.
"""

import random
import struct
from collections.abc import Callable

import numpy as np
from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import CONTENTS, DTYPES

__all__ = ["mutate_message", "with_other_values"]

_SIZES = (-(2**63), -1, 0, 1, 2, 3, 5, 7, 17, 4096, 4097, 16384, 16385, 2**31 - 1, 2**32, 2**62, 2**63 - 1)

_NAMES = ("", "input", "lengths", "h_0", "tokens", "ends", "nothing", "Input", "../input", "a\0b", "ä", "x" * 300)

_IDS = ("", "1", "first", "x" * 126, "x" * 127, "x" * 128, "ä" * 64, "\0", "x" * 4096, "x" * 4097, "7 %25")

_PARAMETERS = (
    "sequence_id", "sequence_start", "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size",
    "classification", "binary_data", "priority", "timeout", "",
)  # fmt: skip

_FLOATS = {"FP16": "<e", "FP32": "<f", "FP64": "<d"}

_NOT_NUMBERS = {
    # quiet and signalling NaN with payloads, infinities, the largest numbers, the smallest denormal
    "FP16": (0x7E00, 0x7C01, 0xFFFF, 0x7C00, 0xFC00, 0x7BFF, 0x0001),
    "FP32": (0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x7EFFFFFF, 0x00000001),
    "FP64": (0x7FF8 << 48, (0x7FF0 << 48) + 1, 2**64 - 1, 0x7FF0 << 48, 0xFFF0 << 48, (0x7FF0 << 48) - 1, 1),
}

_Message = pb.ModelInferRequest


def mutate_message(data: bytes, chance: random.Random) -> bytes:
    """Change one or two things that a request says."""
    message = pb.ModelInferRequest()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return data
    for _ in range(chance.choice((1, 1, 2))):
        chance.choice(_KINDS)(message, chance)
    return message.SerializeToString()


def with_other_values(data: bytes, chance: random.Random) -> bytes:
    """The same request before other data: each tensor's elements in another order, which keeps them valid.

    For a request that has an id, it may be another of the same or of another size.
    """
    message = pb.ModelInferRequest.FromString(data)
    for at, (tensor, raw) in enumerate(zip(message.inputs, message.raw_input_contents, strict=False)):
        array = np.frombuffer(raw, DTYPES[tensor.datatype])
        message.raw_input_contents[at] = array[chance.sample(range(len(array)), len(array))].tobytes()
    if message.id:
        message.id = str(chance.randrange(10 ** chance.randint(1, 9)))
    return message.SerializeToString()


def _tensor(message: _Message, chance: random.Random) -> pb.ModelInferRequest.InferInputTensor:
    return chance.choice(message.inputs) if message.inputs else message.inputs.add(name="input", datatype="FP32")


def _axis_size(message: _Message, chance: random.Random) -> None:
    tensor = _tensor(message, chance)
    if tensor.shape:
        tensor.shape[chance.randrange(len(tensor.shape))] = chance.choice(_SIZES)


def _axes(message: _Message, chance: random.Random) -> None:
    shape = _tensor(message, chance).shape
    match chance.randrange(4):
        case 0 if shape:
            shape.pop(chance.randrange(len(shape)))
        case 1:
            shape.insert(chance.randint(0, len(shape)), chance.choice((1, 1, 2, 0)))
        case 2:
            shape.extend([1] * chance.choice((14, 16, 40)))
        case _:
            order = chance.sample(list(shape), len(shape))
            shape[:] = order


def _overflow(message: _Message, chance: random.Random) -> None:
    """A shape whose product is 0, or the true one, modulo 2**64 or 2**32."""
    tensor = _tensor(message, chance)
    tensor.shape[:] = chance.choice(([2**32, 2**32, 1], [2**63 - 1, 2, 2], [2**16, 2**16, 2], [-1, -1, 2], [-2, -4, 1]))


def _data_size(message: _Message, chance: random.Random) -> None:
    raw = message.raw_input_contents
    if raw:
        at = chance.randrange(len(raw))
        raw[at] = chance.choice((b"", raw[at][:-1], raw[at] + b"\0", raw[at] * 2, raw[at][:4], bytes(len(raw[at]) + 8)))


def _data_count(message: _Message, chance: random.Random) -> None:
    raw = message.raw_input_contents
    if raw and chance.random() < 0.5:
        raw.pop(chance.randrange(len(raw)))
    else:
        raw.append(chance.choice((b"", b"\0" * 8, raw[0] if raw else b"\1")))


def _float_value(message: _Message, chance: random.Random) -> None:
    floats = [at for at, t in enumerate(message.inputs) if t.datatype in _FLOATS]
    for at in floats[:1] if chance.random() < 0.5 else floats:
        datatype = message.inputs[at].datatype
        size = DTYPES[datatype].itemsize if datatype in DTYPES else 4
        bits = chance.choice(_NOT_NUMBERS[datatype])
        _put_element(message, at, bits.to_bytes(size, "little"), chance)


def _integer_value(message: _Message, chance: random.Random) -> None:
    whole = [at for at, t in enumerate(message.inputs) if t.datatype in DTYPES and t.datatype not in _FLOATS]
    if whole:
        at = chance.choice(whole)
        size = DTYPES[message.inputs[at].datatype].itemsize
        number = chance.choice((0, 1, 2, 3, 5, 6, 7, 11, 12, 13, 127, 255, 2**31, -1, -(2**63), 2**63 - 1, 2**64 - 1))
        _put_element(message, at, (number % 256**size).to_bytes(size, "little"), chance)


def _put_element(message: _Message, at: int, element: bytes, chance: random.Random) -> None:
    if at < len(message.raw_input_contents):
        data = message.raw_input_contents[at]
        count = len(data) // len(element)
        if count:
            place = chance.choice((0, count - 1, chance.randrange(count))) * len(element)
            message.raw_input_contents[at] = data[:place] + element + data[place + len(element) :]


def _datatype(message: _Message, chance: random.Random) -> None:
    _tensor(message, chance).datatype = chance.choice((*DTYPES, "", "BYTES", "BF16", "fp32", "FP32 ", "F" * 200))


def _name(message: _Message, chance: random.Random) -> None:
    match chance.randrange(3):
        case 0:
            _tensor(message, chance).name = chance.choice(_NAMES)
        case 1:
            message.model_name = chance.choice((*_NAMES, message.model_name + "s", "../" + message.model_name))
        case _:
            message.model_version = chance.choice(("", "1", "2", "01", "-1", "1.0", "9" * 30, "\u0661", "1\0"))


def _tensors(message: _Message, chance: random.Random) -> None:
    match chance.randrange(3):
        case 0 if message.inputs:
            message.inputs.append(chance.choice(message.inputs))
        case 1 if message.inputs:
            del message.inputs[chance.randrange(len(message.inputs))]
        case _:
            message.inputs.add(name=chance.choice(_NAMES), datatype="FP32", shape=[1, 1])


def _outputs(message: _Message, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        message.outputs.add(name=chance.choice(("logits", "output", "h_n", "lasting", *_NAMES)))


def _id(message: _Message, chance: random.Random) -> None:
    message.id = chance.choice(_IDS)


def _parameters(message: _Message, chance: random.Random) -> None:
    holders = [message.parameters, _tensor(message, chance).parameters]
    holders += [output.parameters for output in message.outputs[:1]]
    parameter = chance.choice(holders)[chance.choice(_PARAMETERS)]
    match chance.randrange(5):
        case 0:
            parameter.int64_param = chance.choice((0, 1, -1, 2**62))
        case 1:
            parameter.uint64_param = chance.choice((0, 1, 2**64 - 1))
        case 2:
            parameter.string_param = chance.choice(("", "x", "ä", "../x"))
        case 3:
            parameter.bool_param = chance.random() < 0.5


def _typed_contents(message: _Message, chance: random.Random) -> None:
    """Typed contents in the place of raw ones, or beside them, right or wrong."""
    if chance.random() < 0.3:
        tensor = _tensor(message, chance)
        contents = getattr(tensor.contents, chance.choice(tuple(CONTENTS.values())))
        contents.extend([1] * chance.choice((0, 1, 2, 8)))
        return
    for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=False):
        field, dtype = CONTENTS.get(tensor.datatype), DTYPES.get(tensor.datatype)
        if field is None or dtype is None or len(raw) % dtype.itemsize:
            return
        values = np.frombuffer(raw, dtype).tolist()
        getattr(tensor.contents, field).extend(values[: chance.choice((len(values),) * 6 + (1,))])
    del message.raw_input_contents[:]
    if chance.random() < 0.2:
        message.raw_input_contents.append(struct.pack("<f", 1.0))


_KINDS: tuple[Callable[[_Message, random.Random], None], ...] = (
    _axis_size, _axis_size, _axes, _overflow, _data_size, _data_count, _float_value, _float_value, _integer_value,
    _integer_value, _datatype, _name, _tensors, _outputs, _id, _parameters, _typed_contents, _typed_contents,
)  # fmt: skip
