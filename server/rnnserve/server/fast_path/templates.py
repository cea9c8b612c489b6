"""Request prefixes: what the bytes before a request's data meant, so that they need not be parsed again.

Clients send the same prefix over and over: everything before `raw_input_contents`, the protocol's last field, repeats
byte for byte while model, shapes and outputs do, except for the `id`, which some clients count up, and the parameters
that name a sequence. These varying fields are found without parsing where clients write them: at the message's
beginning, after model and version. What such a prefix meant once it means again, before any data of the same sizes;
only the values are left to check (docs/lab/findings.md, "Request prefixes"). gRPC's headers are something else:
metadata, which is not looked at here.

That crafted bytes cannot deceive the cache rests on two facts of protobuf: a message's bytes may be cut between two
fields and the parts parsed one after the other, and a field's bytes say by themselves where it ends. So a prefix is
kept, without its varying fields, only if it parses on its own, holds none of the data, no second id and no parameters
beside those that were cut out, and is followed by exactly the data's fields; and it is recognised only by all of its
bytes, with the data's tags and sizes where they were. All other requests are parsed.
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
from rnnserve.server.validation.checked_request import Array, CheckedRequest, SequenceControl
from rnnserve.server.validation.parsing import VARYING_PARAMETERS, check_final_response, read_sequence_control
from rnnserve.server.validation.signature import Batching, TensorSpec
from rnnserve.server.validation.values import validator

if TYPE_CHECKING:
    from rnnserve.server.fast_path.calls import ArrivedRequest

__all__ = ["HEAD_BYTES", "PrefixCache", "Recognised", "RequestPrefix", "SentInput", "find_varying_fields", "read_id"]

# Tags of length-delimited fields of ModelInferRequest: number << 3 | 2.
_MODEL_NAME, _MODEL_VERSION, _ID, _PARAMETER, _RAW_INPUT = 0x0A, 0x12, 0x1A, 0x22, b"\x3a"

_MAX_SPELLINGS = 16384
"""For how many spellings of the parameters of a sequence their meaning is kept."""

_MAX_PREFIXES = 4096
"""How many prefixes are kept. With more, the cache starts again."""

_MAX_BYTES = 2048
"""How long a kept prefix may be. Usual ones have some hundred bytes."""

_MAX_SIZES = 4
"""How many sizes of prefix are kept for payloads of one size: each size costs a look-up."""

_NO_PREFIXES: Mapping[int, dict[bytes, "RequestPrefix"]] = {}

_LONG_ID = "?" * _MAX_BYTES
_LONG_ID_FIELD = bytes([_ID]) + encode_varint(len(_LONG_ID)) + _LONG_ID.encode()
"""An id longer than any in a prefix. In front of a prefix that is parsed, it lasts if the prefix has no id. An empty id
replaces it, too, though a parsed message does not tell an empty id from none."""

HEAD_BYTES = 1024
"""Bytes at a message's beginning among which the id is found, if it is."""


def find_varying_fields(payload: bytes) -> tuple[int, int, int]:
    """Find where the id's field begins and ends, tag and size included, and where the parameters' fields after it end.

    The search goes from field to field, so that what it finds is certain to lie between two fields. Without an id, or
    with one that is empty, long, or not plain ASCII, its field counts as empty; without parameters, or with a long one,
    so do theirs. What is not found here stays part of the prefix, and is parsed.
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
        pass  # a payload as short as that is parsed, and refused
    return 0, 0, 0


def read_id(payload: bytes) -> str:
    """Return the id of a request, given whole or as its first `HEAD_BYTES`, if `find_varying_fields` finds it."""
    start, id_end, _ = find_varying_fields(payload)
    return payload[start + 2 : id_end].decode("ascii")


@functools.lru_cache(maxsize=_MAX_SPELLINGS)
def _read_sequence(fields: bytes) -> SequenceControl | None:
    """Read the fields of parameters. None if there are others than those of a sequence."""
    try:
        parameters = pb.ModelInferRequest.FromString(fields).parameters
        if not VARYING_PARAMETERS.issuperset(parameters):
            return None
        check_final_response(parameters)
        return read_sequence_control(parameters)
    except (DecodeError, InvalidRequest):
        return None


def _find_sequence(payload: bytes) -> tuple[int, int, int, SequenceControl | None]:
    """Find where the id's field begins and ends, where the varying fields end, and what the parameters say."""
    start, id_end, end = find_varying_fields(payload)
    said = _read_sequence(payload[id_end:end]) if end > id_end else None
    return start, id_end, end if said else id_end, said


class SentInput(NamedTuple):
    """An input that requests with a prefix send."""

    spec: TensorSpec
    shape: tuple[int, ...]
    start: int  # where its bytes begin, counted from the payload's end, since ids differ in size
    end: int | None  # where they end; None for the payload's end
    are_valid: Callable[[bytes], bool]  # tells of these bytes whether every value is plainly valid; not for lengths


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RequestPrefix:
    """What a prefix means. Compared by identity."""

    key: bytes  # what payloads begin with, without varying fields: all before the data, and its first tag and size
    size: int  # of the payloads in bytes, without varying fields
    served: ServedVersion
    batch: int  # rows of each request
    sizes: Mapping[str, int]  # of each sequence axis of each request
    steps: int  # of each request's rows: the sum of the sizes, or 1 for a model without sequence axes
    outputs: tuple[str, ...]  # those wanted, in order
    inputs: tuple[SentInput, ...]  # in order
    is_joined: bool  # Do such requests share runs? With lengths, each run would be as long as its longest row.
    is_bindable: bool  # Do the sizes give the shapes of the outputs, so that arrays can be bound to them?
    has_parameters: bool  # the same in all of the requests
    later_tags: tuple[tuple[int, bytes], ...]  # of the data after the first: places, from the payload's end, and bytes
    head: ResponseHead
    # For requests of sequences, whose states the server keeps: each initial state, and the output that is the final one
    states: tuple[tuple[TensorSpec, TensorSpec], ...] = ()
    of_sequences: "RequestPrefix | None" = None  # the same for these; None if they cannot share the arrays of a run

    @property
    def points(self) -> int:
        """Rows * steps of each request."""
        return self.batch * self.steps

    def with_sequences(self) -> Self:
        """Add the prefix for requests of sequences, unless they bring states."""
        served = self.served.of_sequences
        signature = served.model.signature
        if not self.is_bindable or any(sent.spec.name in signature.states for sent in self.inputs):
            return self
        pairs = tuple((signature.inputs[name], final) for name, final in signature.states.items())
        return dataclasses.replace(self, of_sequences=dataclasses.replace(self, served=served, states=pairs))

    def read(self, payload: bytes) -> CheckedRequest | None:
        """Read the values of a request with this prefix; None if request validation must decide about a value."""
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
    """A request whose prefix is known."""

    prefix: RequestPrefix
    id_field: bytes  # tag and size included, as the response has it, too; empty for none
    sequence: SequenceControl | None  # what its parameters say; None for a request by itself


class PrefixCache:
    """A bounded number of prefixes. For one thread."""

    def __init__(self, *, allow_non_finite: bool) -> None:
        """Start empty; `allow_non_finite` says whether NaN and infinity may pass."""
        self._allow_non_finite = allow_non_finite
        # By the payload's size, then by the prefix's, then by its bytes, those of the first tag of data after it
        # included: looked up by slicing, without parsing.
        self._prefixes: dict[int, dict[int, dict[bytes, RequestPrefix]]] = {}
        self._count = 0
        self._last: RequestPrefix | None = None  # of one input: most often it is the next one, too

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Drop everything, as when the models have changed."""
        self._prefixes.clear()
        self._count = 0
        self._last = None

    def shared(self, requests: "Iterable[ArrivedRequest]") -> RequestPrefix | None:
        """The prefix of all of these. None unless it is the one recognised last, and there are no varying fields."""
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
        """Find a request's prefix. None if it has to be parsed."""
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
        """Keep the prefix of a request that has passed request validation, if it is one that can be kept."""
        if not request.is_plain:
            return
        start, _, end, said = _find_sequence(payload)
        if request.sequence != said:
            return  # its parameters are elsewhere, or there are others among them
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
            return  # the data's fields are not the last ones, or not written in the usual way
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
    """Parse a payload without data and varying fields. None if it isn't a message, or sets an id or parameter."""
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
