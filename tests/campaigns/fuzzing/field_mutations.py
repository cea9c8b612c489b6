"""Changes the encoding of a ModelInferRequest's fields: order, number, size, wire type.

The meaning of the message may survive (an overlong number, a packed field in two parts), change (an id that is set
again) or get lost. In each case both transports must give the same answer.
"""

import random
from collections.abc import Callable, Sequence

from campaigns.fuzzing.byte_mutations import mutate_bytes
from campaigns.fuzzing.wire_format import (
    DELIMITED,
    END_GROUP,
    FIXED32,
    FIXED64,
    START_GROUP,
    VARINT,
    Piece,
    delimited,
    split,
    varint,
)

_NUMBERS = (1, 2, 3, 3, 3, 4, 5, 6, 7)
"""Of ModelInferRequest. The id, which the fast path looks for without parsing, more often."""

_UNKNOWN = (8, 15, 16, 99, 2047, 2048, 19000, (1 << 29) - 1)

_TEXTS = (
    b"x", b"first", b"y" * 126, b"y" * 127, b"y" * 128, "ä".encode(), b"\xff", b"\x00", b"\x1a\x00", b"1", b"01",
)  # fmt: skip

_Edit = Callable[[list[bytes], list[Piece], random.Random], list[bytes]]


def mutate_fields(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change one to three fields of a request, or of one of its sub-messages.

    Args:
        data: A request.
        others: Requests to copy fields from; may be empty.
        chance: Draws the kinds and places of changes.
    """
    for _ in range(chance.choice((1, 1, 2, 3))):
        try:
            pieces = split(data)
        except ValueError:
            return data
        if chance.random() < 0.3:
            data = _inside(pieces, chance)
        elif chance.random() < 0.15 and others:
            data = _with_field_of(pieces, chance.choice(others), chance)
        else:
            data = b"".join(chance.choice(_EDITS)([piece.data for piece in pieces], pieces, chance))
    return data


def _inside(pieces: list[Piece], chance: random.Random) -> bytes:
    """Change a sub-message, up to two levels deep, such as an input's shape or a parameter's value."""
    fields = [piece.data for piece in pieces]
    inner = [at for at, piece in enumerate(pieces) if piece.kind == DELIMITED and piece.body and piece.number != 7]
    if not inner:
        return b"".join(fields)
    at = chance.choice(inner)
    number, body = pieces[at].number, pieces[at].body
    try:
        parts = split(body)
    except ValueError:
        parts = []
    if not parts or chance.random() < 0.1:
        body = mutate_bytes(body, (), chance)
    elif chance.random() < 0.3:
        body = _inside(parts, chance)
    else:
        body = b"".join(chance.choice(_EDITS)([part.data for part in parts], parts, chance))
    fields[at] = delimited(number, body)
    return b"".join(fields)


def _with_field_of(pieces: list[Piece], other: bytes, chance: random.Random) -> bytes:
    fields = [piece.data for piece in pieces]
    try:
        taken = chance.choice(split(other)).data
    except (ValueError, IndexError):
        return b"".join(fields)
    fields.insert(chance.randint(0, len(fields)), taken)
    return b"".join(fields)


def _put(fields: list[bytes], added: bytes, chance: random.Random) -> list[bytes]:
    fields.insert(chance.randint(0, len(fields)), added)
    return fields


def _duplicate(fields: list[bytes], _: list[Piece], chance: random.Random) -> list[bytes]:
    return _put(fields, chance.choice(fields), chance) if fields else fields


def _drop(fields: list[bytes], _: list[Piece], chance: random.Random) -> list[bytes]:
    if fields:
        fields.pop(chance.randrange(len(fields)))
    return fields


def _reorder(fields: list[bytes], _: list[Piece], chance: random.Random) -> list[bytes]:
    if chance.random() < 0.5 and fields:
        return _put(fields, fields.pop(chance.randrange(len(fields))), chance)
    chance.shuffle(fields)
    return fields


def _set_again(fields: list[bytes], _: list[Piece], chance: random.Random) -> list[bytes]:
    return _put(fields, delimited(chance.choice(_NUMBERS), chance.choice((b"", *_TEXTS))), chance)


def _unknown(fields: list[bytes], _: list[Piece], chance: random.Random) -> list[bytes]:
    return _put(fields, _of_any_kind(chance.choice(_UNKNOWN), chance), chance)


def _wrong_kind(fields: list[bytes], pieces: list[Piece], chance: random.Random) -> list[bytes]:
    numbers = [piece.number for piece in pieces] or [1]
    return _put(fields, _of_any_kind(chance.choice(numbers), chance), chance)


def _of_any_kind(number: int, chance: random.Random) -> bytes:
    kind = chance.choice((VARINT, FIXED64, DELIMITED, START_GROUP, END_GROUP, FIXED32, 6, 7))
    tag = varint(number << 3 | kind)
    inner = _of_any_kind(number, chance) if kind == START_GROUP and chance.random() < 0.3 else b"\x08\x01"
    ended = varint(number << 3 | END_GROUP) if chance.random() < 0.8 else b""
    return tag + {
        VARINT: varint(chance.choice((0, 1, 127, 128, 2**32, 2**63, 2**64 - 1)), chance.choice((0, 0, 5, 10, 11))),
        FIXED64: bytes(8),
        DELIMITED: varint(3) + b"abc",
        START_GROUP: inner + ended,
        FIXED32: bytes(4),
    }.get(kind, b"")


def _longer_number(fields: list[bytes], pieces: list[Piece], chance: random.Random) -> list[bytes]:
    """Write a tag or a size with more bytes than necessary. Up to 5 and 10 are allowed."""
    if not pieces:
        return fields
    at = chance.randrange(len(pieces))
    number, kind, _, body = pieces[at]
    widths = [chance.choice((0, 2, 3, 5, 6, 10, 11)) for _ in range(2)]
    head = varint(number << 3 | kind, widths[0])
    fields[at] = head + (varint(len(body), widths[1]) if kind == DELIMITED else b"") + body
    return fields


def _wrong_size(fields: list[bytes], pieces: list[Piece], chance: random.Random) -> list[bytes]:
    """Write a wrong size for a field, so that the following fields are read from another place."""
    sized = [at for at, piece in enumerate(pieces) if piece.kind == DELIMITED]
    if sized:
        at = chance.choice(sized)
        number, kind, _, body = pieces[at]
        size = max(0, len(body) + chance.choice((-2, -1, 1, 2, 2**31 - 1, 2**32, 2**63)))
        fields[at] = varint(number << 3 | kind) + varint(size) + body
    return fields


def _in_parts(fields: list[bytes], pieces: list[Piece], chance: random.Random) -> list[bytes]:
    """Split a packed field or a sub-message into two with the same number, or write each number separately."""
    whole = [at for at, piece in enumerate(pieces) if piece.kind == DELIMITED and len(piece.body) > 1]
    if not whole:
        return fields
    at = chance.choice(whole)
    number, _, _, body = pieces[at]
    if chance.random() < 0.5:
        cut = chance.randint(0, len(body))
        fields[at] = delimited(number, body[:cut]) + delimited(number, body[cut:])
    elif all(byte < 0x80 for byte in body) and len(body) < 32:
        fields[at] = b"".join(varint(number << 3 | VARINT) + bytes([byte]) for byte in body)
    return fields


_EDITS: tuple[_Edit, ...] = (
    _duplicate, _drop, _reorder, _set_again, _set_again, _unknown, _wrong_kind,
    _longer_number, _wrong_size, _in_parts,
)  # fmt: skip
