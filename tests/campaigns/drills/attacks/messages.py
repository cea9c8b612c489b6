"""Messages that cost more to read or to run than to send: many fields, huge texts, compression bombs, garbage."""

import gzip
import itertools
import random
from collections.abc import Callable, Iterable

from campaigns.drills.attack import Attack, Strike, attack
from campaigns.drills.drilled import MODEL
from campaigns.drills.http2 import grpc_message
from campaigns.fuzzing.wire_format import delimited

from .calls import send_calls

_MANY = 7_800_000
"""Fields of two bytes in a message of 15.6 MB, which is below the usual limit of 16 MB. Gzip makes 15 kB of them."""

_LARGE = 15_000_000
_TEXT = b"x" * _LARGE

_METHODS = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelConfig",
    "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister", "CudaSharedMemoryStatus", "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister", "TraceSetting", "LogSettings", "/grpc.health.v1.Health/Check",
)  # fmt: skip

_NAMED = delimited(1, MODEL.encode())


def _empty(tag: bytes) -> bytes:
    return _NAMED + (tag + b"\0") * _MANY


def _tensor(*fields: bytes) -> bytes:
    """Return a request with one input that has these fields."""
    return _NAMED + delimited(5, b"".join(fields))


def _empty_contents(_: Strike) -> Iterable[bytes]:
    yield _tensor(delimited(1, b"input"), delimited(2, b"FP32"), delimited(5, b"\x42\0" * _MANY))


def _shape_of_many_axes(_: Strike) -> Iterable[bytes]:
    yield _tensor(delimited(1, b"input"), delimited(2, b"FP32"), delimited(3, b"\x01" * _LARGE))


def _nested_groups(_: Strike) -> Iterable[bytes]:
    for depth in (99, 101, _LARGE):
        yield _NAMED + b"\x7b" * depth + b"\x7c" * min(depth, 101)


def _huge_texts(strike: Strike) -> Iterable[bytes]:
    """Send model, input and output names, a datatype, an id and a parameter key of 15 MB each."""
    yield delimited(1, _TEXT)
    yield _tensor(delimited(1, _TEXT))
    yield strike.valid + delimited(6, delimited(1, _TEXT))
    yield _tensor(delimited(1, b"input"), delimited(2, _TEXT))
    yield strike.valid + delimited(3, _TEXT)
    yield strike.valid + delimited(4, delimited(1, _TEXT))


def _huge_typed_contents(strike: Strike) -> Iterable[bytes]:
    """Send 15 MB of typed contents: valid ones for a large batch, and ones with millions of elements too many."""
    for rows in (437_500, 1):
        message = strike.request(rows)
        del message.raw_input_contents[:]
        message.inputs[0].contents.fp32_contents.extend([0.5] * 3_500_000)
        yield message.SerializeToString()


_FIELDS, _TEXTS, _WORK, _BOMBS, _GARBAGE = "many fields", "huge texts", "large work", "compression bombs", "garbage"

_REQUESTS: tuple[tuple[str, str, Callable[[Strike], Iterable[bytes]]], ...] = (
    (_FIELDS, "empty-inputs", lambda _: [_empty(b"\x2a")]),
    (_FIELDS, "empty-outputs", lambda _: [_empty(b"\x32")]),
    (_FIELDS, "empty-parameters", lambda _: [_empty(b"\x22")]),
    (_FIELDS, "empty-data", lambda _: [_empty(b"\x3a")]),
    (_FIELDS, "unknown-fields", lambda _: [_empty(b"\x7a")]),
    (_FIELDS, "empty-contents", _empty_contents),
    (_FIELDS, "shape-of-many-axes", _shape_of_many_axes),
    (_FIELDS, "nested-groups", _nested_groups),
    (_TEXTS, "huge-texts", _huge_texts),
    (_WORK, "huge-typed-contents", _huge_typed_contents),
)
"""Class of attack, name, and the payloads for ModelInfer, eight in flight."""

_COMPRESSED: tuple[tuple[str, int, Callable[[Strike], bytes]], ...] = (
    ("gzipped-inputs", 8, lambda _: _empty(b"\x2a")),
    ("gzipped-zeros", 100, Strike.zeros),
    ("gzipped-valid", 100, lambda strike: strike.request(15_600, 120).SerializeToString()),
    ("gzipped-beyond-the-limit", 4, lambda _: bytes(256 << 20)),
)
"""Name, calls on one connection, and the message, which gzip makes 15 kB to 256 kB of."""


def _of_requests(kind: str, name: str, payloads: Callable[[Strike], Iterable[bytes]]) -> Attack:
    return attack(kind, name)(lambda strike: strike.flood("ModelInfer", payloads(strike), in_flight=8))


def _of_compressed(name: str, calls: int, payload: Callable[[Strike], bytes]) -> Attack:
    def run(strike: Strike) -> None:
        message = grpc_message(gzip.compress(payload(strike)), flag=1)
        with strike.connect() as connection:
            send_calls(strike, connection, message, calls, ("grpc-encoding", "gzip"))

    return attack(_BOMBS, name)(run)


@attack(_FIELDS)
def many_settings(strike: Strike) -> None:
    """Send a million map entries to other methods."""
    entries = b"".join(delimited(1, delimited(1, b"%06d" % number)) for number in range(1_000_000))
    for method in ("TraceSetting", "LogSettings"):
        strike.flood(method, [entries])


@attack(_TEXTS)
def huge_model_names(strike: Strike) -> None:
    """Send a model name of 15 MB to the other methods that take one."""
    for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
        strike.flood(method, [delimited(1, _TEXT)])


@attack(_GARBAGE)
def garbage_to_every_method(strike: Strike) -> None:
    """Send the bytes ff ff, a truncated message and random bytes to every method of the protocol."""
    chance = random.Random(1)
    for _ in range(20):
        for method in _METHODS:
            sent = [b"\xff\xff", b"\x0a", chance.randbytes(chance.randrange(1, 200)), b"\x0a\x02\xff\xfe"]
            strike.flood(method, sent)
        if not strike.left():
            return


ATTACKS = (
    *itertools.starmap(_of_requests, _REQUESTS),
    *itertools.starmap(_of_compressed, _COMPRESSED),
    many_settings,
    huge_model_names,
    garbage_to_every_method,
)
