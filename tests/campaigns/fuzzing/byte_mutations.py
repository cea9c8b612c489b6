"""Changes that ignore the meaning of bytes: flip, cut, insert, repeat, splice."""

import random
from collections.abc import Sequence

_TELLING = (0x00, 0x01, 0x7F, 0x80, 0xFF)
"""Bytes at the edges of varints, of signed numbers and of ASCII."""


def mutate_bytes(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change bytes in one to four places.

    Args:
        data: The bytes to change.
        others: Other inputs to splice with; may be empty.
        chance: Draws the kinds and places of changes.
    """
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        data = chance.choice(_KINDS)(data, others, chance)
    return data


def _flip(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    if not data:
        return b"\x00"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _replace(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + bytes([chance.choice(_TELLING)]) + data[at + 1 :]


def _cut(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] if chance.random() < 0.3 else data[:at] + data[at + chance.choice((1, 1, 2, 4, 16)) :]


def _insert(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    added = bytes(chance.choice((chance.choice(_TELLING), chance.randrange(256))) for _ in range(chance.randint(1, 8)))
    return data[:at] + added + data[at:]


def _repeat(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = at + chance.randint(1, 32)
    return data[:end] + data[at:end] * chance.choice((1, 1, 2, 64)) + data[end:]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others) if others else data
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


_KINDS = (_flip, _flip, _replace, _cut, _insert, _repeat, _splice)
