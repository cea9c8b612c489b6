"""Compressed messages are decompressed up to a limit, and told from all others by their first bytes."""

import gzip
import tracemalloc
import zlib

import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary.compression import decompress, decompress_small, is_compressed
from rnnserve.server.errors import InvalidRequest

MESSAGE = pb.ModelInferRequest(model_name="direction_simple", raw_input_contents=[bytes(5000)]).SerializeToString()


def test_compressed_messages_are_decompressed():
    for compressed in (gzip.compress(MESSAGE), *(zlib.compress(MESSAGE, level) for level in range(10))):
        assert is_compressed(compressed)
        assert decompress(compressed, 10_000) == decompress_small(compressed, len(MESSAGE)) == MESSAGE
        assert decompress_small(compressed, len(MESSAGE) - 1) is None
        with pytest.raises(InvalidRequest, match="more than the 5,000 bytes, decompressed"):
            decompress(compressed, 5000)


def test_other_messages_stay_as_they_are():
    for message in (b"", b"\x1f", MESSAGE, pb.ModelInferRequest(id="x").SerializeToString()):
        assert not is_compressed(message)
        assert decompress(message, 1) is message


def test_bomb_takes_no_more_memory_than_a_message_may_have():
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="more than"):
        decompress(bomb, 1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_damaged_messages_are_refused():
    for compressed in (gzip.compress(MESSAGE), zlib.compress(MESSAGE)):
        for damaged in (compressed[:-1], compressed[:30], compressed + b"x", compressed + compressed):
            with pytest.raises(InvalidRequest, match="not one whole stream"):
                decompress(damaged, 10_000)
    wrong = bytearray(gzip.compress(MESSAGE))
    wrong[12] ^= 0xFF
    with pytest.raises(InvalidRequest, match="cannot be decompressed"):
        decompress(bytes(wrong), 10_000)
