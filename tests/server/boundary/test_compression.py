"""Compressed messages are decompressed up to a limit, and told from all others by their first bytes."""

import gzip
import tracemalloc
import zlib

import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary.compression import decompress, decompress_small, is_compressed
from rnnserve.server.errors import InvalidRequest

MESSAGE = pb.ModelInferRequest(model_name="direction_simple", raw_input_contents=[bytes(5000)]).SerializeToString()


@pytest.mark.parametrize("compress", [gzip.compress, *(lambda data, n=n: zlib.compress(data, n) for n in range(10))])
def test_what_is_compressed_is_decompressed(compress):
    compressed = compress(MESSAGE)
    assert is_compressed(compressed)
    assert decompress(compressed, 10_000) == decompress_small(compressed, len(MESSAGE)) == MESSAGE
    assert decompress_small(compressed, len(MESSAGE) - 1) is None
    with pytest.raises(InvalidRequest, match="more than the 5,000 bytes, decompressed"):
        decompress(compressed, 5000)


def test_other_messages_stay_as_they_are():
    for message in (b"", b"\x1f", MESSAGE, pb.ModelInferRequest(id="x").SerializeToString()):
        assert not is_compressed(message)
        assert decompress(message, 1) is message


def test_a_bomb_takes_no_more_memory_than_a_message_may_have():
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="more than"):
        decompress(bomb, 1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:30], lambda c: c + b"x", lambda c: c + c])
@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_what_is_damaged_is_refused(compress, damage):
    with pytest.raises(InvalidRequest, match="not one whole stream"):
        decompress(damage(compress(MESSAGE)), 10_000)


def test_wrong_bytes_are_refused():
    compressed = bytearray(gzip.compress(MESSAGE))
    compressed[12] ^= 0xFF
    with pytest.raises(InvalidRequest, match="cannot be decompressed"):
        decompress(bytes(compressed), 10_000)
