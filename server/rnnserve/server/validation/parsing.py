"""From a request's bytes to its message, in bounded memory: they are decompressed, and their fields counted.

gRPC's core would decompress a message before anybody could count its bytes: 15 kB became 16 MB, a hundred of them
1.6 GB, on a thread that reads sockets. It is told to leave messages as they are (`grpc.per_message_decompression`), and
does not report which are compressed; their first bytes do. No message of the protocol begins like gzip: 0x1f is no
protobuf tag. zlib's beginning (gRPC's "deflate") could only be a field of a number that no message has.

Two bytes are enough for an input without a name, of which protobuf makes an object. A message of 16 MB can hold 8
million of them, which compress to 15 kB: parsing took 8.6 s and 2.6 GB. A request needs a handful.
"""

import zlib

from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.settings import Settings

__all__ = ["decompress", "decompress_small", "is_compressed", "parse_request", "refuse_crowded"]

_BEGINNINGS = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

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

_OF_AN_INPUT = ((5,),)
"""The same of an input: its contents. An output has no field of that number."""

_SHAPE, _AXIS_BYTES = 3, 10
"""The field of an input whose numbers are counted as fields, and the most bytes of one: 15 million axes took 0.2 s and
250 MB to parse."""


def parse_request(payload: bytes, settings: Settings) -> inference_pb2.ModelInferRequest:
    """Parse a ModelInferRequest, compressed or not; raises InvalidRequest if it is damaged or too large."""
    if len(payload) > settings.max_message_bytes:
        raise InvalidRequest(
            f"the request has {len(payload):,} bytes, more than the {settings.max_message_bytes:,} that this server "
            "takes (--max-message-bytes): send fewer rows (the batch axis) a request"
        )
    payload = decompress(payload, settings.max_message_bytes)
    refuse_crowded(payload)
    try:
        return inference_pb2.ModelInferRequest.FromString(payload)
    except DecodeError:
        raise InvalidRequest(
            f"the request's {len(payload):,} bytes are not an inference.ModelInferRequest: do client and server "
            "speak the same protocol?"
        ) from None


def is_compressed(payload: bytes) -> bool:
    """Whether a message is compressed, in one of the ways that gRPC has."""
    return payload.startswith(_BEGINNINGS)


def decompress_small(payload: bytes, most: int) -> bytes | None:
    """Decompress at most `most` bytes, None if there are more; raises InvalidRequest for a damaged message."""
    try:
        decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
        data = decompressor.decompress(payload, most + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the message's {len(payload):,} bytes cannot be decompressed: {error}") from None
    if len(data) > most:
        return None
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidRequest(
            f"the message's {len(payload):,} bytes cannot be decompressed: they are not one whole stream"
        )
    return data


def decompress(payload: bytes, most: int) -> bytes:
    """Return a message as it was before compression; raises InvalidRequest if it is damaged or too large."""
    if not is_compressed(payload):
        return payload
    data = decompress_small(payload, most)
    if data is None:
        raise InvalidRequest(
            f"the message has more than the {most:,} bytes, decompressed, that this server takes "
            "(--max-message-bytes): send fewer rows (the batch axis) a request"
        )
    return data


def refuse_crowded(payload: bytes) -> None:
    """Raise InvalidRequest for more fields than any model needs, by tags and sizes alone."""
    if len(payload) <= _SMALL:
        return
    try:
        count = _count(payload, 0, len(payload), 0, (_INPUTS, _OUTPUTS), *_OF_AN_INPUT)
    except IndexError:  # the bytes end within a field
        return
    if count > _MAX_FIELDS:
        raise InvalidRequest(
            f"the request has more than {_MAX_FIELDS:,} fields: inputs, outputs and parameters, and what they consist "
            "of; send each tensor's data as one entry of raw_input_contents"
        )


def _count(data: bytes, at: int, end: int, count: int, *looked_into: tuple[int, ...]) -> int:
    """Count the fields from `at` to `end`, and those of fields `looked_into[0]`, and so on; stop above the limit."""
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
    """Read a number, of ten bytes at most, and return where it ends, too."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return number, at
