"""Parse a request's bytes in bounded memory, and read its parameters.

gRPC's core would decompress a message before its size could be checked: 15 kB became 16 MB, and a hundred of them 1.6
GB, on a thread that reads sockets. So its decompression is off (`grpc.per_message_decompression`). gRPC doesn't report
which messages are compressed, but their first bytes show it. No message of the protocol begins like gzip, because 0x1f
isn't a protobuf tag. The first byte of zlib (gRPC's "deflate") would be a field number that no message has.

protobuf makes an object from two bytes, an input without a name. A message of 16 MB can hold 8 million of them and
compresses to 15 kB. Parsing it took 8.6 s and 2.6 GB. A request needs a handful.

Parameters are Triton's: `timeout` and `priority` of its schedule policy, `classification` of an output, and the
sequence parameters. Names that begin with `triton_` are reserved. Other names would be a model's own parameters, which
no model here has.
"""

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2
from rnnserve.protos.inference_pb2 import InferParameter, ModelInferRequest
from rnnserve.protos.protocol_words import (
    BATCH,
    CLASSIFICATION,
    EMPTY_FINAL_RESPONSE,
    PRIORITY,
    RESERVED_PREFIX,
    SEQUENCE_END,
    SEQUENCE_ID,
    SEQUENCE_KEY,
    SEQUENCE_START,
    SHARED_MEMORY,
    TIMEOUT,
)
from rnnserve.server.errors import InvalidRequest, Unsupported, quoted
from rnnserve.server.settings import Settings
from rnnserve.server.validation.signature import SequenceControl, Signature

__all__ = [
    "VARYING_PARAMETERS",
    "check_final_response",
    "decompress",
    "decompress_small",
    "is_compressed",
    "parse_request",
    "read_classes",
    "read_sequence_control",
    "read_timeout",
    "refuse_crowded",
    "refuse_shared_memory",
]

_BEGINNINGS = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

_SMALL = 4096
"""Messages up to this many bytes have few fields, so they aren't counted."""

_MAX_FIELDS = 2048
"""Most fields of a request, including its inputs, outputs and contents, counted before parsing. Packed numbers count as
one field, but each ten bytes of a shape count as one. 250 inputs with name, datatype, shape, parameters and data reach
the limit. Contents have one field for all numbers, as every implementation of proto3 writes them. Beyond it:
INVALID_ARGUMENT."""

_VARINT, _FIXED64, _DELIMITED, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_INPUTS, _OUTPUTS = 5, 6
"""Field numbers in ModelInferRequest whose nested fields are also counted."""

_OF_AN_INPUT = ((5,),)
"""The same for an input: its contents. An output has no field with this number."""

_SHAPE, _AXIS_BYTES = 3, 10
"""The input field whose numbers count as fields, and the most bytes of a number. Parsing 15 million axes took 0.2 s and
250 MB."""


def parse_request(payload: bytes, settings: Settings) -> inference_pb2.ModelInferRequest:
    """Parse a ModelInferRequest, compressed or not. Raises InvalidRequest if it is damaged or too large."""
    if len(payload) > settings.max_message_bytes:
        raise InvalidRequest(
            f"the request has {len(payload):,} bytes, but this server accepts at most {settings.max_message_bytes:,} "
            "(--max-message-bytes); send fewer rows (the batch axis) per request"
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
    """Whether a message is compressed by one of gRPC's methods."""
    return payload.startswith(_BEGINNINGS)


def decompress_small(payload: bytes, most: int) -> bytes | None:
    """Decompress a message, or return None for more than `most` bytes. Raises InvalidRequest if it is damaged."""
    try:
        decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
        data = decompressor.decompress(payload, most + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the message's {len(payload):,} bytes cannot be decompressed: {error}") from None
    if len(data) > most:
        return None
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidRequest(
            f"the message's {len(payload):,} bytes cannot be decompressed: they must be one complete stream"
        )
    return data


def decompress(payload: bytes, most: int) -> bytes:
    """Decompress a message if it is compressed. Raises InvalidRequest if it is damaged or too large."""
    if not is_compressed(payload):
        return payload
    data = decompress_small(payload, most)
    if data is None:
        raise InvalidRequest(
            f"the decompressed message has more than the {most:,} bytes that this server accepts "
            "(--max-message-bytes); send fewer rows (the batch axis) per request"
        )
    return data


def refuse_crowded(payload: bytes) -> None:
    """Raise InvalidRequest for more fields than any model needs. Reads only tags and sizes."""
    if len(payload) <= _SMALL:
        return
    try:
        count = _count(payload, 0, len(payload), 0, (_INPUTS, _OUTPUTS), *_OF_AN_INPUT)
    except IndexError:  # the bytes end within a field
        return
    if count > _MAX_FIELDS:
        raise InvalidRequest(
            f"the request has more than {_MAX_FIELDS:,} fields, counting inputs, outputs, parameters and their parts; "
            "send the data of each tensor as one entry of raw_input_contents"
        )


def _count(data: bytes, at: int, end: int, count: int, *looked_into: tuple[int, ...]) -> int:
    """Count fields from `at` to `end`, and nested fields of `looked_into[0]` and so on, up to the limit."""
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
            at += {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)  # a group's fields count
    return count


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of at most ten bytes, and return it with its end."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return number, at


VARYING_PARAMETERS = frozenset((SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END, SEQUENCE_KEY, EMPTY_FINAL_RESPONSE))
"""The parameters that differ between requests of sequences."""

_MAX_RANKED, _MAX_CLASSES = 1 << 17, 1 << 14
"""Most output values to rank for classes, and most classes to write. Each limit takes 10 ms on the thread that serves
all requests. Beyond it: INVALID_ARGUMENT."""

_MAX_SEQUENCE_ID = 128
"""Most characters of a sequence's text id, as in Triton. Beyond it: INVALID_ARGUMENT."""

_KEY_LEAST, _KEY_MOST = 16, 128
"""Characters of a `sequence_key`, at least and at most: 16 random ones of base64 are 96 bits. Beyond it:
INVALID_ARGUMENT."""


def read_timeout(parameters: Mapping[str, InferParameter]) -> float:
    """Return the seconds a request may wait for its run. Also checks its priority, which has no effect."""
    for name in parameters:
        if name.startswith(RESERVED_PREFIX) and name != EMPTY_FINAL_RESPONSE:
            raise InvalidRequest(
                f"parameter {quoted(name)}: names that begin with {RESERVED_PREFIX} are reserved; the only one "
                f"allowed is {EMPTY_FINAL_RESPONSE}",
                field="parameters",
            )
    _read_number(parameters, PRIORITY)
    return _read_number(parameters, TIMEOUT) * 1e-6 or math.inf


def refuse_shared_memory(request: ModelInferRequest) -> None:
    """Raise Unsupported for tensors in shared memory."""
    of_kinds: dict[str, Iterable[Any]] = {"input": request.inputs, "output": request.outputs}
    for kind, tensors in of_kinds.items():
        for index, tensor in enumerate(tensors):
            if SHARED_MEMORY in tensor.parameters:
                raise Unsupported(
                    f"{kind} {quoted(tensor.name)}: shared memory is not supported; send the bytes",
                    field=f'{kind}s[{index}].parameters["{SHARED_MEMORY}"]',
                )


def read_classes(
    request: ModelInferRequest, signature: Signature, batch: int, sizes: Mapping[str, int]
) -> dict[str, int]:
    """Return the number of classes by classification output: as requested, or all if there are fewer."""
    classes: dict[str, int] = {}
    for index, output in enumerate(request.outputs):
        parameter = output.parameters.get(CLASSIFICATION)
        if parameter is None:
            continue
        spec, field = signature.outputs[output.name], f'outputs[{index}].parameters["{CLASSIFICATION}"]'
        count = _number(parameter)
        if count is None or count < 1:
            raise InvalidRequest(
                f'output "{spec.name}": parameter {CLASSIFICATION} must be the number of classes, an int64_param of 1 '
                "or more",
                field=field,
            )
        if spec.axes[-1] == BATCH or spec.sizes[-1] < 1 or spec.datatype == "BOOL":
            raise InvalidRequest(
                f"output {spec} has no classes, because its last axis must have a fixed size and its values must be "
                f"numbers; request the tensor without the parameter {CLASSIFICATION}",
                field=field,
            )
        count = min(count, spec.sizes[-1])
        elements = math.prod(spec.shape(batch, sizes))
        written = elements // spec.sizes[-1] * count
        if elements > _MAX_RANKED or written > _MAX_CLASSES:
            raise InvalidRequest(
                f'output "{spec.name}" has {elements:,} elements, of which {written:,} classes are requested, but '
                f"this server ranks at most {_MAX_RANKED:,} elements and returns at most {_MAX_CLASSES:,} classes; "
                "request the tensor, or send fewer rows (the batch axis) per request",
                field="outputs",
            )
        classes[spec.name] = count
    return classes


def read_sequence_control(parameters: Mapping[str, InferParameter]) -> SequenceControl | None:
    """Read a request's sequence parameters. None without an id, or if the id is 0 or empty."""
    if SEQUENCE_ID not in parameters:
        return None
    parameter = parameters[SEQUENCE_ID]
    kind = parameter.WhichOneof("parameter_choice")
    if kind == "string_param":
        identity: int | str = parameter.string_param
        if len(parameter.string_param) > _MAX_SEQUENCE_ID:
            raise InvalidRequest(
                f"parameter {SEQUENCE_ID} has {len(parameter.string_param):,} characters; at most {_MAX_SEQUENCE_ID} "
                f"are allowed: {quoted(parameter.string_param)}",
                field=_field(SEQUENCE_ID),
            )
    elif kind in ("int64_param", "uint64_param"):
        identity = parameter.int64_param or parameter.uint64_param
    else:
        raise InvalidRequest(
            f"parameter {SEQUENCE_ID} must be an integer (int64_param, uint64_param) or text (string_param)",
            field=_field(SEQUENCE_ID),
        )
    if not identity:
        return None
    starts, ends = _read_flag(parameters, SEQUENCE_START), _read_flag(parameters, SEQUENCE_END)
    return SequenceControl(identity, starts, ends, _read_key(parameters))


def check_final_response(parameters: Mapping[str, InferParameter]) -> None:
    """Check the parameter for an empty last response. It has no effect: a request has exactly one response."""
    _read_flag(parameters, EMPTY_FINAL_RESPONSE)


def _read_key(parameters: Mapping[str, InferParameter]) -> str:
    if SEQUENCE_KEY not in parameters:
        return ""
    key = parameters[SEQUENCE_KEY].string_param
    if not _KEY_LEAST <= len(key) <= _KEY_MOST:  # a secret, so the message doesn't repeat it
        raise InvalidRequest(
            f"parameter {SEQUENCE_KEY} has {len(key):,} characters; expected text (string_param) of {_KEY_LEAST} to "
            f"{_KEY_MOST} characters. Anyone who knows the key can continue the sequence, so choose it at random, "
            "such as with secrets.token_urlsafe()",
            field=_field(SEQUENCE_KEY),
        )
    return key


def _read_flag(parameters: Mapping[str, InferParameter], name: str) -> bool:
    if name not in parameters:
        return False
    parameter = parameters[name]
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise InvalidRequest(f"parameter {name} must be a bool (bool_param)", field=_field(name))
    return parameter.bool_param


def _read_number(parameters: Mapping[str, InferParameter], name: str) -> int:
    """Read a non-negative integer parameter, or return 0 if it is missing."""
    if name not in parameters:
        return 0
    number = _number(parameters[name])
    if number is None or number < 0:
        raise InvalidRequest(f"parameter {name} must be an integer of 0 or more (int64_param)", field=_field(name))
    return number


def _number(parameter: InferParameter) -> int | None:
    kind = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, kind) if kind in ("int64_param", "uint64_param") else None


def _field(name: str) -> str:
    return f'parameters["{name}"]'
