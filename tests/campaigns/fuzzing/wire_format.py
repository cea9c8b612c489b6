"""Protobuf's wire format, as far as a mutator needs it."""

from typing import NamedTuple

VARINT, FIXED64, DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)

_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


class Piece(NamedTuple):
    """One encoded field of a message.

    Attributes:
        number: The field number.
        kind: The wire type.
        head: The bytes of the tag, and of the size if there is one.
        body: The bytes of the number, or `size` bytes; empty for group ends.
    """

    number: int
    kind: int
    head: bytes
    body: bytes

    @property
    def data(self) -> bytes:
        """The bytes of the field."""
        return self.head + self.body


def varint(number: int, width: int = 0) -> bytes:
    """Encode a number of up to 64 bits in at least `width` bytes, which can be more than necessary."""
    out = bytearray()
    while number > 0x7F or len(out) + 1 < width:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(number: int, body: bytes) -> bytes:
    """Write a field of text, bytes or a message."""
    return varint(number << 3 | DELIMITED) + varint(len(body)) + body


def split(data: bytes) -> list[Piece]:
    """Split a message's bytes into its fields.

    Raises:
        ValueError: If the bytes aren't a series of fields.
    """
    pieces: list[Piece] = []
    at = 0
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            head = at
            _, at = _read_varint(data, at)
        elif kind == DELIMITED:
            size, at = _read_varint(data, at)
            head, at = at, at + size
        elif kind in (START_GROUP, END_GROUP):
            head = at
        elif kind in _FIXED_SIZES:
            head, at = at, at + _FIXED_SIZES[kind]
        else:
            raise ValueError(f"wire type {kind} at {start}")
        if at > len(data):
            raise ValueError(f"the field at {start} ends after the message")
        pieces.append(Piece(tag >> 3, kind, data[start:head], data[head:at]))
    return pieces


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at == len(data):
            break
        number |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return number, at
    raise ValueError(f"no number ends at {at}")
