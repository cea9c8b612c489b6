"""Changes the content of a ModelInferRequest: any field, also of sub-messages, gets a value that is often wrong.

Protobuf still encodes the message. The values depend only on the field's type, so new fields of the protocol are
covered, too.
"""

import random
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import CONTENTS, DTYPES

_NUMBERS = (
    0, 1, 2, 3, 5, 6, 7, 11, 12, 13, 17, 127, 255, 4096, 4097, 16384, 16385, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1,
    -1, -2, -(2**63),
)  # fmt: skip

_KNOWN = (
    "input", "lengths", "h_0", "tokens", "ends", "logits", "output", "h_n", "lasting", "1", *DTYPES, "BYTES", "BF16",
)  # fmt: skip
"""Names of models' tensors, a version, and datatypes."""

_ODD = (
    "", "nothing", "Input", "../input", "a\0b", "ä", "ä" * 64, "\u0661", "\0", "x" * 126, "x" * 127, "x" * 128,
    "x" * 300, "x" * 4096, "x" * 4097, "7 %25", "2", "01", "-1", "1.0", "9" * 30, "fp32", "FP32 ",
)  # fmt: skip

_PARAMETERS = (
    "sequence_id", "sequence_start", "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size",
    "classification", "binary_data", "priority", "timeout", "",
)  # fmt: skip

_NOT_NUMBERS = {
    # quiet and signalling NaN with payloads, infinities, the largest numbers, the smallest denormal
    "FP16": (0x7E00, 0x7C01, 0xFFFF, 0x7C00, 0xFC00, 0x7BFF, 0x0001),
    "FP32": (0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x7EFFFFFF, 0x00000001),
    "FP64": (0x7FF8 << 48, (0x7FF0 << 48) + 1, 2**64 - 1, 0x7FF0 << 48, 0xFFF0 << 48, (0x7FF0 << 48) - 1, 1),
}

_SHAPES = ([2**32, 2**32, 1], [2**63 - 1, 2, 2], [2**16, 2**16, 2], [-1, -1, 2], [-2, -4, 1], [1] * 40)
"""Their products are 0, or the true one, modulo 2**64 or 2**32; and more axes than any tensor has."""


def mutate_message(data: bytes, chance: random.Random) -> bytes:
    """Change one or two fields of a request."""
    message = pb.ModelInferRequest()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return data
    for _ in range(chance.choice((1, 1, 2))):
        chance.choice((_field, _field, _field, _element, _element, _typed_contents, _shape))(message, chance)
    return message.SerializeToString()


def with_other_values(data: bytes, chance: random.Random) -> bytes:
    """Return the same request with the elements of each tensor in another order, which keeps them valid.

    The id may change, too, in value or size.
    """
    message = pb.ModelInferRequest.FromString(data)
    for at, (tensor, raw) in enumerate(zip(message.inputs, message.raw_input_contents, strict=False)):
        array = np.frombuffer(raw, DTYPES[tensor.datatype])
        message.raw_input_contents[at] = array[chance.sample(range(len(array)), len(array))].tobytes()
    if message.id:
        message.id = str(chance.randrange(10 ** chance.randint(1, 9)))
    return message.SerializeToString()


def _field(message: Any, chance: random.Random) -> None:
    """Change a field, or a field of a sub-message. Prefers fields with a value."""
    used = [field for field, _ in message.ListFields()]
    field = chance.choice(used if used and chance.random() < 0.8 else message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _field(value[chance.choice(_PARAMETERS)], chance)
    elif field.is_repeated:
        _items(value, field, chance)
    elif field.message_type is not None:
        _field(value, chance)
    else:
        setattr(message, field.name, _value(field, value, chance))


def _items(items: Any, field: FieldDescriptor, chance: random.Random) -> None:
    """Change, drop, repeat, reorder or add items of a field."""
    at = chance.randrange(len(items)) if items else 0
    match chance.randrange(6):
        case 0 if items:
            del items[at]
        case 1 if items:
            items.extend([items[at]] * chance.choice((1, 1, 2, 14)))
        case 2 if items:
            kept = [*items]
            del items[:]
            items.extend(chance.sample(kept, len(kept)))
        case 3 | 4 | 5 if items and field.message_type is not None:
            _field(items[at], chance)
        case 3 | 4 | 5 if items:
            items[at] = _value(field, items[at], chance)
        case _ if field.message_type is not None:
            _field(items.add(), chance)
        case _:
            items.append(_value(field, items[at] if items else None, chance))


def _value(field: FieldDescriptor, before: Any, chance: random.Random) -> Any:
    """Draw a value for a field that isn't a message."""
    number = chance.choice(_NUMBERS)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            data = before or b""
            return chance.choice((b"", data[:-1], data[:4], data + b"\0", data * 2, bytes(len(data) + 8), b"\0" * 8))
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(chance.choice((_KNOWN, _ODD, (f"{before}s", f"../{before}", f"{before}ä"))))
        case FieldDescriptor.CPPTYPE_BOOL:
            return number % 2 == 1
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return float(chance.choice((number, "nan", "inf", "1e-45")))
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return number % (2**32 if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32 else 2**64)
        case FieldDescriptor.CPPTYPE_INT32:
            return (number + 2**31) % 2**32 - 2**31
    return number


def _shape(message: pb.ModelInferRequest, chance: random.Random) -> None:
    if message.inputs:
        chance.choice(message.inputs).shape[:] = chance.choice(_SHAPES)


def _element(message: pb.ModelInferRequest, chance: random.Random) -> None:
    """Change an element of the raw contents."""
    raw = message.raw_input_contents
    known = [at for at, tensor in enumerate(message.inputs[: len(raw)]) if tensor.datatype in DTYPES]
    if known:
        at = chance.choice(known)
        datatype = message.inputs[at].datatype
        size = DTYPES[datatype].itemsize
        element = (chance.choice(_NOT_NUMBERS.get(datatype, _NUMBERS)) % 256**size).to_bytes(size, "little")
        if count := len(raw[at]) // size:
            place = chance.choice((0, count - 1, chance.randrange(count))) * size
            raw[at] = raw[at][:place] + element + raw[at][place + size :]


def _typed_contents(message: pb.ModelInferRequest, chance: random.Random) -> None:
    """Return typed contents instead of raw ones, or in addition to them, valid or not."""
    for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=False):
        field, dtype = CONTENTS.get(tensor.datatype), DTYPES.get(tensor.datatype)
        if field is None or dtype is None or len(raw) % dtype.itemsize:
            return
        values = np.frombuffer(raw, dtype).tolist()
        getattr(tensor.contents, field).extend(values[: chance.choice((len(values),) * 6 + (1,))])
    if chance.random() < 0.8:
        del message.raw_input_contents[:]
