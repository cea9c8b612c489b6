"""Counting what a request's bytes hold, before protobuf makes an object of each.

Two bytes are enough for an input without a name. A message of 16 MB can hold 8 million of them, which compress to 15
kB: parsing took 8.6 s and 2.6 GB. A request needs a handful, so that after a bounded number of fields it is refused.
"""

from rnnserve.server.errors import InvalidRequest

__all__ = ["refuse_crowded"]

_SMALL = 4096
"""Bytes that hold too few fields to matter."""

_MAX_FIELDS = 2048
"""Fields of a request, of its inputs and outputs and of their contents, where packed numbers are one, but each ten
bytes of a shape; they are counted before anything is parsed. 250 inputs with name, datatype, shape, parameters and data
have as many. Contents have one field for all numbers, as every implementation of proto3 writes them. Beyond it:
INVALID_ARGUMENT."""

_VARINT, _FIXED64, _DELIMITED, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_INPUTS, _OUTPUTS = 5, 6
"""Numbers of the fields of ModelInferRequest whose own fields are counted, too."""

_CONTENTS = 5
"""The same of an input. An output has no field of that number."""

_SHAPE, _AXIS_BYTES = 3, 10
"""The field of an input whose numbers are counted as fields, and the most bytes of one: 15 million axes took 0.2 s and
250 MB to parse."""


_OF_AN_INPUT = ((_CONTENTS,),)


def refuse_crowded(payload: bytes) -> None:
    """Refuse a ModelInferRequest with more fields than any model needs.

    Only tags and sizes are read. Bytes that are not a message pass: the parser refuses them.

    Raises:
        InvalidRequest: If there are more.
    """
    if len(payload) <= _SMALL:
        return
    try:
        count = _count(payload, 0, len(payload), 0, (_INPUTS, _OUTPUTS), *_OF_AN_INPUT)
    except IndexError:
        return
    if count > _MAX_FIELDS:
        raise InvalidRequest(
            f"the request has more than {_MAX_FIELDS:,} fields: inputs, outputs and parameters, and what they consist "
            "of; send each tensor's data as one entry of raw_input_contents"
        )


def _count(data: bytes, at: int, end: int, count: int, *looked_into: tuple[int, ...]) -> int:
    """Add the fields from `at` to `end` to a count; stop when it is above the limit.

    Args:
        data: The request.
        at: Offset at which a message in it begins.
        end: Offset of its end.
        count: The count to add to.
        looked_into: Numbers of the message's fields whose own fields are counted, too; of theirs; and so on.

    Raises:
        IndexError: If the bytes end within a field.
    """
    while at < end and count <= _MAX_FIELDS:
        count += 1
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _DELIMITED:
            size, at = _varint(data, at)
            if looked_into and tag >> 3 in looked_into[0]:
                count = _count(data, at, min(at + size, end), count, *looked_into[1:])
            elif tag >> 3 == _SHAPE and looked_into == _OF_AN_INPUT:
                count += size // _AXIS_BYTES
            at += size
        else:
            at += {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)  # of a group the fields count
    return count


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number, of ten bytes at most, and say where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return number, at
