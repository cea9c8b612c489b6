"""Request templates: the meaning of the bytes before a request's data, cached so that they need not be parsed again.

A template (`RequestPrefix`) belongs to the bytes before `raw_input_contents`, the protocol's last field. Clients send
these bytes unchanged as long as model, shapes and outputs stay the same. Exceptions are the `id`, which some clients
count up, and the parameters that name a sequence. Clients write these varying fields at the message's start, after
model and version, where they can be found without parsing. If the prefix was valid once, it has the same meaning before
any data of the same sizes, so only the values must be checked. gRPC headers
are metadata, which this module doesn't look at.

Crafted bytes cannot deceive the cache, because of two properties of protobuf: a message can be cut between two fields
and its parts parsed one after another, and each field encodes its own end. A prefix is therefore cached, without its
varying fields, only if all of these conditions hold:

- It parses as a message by these bytes alone.
- It contains no data, no second id, and no parameters except the removed ones.
- It is followed by exactly the data's fields.

A request matches a template only if all bytes of the prefix match, and the data's tags and sizes are in the same
places. All other requests are parsed.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.protocol.responses import ResponseHead, encode_varint
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.validation.checking import all_finite, are_booleans, are_within
from rnnserve.server.validation.parsing import VARYING_PARAMETERS, check_final_response, read_sequence_control
from rnnserve.server.validation.signature import Array, Batching, CheckedRequest, SequenceControl, TensorSpec

if TYPE_CHECKING:
    from rnnserve.server.fast_path.calls import ArrivedRequest

__all__ = ["HEAD_BYTES", "PrefixCache", "Recognised", "RequestPrefix", "SentInput", "find_varying_fields", "read_id"]

# Tags of length-delimited fields of ModelInferRequest: number << 3 | 2.
_MODEL_NAME, _MODEL_VERSION, _ID, _PARAMETER, _RAW_INPUT = 0x0A, 0x12, 0x1A, 0x22, b"\x3a"

_MAX_SPELLINGS = 16384
"""Maximum number of cached encodings of sequence parameters."""

_MAX_PREFIXES = 4096
"""Maximum number of templates. If it is exceeded, the cache is cleared."""

_MAX_BYTES = 2048
"""Maximum bytes of a cached prefix. Typical prefixes have some hundred bytes."""

_MAX_SIZES = 4
"""Maximum number of prefix sizes per payload size. Each size costs a lookup."""

_NO_PREFIXES: Mapping[int, dict[bytes, "RequestPrefix"]] = {}

_LONG_ID = "?" * _MAX_BYTES
_LONG_ID_FIELD = bytes([_ID]) + encode_varint(len(_LONG_ID)) + _LONG_ID.encode()
"""An id longer than any id in a prefix. The check parses it in front of the prefix: it survives if the prefix has no
id. Even an empty id would replace it, although a parsed message doesn't distinguish an empty id from none."""

HEAD_BYTES = 1024
"""The id is searched for in this many bytes at the start of a message."""


def find_varying_fields(payload: bytes) -> tuple[int, int, int]:
    """Find the start and end of the id field (with tag and size), and the end of the parameter fields after it.

    The search goes from field to field, so the result always lies between two fields. The id field counts as empty if
    the id is missing, empty, long, or not plain ASCII. The parameter fields count as empty if they are missing or one
    is long. Fields that are not found remain part of the prefix and are parsed.
    """
    try:
        at = 2 + payload[1] if payload[0] == _MODEL_NAME and payload[1] < 0x80 else 0
        if payload[at] == _MODEL_VERSION and payload[at + 1] < 0x80:
            at += 2 + payload[at + 1]
        start = id_end = end = at
        if payload[at] == _ID and 0 < payload[at + 1] < 0x80:
            id_end = end = at + 2 + payload[at + 1]
            if not payload[at:id_end].isascii():
                return 0, 0, 0
        while payload[end] == _PARAMETER and payload[end + 1] < 0x80:
            end += 2 + payload[end + 1]
        if end < len(payload):
            return start, id_end, end
    except IndexError:
        pass  # such a short payload is parsed and refused
    return 0, 0, 0


def read_id(payload: bytes) -> str:
    """Return the id if `find_varying_fields` finds it. The first `HEAD_BYTES` of the request are enough."""
    start, id_end, _ = find_varying_fields(payload)
    return payload[start + 2 : id_end].decode("ascii")


@functools.lru_cache(maxsize=_MAX_SPELLINGS)
def _read_sequence(fields: bytes) -> SequenceControl | None:
    """Parse parameter fields. Return None if they include parameters that don't belong to a sequence."""
    try:
        parameters = pb.ModelInferRequest.FromString(fields).parameters
        if not VARYING_PARAMETERS.issuperset(parameters):
            return None
        check_final_response(parameters)
        return read_sequence_control(parameters)
    except (DecodeError, InvalidRequest):
        return None


def _find_sequence(payload: bytes) -> tuple[int, int, int, SequenceControl | None]:
    """Return the start and end of the id field, the end of the varying fields, and the sequence parameters."""
    start, id_end, end = find_varying_fields(payload)
    said = _read_sequence(payload[id_end:end]) if end > id_end else None
    return start, id_end, end if said else id_end, said


class SentInput(NamedTuple):
    """An input that requests with a template send."""

    spec: TensorSpec
    shape: tuple[int, ...]
    start: int  # start of its bytes, relative to the payload's end because ids differ in size
    end: int | None  # end of its bytes (None for the payload's end)
    are_valid: Callable[[bytes], bool]  # whether every value is valid without full validation (not for lengths)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RequestPrefix:
    """A request template. Compared by identity."""

    key: bytes  # start of the payloads without varying fields: all before the data, and the data's first tag and size
    size: int  # of the payloads without varying fields, in bytes
    served: ServedVersion
    batch: int  # rows of each request
    sizes: Mapping[str, int]  # of each sequence axis of each request
    steps: int  # of each request's rows: the sum of the sizes, or 1 for a model without sequence axes
    outputs: tuple[str, ...]  # requested outputs, in order
    inputs: tuple[SentInput, ...]  # in order
    is_joined: bool  # whether such requests share a template run (not with lengths: its size would vary)
    is_bindable: bool  # whether the sizes determine the shapes of the outputs, so that arrays can be bound
    has_parameters: bool  # identical in all of these requests
    later_tags: tuple[tuple[int, bytes], ...]  # tags of further inputs: offsets from the payload's end, and bytes
    head: ResponseHead
    # For sequence requests with server-side state: each initial state and the output with its final state
    states: tuple[tuple[TensorSpec, TensorSpec], ...] = ()
    of_sequences: "RequestPrefix | None" = None  # template for sequence requests (None if they can't share arrays)

    @property
    def points(self) -> int:
        """Rows * steps of each request."""
        return self.batch * self.steps

    def with_sequences(self) -> Self:
        """Return the template with its variant for sequence requests, unless the requests contain states."""
        served = self.served.of_sequences
        signature = served.model.signature
        if not self.is_bindable or any(sent.spec.name in signature.states for sent in self.inputs):
            return self
        pairs = tuple((signature.inputs[name], final) for name, final in signature.states.items())
        return dataclasses.replace(self, of_sequences=dataclasses.replace(self, served=served, states=pairs))

    def read(self, payload: bytes) -> CheckedRequest | None:
        """Read the values of a request with this template. Return None if a value needs full validation."""
        inputs: dict[str, Array] = {}
        for spec, shape, start, end, are_valid in self.inputs:
            array: Array = np.ndarray(shape, spec.dtype, payload, len(payload) + start)
            if spec.lengths_of:
                if int(array.max()) > self.sizes[spec.lengths_of] or int(array.min()) < spec.least_length:
                    return None
            elif not are_valid(payload[start:end]):
                return None
            inputs[spec.name] = array
        if self.is_joined:
            return CheckedRequest(self.batch, self.sizes, self.sizes, self.steps, inputs, self.outputs)
        signature = self.served.model.signature
        longest = signature.longest(self.sizes, inputs, self.outputs)
        return CheckedRequest(self.batch, self.sizes, longest, signature.steps_of(longest), inputs, self.outputs)


class Recognised(NamedTuple):
    """A request with a known template."""

    prefix: RequestPrefix
    id_field: bytes  # with tag and size, as copied into the response (may be empty)
    sequence: SequenceControl | None  # from its parameters (None for a single request)


class PrefixCache:
    """A bounded cache of templates. Not thread-safe."""

    def __init__(self, *, allow_non_finite: bool) -> None:
        """Start empty. `allow_non_finite` permits NaN and infinity."""
        self._allow_non_finite = allow_non_finite
        # By size of the payload, then size of the prefix, then its bytes including the data's first tag. Looked up by
        # slicing, without parsing.
        self._prefixes: dict[int, dict[int, dict[bytes, RequestPrefix]]] = {}
        self._count = 0
        self._last: RequestPrefix | None = (
            None  # last match with one input, which usually matches the next request as well
        )

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Clear the cache. Needed when models have changed."""
        self._prefixes.clear()
        self._count = 0
        self._last = None

    def shared(self, requests: "Iterable[ArrivedRequest]") -> RequestPrefix | None:
        """Return the requests' template if all match the last template without varying fields, otherwise None."""
        last = self._last
        if last is None:
            return None
        key, size = last.key, last.size
        for request in requests:
            payload = request.payload
            if len(payload) != size or not payload.startswith(key):
                return None
        return last

    def recognise(self, payload: bytes) -> Recognised | None:
        """Return the match for a request, or None if the request must be parsed."""
        last = self._last
        if last is not None and len(payload) == last.size and payload.startswith(last.key):
            return Recognised(last, b"", None)
        for size, prefixes in self._prefixes.get(len(payload), _NO_PREFIXES).items():
            prefix = prefixes.get(payload[:size])
            if prefix is not None:
                if not prefix.later_tags:
                    self._last = prefix
                    return Recognised(prefix, b"", None)
                return Recognised(prefix, b"", None) if _has_later_tags(payload, prefix) else None
        start, id_end, end, said = _find_sequence(payload)
        varying_size = end - start
        if varying_size:
            for size, prefixes in self._prefixes.get(len(payload) - varying_size, _NO_PREFIXES).items():
                prefix = prefixes.get(payload[:start] + payload[end : size + varying_size])
                if prefix is not None:
                    if prefix.later_tags and not _has_later_tags(payload, prefix):
                        return None
                    if said is not None and prefix.has_parameters:
                        return None
                    return Recognised(prefix, payload[start:id_end], said)
        return None

    def add(self, payload: bytes, served: ServedVersion, request: CheckedRequest) -> None:
        """Cache the template of a validated request if possible."""
        if not request.is_plain:
            return
        start, _, end, said = _find_sequence(payload)
        if request.sequence != said:
            return  # its parameters are at another place, or include others
        left = payload[:start] + payload[end:]
        arrays = request.inputs.values()
        tags = [_RAW_INPUT + encode_varint(array.nbytes) for array in arrays]
        data_size = sum([len(tag) + array.nbytes for tag, array in zip(tags, arrays, strict=True)])
        size = len(left) - data_size
        if not start < size <= _MAX_BYTES:
            return
        key = left[: size + len(tags[0])]
        sizes = self._prefixes.get(len(left), {})
        if (len(key) not in sizes and len(sizes) >= _MAX_SIZES) or key in sizes.get(len(key), ()):
            return
        signature = served.model.signature
        at = -data_size
        places: list[tuple[int, bytes]] = []
        inputs: list[SentInput] = []
        for tag, (name, array) in zip(tags, request.inputs.items(), strict=True):
            places.append((at, tag))
            begin, at = at + len(tag), at + len(tag) + array.nbytes
            are_valid = validator(signature.inputs[name], allow_non_finite=self._allow_non_finite)
            inputs.append(SentInput(signature.inputs[name], array.shape, begin, at or None, are_valid))
        if not all(left.startswith(tag, place) for place, tag in places):
            return  # the data's fields aren't last, or are encoded unusually
        data = [left[sent.start : sent.end] for sent in inputs]
        prefix = _parse_prefix(left[:size], data, payload, is_of_sequence=said is not None)
        if prefix is None:
            return
        has_lengths = any(spec.name in request.inputs for spec in signature.lengths.values())
        is_bindable = not (has_lengths and served.model.trims_outputs)
        known = RequestPrefix(
            key=key,
            size=len(left),
            served=served,
            batch=request.batch,
            sizes=request.sizes,
            steps=signature.steps_of(request.sizes),
            outputs=request.outputs,
            inputs=tuple(inputs),
            is_joined=is_bindable
            and signature.batching is not Batching.ALONE
            and not (signature.is_padded and has_lengths),
            is_bindable=is_bindable,
            has_parameters=bool(prefix.parameters),
            later_tags=tuple(places[1:]),
            head=ResponseHead.of(served.model, request.batch, request.sizes, request.outputs),
        )
        if self._count >= _MAX_PREFIXES:
            self.clear()
        self._count += 1
        self._prefixes.setdefault(len(left), {}).setdefault(len(key), {})[key] = known.with_sequences()


def _has_later_tags(payload: bytes, prefix: RequestPrefix) -> bool:
    return all(payload.startswith(tag, at) for at, tag in prefix.later_tags)


def _parse_prefix(
    start: bytes, data: list[bytes], payload: bytes, *, is_of_sequence: bool
) -> pb.ModelInferRequest | None:
    """Parse a payload without data and varying fields. Return None unless it is a message without id and parameters."""
    request = pb.ModelInferRequest.FromString(payload)
    try:
        prefix = pb.ModelInferRequest.FromString(_LONG_ID_FIELD + start)
    except DecodeError:
        return None
    if prefix.raw_input_contents or prefix.id != _LONG_ID or (is_of_sequence and prefix.parameters):
        return None
    whole = pb.ModelInferRequest()
    whole.CopyFrom(prefix)
    whole.raw_input_contents.extend(data)
    whole.id = request.id
    if is_of_sequence:
        whole.MergeFrom(pb.ModelInferRequest(parameters=request.parameters))
    return prefix if whole == request else None


def validator(spec: TensorSpec, *, allow_non_finite: bool) -> Callable[[bytes], bool]:
    """Return a function that checks all values of an input other than lengths, from its bytes.

    It also checks padding. Finite but very large FP32 and FP64 values may count as invalid.
    """
    if spec.is_float and (spec.must_be_finite or not allow_non_finite):
        return are_finite if spec.datatype == "FP32" else lambda data: all_finite(np.frombuffer(data, spec.dtype))
    if spec.datatype == "BOOL":
        return are_booleans
    bounds = spec.bounds
    if bounds is None:
        return lambda _: True
    low, high = bounds
    return lambda data: are_within(np.frombuffer(data, spec.dtype), low, high)


def are_finite(data: bytes) -> bool:
    """Whether all numbers of an FP32 tensor are finite: few others have a highest byte of 0x7F or 0xFF."""
    highest = data[3::4]
    # Numbers are found four times as fast as bytes objects of length 1.
    return (0x7F not in highest and 0xFF not in highest) or all_finite(np.frombuffer(data, "<f4"))
