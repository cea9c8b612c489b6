"""Messages that cost more to read than to send: fields without number, huge texts, compression bombs, garbage."""

import gzip
import random

from ..attack import Strike, attack
from ..http2 import Http2Connection, grpc_message
from ..target import encode_varint
from .many_calls import send_calls

__all__ = ["ATTACKS"]

_MANY = 7_800_000
"""Fields of two bytes in a message of 15.6 MB, which is below the usual limit of 16 MB. Gzip makes 15 kB of them."""

_LARGE = 15_000_000

_METHODS = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelConfig",
    "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister", "CudaSharedMemoryStatus", "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister", "TraceSetting", "LogSettings", "/grpc.health.v1.Health/Check",
)  # fmt: skip

_FIELDS = "fields without number"
_TEXTS = "huge texts"
_BOMBS = "compression bombs"
_GARBAGE = "garbage"


def _field(number: int, body: bytes) -> bytes:
    return encode_varint(number << 3 | 2) + encode_varint(len(body)) + body


def _named(strike: Strike) -> bytes:
    return _field(1, strike.target.model.encode())


def _empty(strike: Strike, tag: bytes) -> bytes:
    return _named(strike) + (tag + b"\0") * _MANY


@attack(_FIELDS)
def empty_inputs(strike: Strike) -> None:
    """7.8 million inputs of two bytes each."""
    strike.call("ModelInfer", _empty(strike, b"\x2a"))


@attack(_FIELDS)
def empty_outputs(strike: Strike) -> None:
    """7.8 million requested outputs of two bytes each."""
    strike.call("ModelInfer", _empty(strike, b"\x32"))


@attack(_FIELDS)
def empty_parameters(strike: Strike) -> None:
    """7.8 million entries of the map of parameters."""
    strike.call("ModelInfer", _empty(strike, b"\x22"))


@attack(_FIELDS)
def empty_data(strike: Strike) -> None:
    """7.8 million entries of raw_input_contents without a byte."""
    strike.call("ModelInfer", _empty(strike, b"\x3a"))


@attack(_FIELDS)
def empty_contents(strike: Strike) -> None:
    """One input with 7.8 million elements of bytes_contents, each empty."""
    tensor = _field(1, b"input") + _field(2, b"FP32") + _field(5, b"\x42\0" * _MANY)
    strike.call("ModelInfer", _named(strike) + _field(5, tensor))


@attack(_FIELDS)
def unknown_fields(strike: Strike) -> None:
    """7.8 million fields that the protocol does not have."""
    strike.call("ModelInfer", _empty(strike, b"\x7a"))


@attack(_FIELDS)
def nested_groups(strike: Strike) -> None:
    """Groups within groups, 15 million deep, and 99 deep."""
    for depth in (99, 101, _LARGE):
        strike.call("ModelInfer", _named(strike) + b"\x7b" * depth + b"\x7c" * min(depth, 101))


@attack(_FIELDS)
def many_settings(strike: Strike) -> None:
    """A million entries of the maps of other methods."""
    entries = b"".join(
        b"\x0a\x06\x0a\x04" + number.to_bytes(4, "big").hex().encode()[:4] for number in range(1_000_000)
    )
    for method in ("TraceSetting", "LogSettings"):
        strike.call(method, entries)


@attack(_TEXTS)
def huge_model_name(strike: Strike) -> None:
    """A model's name of 15 MB, to every method that takes one."""
    for method in ("ModelInfer", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
        strike.call(method, _field(1, b"x" * _LARGE))


@attack(_TEXTS)
def huge_texts(strike: Strike) -> None:
    """Names of inputs and outputs, a datatype, an id and a parameter's key of 15 MB each."""
    text = b"x" * _LARGE
    valid = strike.target.valid
    tensor = strike.target.inputs[0].name.encode()
    for sent in (
        _named(strike) + _field(5, _field(1, text)),
        valid + _field(6, _field(1, text)),
        _named(strike) + _field(5, _field(1, tensor) + _field(2, text)),
        valid + _field(3, text),
        valid + _field(4, _field(1, text)),
    ):
        strike.call("ModelInfer", sent)


@attack(_TEXTS)
def texts_of_20_kb(strike: Strike) -> None:
    """Names of 20 kB, more than a status may carry, of plain and of other characters."""
    for text in (b"x" * 20_000, "ä".encode() * 10_000, b"%\n\x01" * 7_000, b"\xff" * 20_000):
        strike.call("ModelInfer", _field(1, text))
        strike.call("ModelInfer", _named(strike) + _field(5, _field(1, text)))


def _send_compressed(strike: Strike, payload: bytes, count: int) -> None:
    """Send the same message, compressed once, in as many calls of one connection."""
    message = grpc_message(gzip.compress(payload), flag=1)
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        send_calls(strike, connection, message, count, ("grpc-encoding", "gzip"))


@attack(_BOMBS)
def gzipped_fields(strike: Strike) -> None:
    """The empty inputs and outputs, compressed to 15 kB. Eight of each."""
    for tag in (b"\x2a", b"\x32"):
        _send_compressed(strike, _empty(strike, tag), 8)


@attack(_BOMBS)
def gzipped_zeros(strike: Strike) -> None:
    """A hundred requests whose data are 15 MB of zeros, compressed to 15 kB each."""
    request = strike.target.request()
    request.raw_input_contents[0] = bytes(_LARGE)
    _send_compressed(strike, request.SerializeToString(), 100)


@attack(_BOMBS)
def gzipped_valid(strike: Strike) -> None:
    """A hundred valid requests of many rows, compressed to some kB each: all of them are work."""
    row = len(strike.target.request(1, 120).raw_input_contents[0])
    request = strike.target.request(min(16_384, _LARGE // row), 120)
    _send_compressed(strike, request.SerializeToString(), 100)


@attack(_BOMBS)
def gzipped_beyond_the_limit(strike: Strike) -> None:
    """Four times 256 MB of zeros, compressed to 256 kB: more than any limit on messages."""
    _send_compressed(strike, bytes(256 << 20), 4)


@attack(_GARBAGE)
def garbage_to_every_method(strike: Strike) -> None:
    """The bytes ff ff, a cut message and random bytes, to every method of the protocol."""
    chance = random.Random(1)
    for _ in range(20):
        for method in _METHODS:
            sent = [b"\xff\xff", b"\x0a", chance.randbytes(chance.randrange(1, 200)), b"\x0a\x02\xff\xfe"]
            strike.flood(method, sent)
        if not strike.left():
            return


@attack(_GARBAGE)
def unknown_methods(strike: Strike) -> None:
    """Methods that there are not, each with another name."""
    for number in range(2000):
        if not strike.left():
            return
        strike.call(f"/inference.GRPCInferenceService/No{number}", b"x")


@attack(_GARBAGE)
def damaged_requests(strike: Strike) -> None:
    """Valid requests with one to three bits flipped, without end."""
    chance = random.Random(2)
    valid = strike.target.valid

    def damaged() -> bytes:
        data = bytearray(valid)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(data)

    strike.flood("ModelInfer", iter(damaged, b""))


ATTACKS = (
    empty_inputs, empty_outputs, empty_parameters, empty_data, empty_contents, unknown_fields, nested_groups,
    many_settings, huge_model_name, huge_texts, texts_of_20_kb, gzipped_fields, gzipped_zeros, gzipped_valid,
    gzipped_beyond_the_limit,
    garbage_to_every_method, unknown_methods, damaged_requests,
)  # fmt: skip
