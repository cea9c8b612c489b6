"""Compressed requests: decompressed here, up to a limit, and not by gRPC.

gRPC's core would decompress a message before anybody could count its bytes: 15 kB became 16 MB, a hundred of them
1.6 GB, on a thread that reads sockets. It is told to leave messages as they are (`grpc.per_message_decompression`), and
does not tell which are compressed; their first bytes do. No message of the protocol begins like gzip: 0x1f is no
protobuf tag. zlib's beginning (gRPC's "deflate") could only be a field of a number that no message has.
"""

import zlib

from rnnserve.server.errors import InvalidRequest

__all__ = ["decompress", "decompress_small", "is_compressed"]

_BEGINNINGS = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def is_compressed(payload: bytes) -> bool:
    """Whether a message is compressed, in one of the ways that gRPC has."""
    return payload.startswith(_BEGINNINGS)


def decompress_small(payload: bytes, most: int) -> bytes | None:
    """Decompress a message of `most` bytes at most; None for a larger one, of which no more is decompressed.

    Raises:
        InvalidRequest: If it is damaged.
    """
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
    """Give a message as it was before it was compressed, or as it is where it is not compressed.

    Args:
        payload: The message's bytes.
        most: Largest number of bytes, decompressed (--max-message-bytes).

    Raises:
        InvalidRequest: If it is damaged, or has more.
    """
    if not is_compressed(payload):
        return payload
    data = decompress_small(payload, most)
    if data is None:
        raise InvalidRequest(
            f"the message has more than the {most:,} bytes, decompressed, that this server takes "
            "(--max-message-bytes): send fewer rows (the batch axis) a request"
        )
    return data
