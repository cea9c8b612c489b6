"""Request prefixes: what the bytes before a request's data meant, so that they need not be parsed again.

Clients send the same prefix over and over: everything before `raw_input_contents`, the protocol's last field, repeats
byte for byte while model, shapes and outputs do, except for the `id`, which some clients count up. What such a prefix
meant once it means again, before any data of the same sizes; only the values are left to check (docs/findings.md,
"Request prefixes"). gRPC's headers are something else: metadata, which is not looked at here.

That crafted bytes cannot deceive the cache rests on two facts of protobuf: a message's bytes may be cut between two
fields and the parts parsed one after the other, and a field's bytes say by themselves where it ends. So a prefix is
kept, without its id, only if it parses on its own, holds none of the data and no second id, and is followed by exactly
the data's fields; and it is recognised only by all of its bytes, with the data's tags and sizes where they were. All
other requests are parsed.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Batching, TensorSpec
from rnnserve.server.boundary.values import validator
from rnnserve.server.lane.completion_queue import LaneCall
from rnnserve.server.protocol.responses import ResponseHead, encode_varint
from rnnserve.server.repository.repository import ServedVersion

__all__ = ["PrefixCache", "RequestPrefix", "SentInput"]

# Tags of length-delimited fields of ModelInferRequest: number << 3 | 2.
_MODEL_NAME, _MODEL_VERSION, _ID = 0x0A, 0x12, 0x1A
_RAW_INPUT = b"\x3a"

_MAX_PREFIXES = 4096
"""How many prefixes are kept; with more, the cache starts again."""

_MAX_BYTES = 2048
"""How long a kept prefix may be; usual ones have some hundred bytes."""

_LONG_ID = "?" * _MAX_BYTES
_LONG_ID_FIELD = bytes([_ID]) + encode_varint(len(_LONG_ID)) + _LONG_ID.encode()
"""An id longer than any in a prefix. In front of a prefix that is parsed, it lasts where that has no id. An id that is
there and empty replaces it, too, though a parsed message does not tell that from none."""

_NO_PREFIXES: Mapping[int, dict[bytes, "RequestPrefix"]] = {}
_MAX_SIZES = 4
"""How many sizes of prefix are kept for payloads of one size: each size costs a look-up."""


class SentInput(NamedTuple):
    """An input that requests with a prefix send.

    Attributes:
        spec: The input.
        shape: Its shape, of the spec's axes.
        start: Where its bytes begin in a payload without an id.
        end: Where they end.
        are_valid: Says of these bytes whether every value is plainly valid; not used for lengths.
    """

    spec: TensorSpec
    shape: tuple[int, ...]
    start: int
    end: int
    are_valid: Callable[[bytes], bool]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RequestPrefix:
    """What a prefix means. Compared by identity.

    Attributes:
        key: What payloads begin with, without an id: all before the data, and the data's first tag and size.
        size: The payloads' size in bytes, without an id.
        served: The version that it asks.
        batch: Rows of each request.
        sizes: Size of each sequence axis of each request.
        steps: Steps of each request's rows: the sum of the sizes, or 1 for a model without sequence axes.
        outputs: The outputs wanted, in order.
        inputs: The inputs sent, in order.
        is_joined: Whether requests with this prefix share runs as they are: lengths, where they are sent, would have
            each run be as long as its longest row.
        is_bindable: Whether the shapes of the outputs follow from the sizes alone, so that arrays can be bound to them.
        later_tags: Where the tags of the data after the first, sizes included, are in a payload without an id, and
            their bytes.
        head: The head of the responses.
    """

    key: bytes
    size: int
    served: ServedVersion
    batch: int
    sizes: Mapping[str, int]
    steps: int
    outputs: tuple[str, ...]
    inputs: tuple[SentInput, ...]
    is_joined: bool
    is_bindable: bool
    later_tags: tuple[tuple[int, bytes], ...]
    head: ResponseHead

    @property
    def points(self) -> int:
        """Rows * steps of each request."""
        return self.batch * self.steps

    def read(self, payload: bytes, id_size: int) -> CheckedRequest | None:
        """Read the values of a request with this prefix.

        Args:
            payload: The request.
            id_size: Bytes of its id's field.

        Returns:
            The checked request, or None where a value is not plainly valid: then it has to pass the boundary.
        """
        inputs: dict[str, Array] = {}
        for spec, shape, start, end, are_valid in self.inputs:
            array: Array = np.ndarray(shape, spec.dtype, payload, start + id_size)
            if spec.lengths_of:
                if int(array.max()) > self.sizes[spec.lengths_of] or int(array.min()) < spec.least_length:
                    return None
            elif not are_valid(payload[start + id_size : end + id_size]):
                return None
            inputs[spec.name] = array
        if self.is_joined:
            return CheckedRequest(self.batch, self.sizes, self.sizes, self.steps, inputs, self.outputs)
        signature = self.served.model.signature
        longest = signature.longest(self.sizes, inputs, self.outputs)
        return CheckedRequest(self.batch, self.sizes, longest, signature.steps_of(longest), inputs, self.outputs)


class PrefixCache:
    """A bounded number of prefixes. For one thread."""

    def __init__(self, *, allow_non_finite: bool) -> None:
        """Start empty.

        Args:
            allow_non_finite: Let NaN and infinity through.
        """
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

    def shared(self, calls: Iterable[LaneCall]) -> RequestPrefix | None:
        """The prefix of all of these, where each has the one that was recognised last, and no id; None otherwise."""
        last = self._last
        if last is None:
            return None
        key, size = last.key, last.size
        for call in calls:
            payload = call.payload
            if len(payload) != size or not payload.startswith(key):
                return None
        return last

    def recognise(self, payload: bytes) -> tuple[RequestPrefix, bytes] | None:
        """Return a request's prefix and its id's field, tag and size included; None where it has to be parsed."""
        last = self._last
        if last is not None and len(payload) == last.size and payload.startswith(last.key):
            return last, b""
        for size, prefixes in self._prefixes.get(len(payload), _NO_PREFIXES).items():
            prefix = prefixes.get(payload[:size])
            if prefix is not None:
                if not prefix.later_tags:
                    self._last = prefix
                    return prefix, b""
                return (prefix, b"") if _has_later_tags(payload, prefix, 0) else None
        start, end = _find_id(payload)
        id_size = end - start
        if id_size:
            for size, prefixes in self._prefixes.get(len(payload) - id_size, _NO_PREFIXES).items():
                prefix = prefixes.get(payload[:start] + payload[end : size + id_size])
                if prefix is not None:
                    return (prefix, payload[start:end]) if _has_later_tags(payload, prefix, id_size) else None
        return None

    def add(self, payload: bytes, served: ServedVersion, request: CheckedRequest) -> None:
        """Keep the prefix of a request that has passed the boundary, if it is one that can be kept."""
        if not request.is_plain:
            return
        start, end = _find_id(payload)
        without_id = payload[:start] + payload[end:]
        tags = [_RAW_INPUT + encode_varint(array.nbytes) for array in request.inputs.values()]
        size = len(without_id) - sum(
            [len(tag) + array.nbytes for tag, array in zip(tags, request.inputs.values(), strict=True)]
        )
        if not start < size <= _MAX_BYTES:
            return
        key = without_id[: size + len(tags[0])]
        sizes = self._prefixes.get(len(without_id), {})
        if (len(key) not in sizes and len(sizes) >= _MAX_SIZES) or key in sizes.get(len(key), ()):
            return
        at = size
        places: list[tuple[int, bytes]] = []
        inputs: list[SentInput] = []
        for tag, (name, array) in zip(tags, request.inputs.items(), strict=True):
            begin = at + len(tag)
            if without_id[at:begin] != tag:
                return  # the data's fields are not the last ones, or not written in the usual way
            places.append((at, tag))
            at = begin + array.nbytes
            spec = served.model.signature.inputs[name]
            are_valid = validator(spec, allow_non_finite=self._allow_non_finite)
            inputs.append(SentInput(spec, array.shape, begin, at, are_valid))
        if not _is_prefix(without_id[:size], [without_id[i.start : i.end] for i in inputs], payload):
            return
        signature = served.model.signature
        has_lengths = any(spec.name in request.inputs for spec in signature.lengths.values())
        is_bindable = not (has_lengths and served.model.trims_outputs)
        if self._count >= _MAX_PREFIXES:
            self.clear()
        self._count += 1
        self._prefixes.setdefault(len(without_id), {}).setdefault(len(key), {})[key] = RequestPrefix(
            key=key,
            size=len(without_id),
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
            later_tags=tuple(places[1:]),
            head=ResponseHead.of(served.model, request.batch, request.sizes, request.outputs),
        )


def _has_later_tags(payload: bytes, prefix: RequestPrefix, id_size: int) -> bool:
    return all(payload.startswith(tag, at + id_size) for at, tag in prefix.later_tags)


def _find_id(payload: bytes) -> tuple[int, int]:
    """Where the id's field is, tag and size included, if it is where clients write it: after name and version.

    Walks over fields 1 and 2 from the message's start, so it is certain to be between two fields. An id that is empty,
    long, or not plain ASCII counts as none: it stays part of the prefix, and is parsed.
    """
    try:
        at = 2 + payload[1] if payload[0] == _MODEL_NAME and payload[1] < 0x80 else 0
        if payload[at] == _MODEL_VERSION and payload[at + 1] < 0x80:
            at += 2 + payload[at + 1]
        if payload[at] == _ID and 0 < payload[at + 1] < 0x80:
            end = at + 2 + payload[at + 1]
            if end < len(payload) and payload[at:end].isascii():
                return at, end
    except IndexError:
        pass  # a payload as short as that is parsed, and refused
    return 0, 0


def _is_prefix(start: bytes, data: list[bytes], payload: bytes) -> bool:
    """Whether `start` is a message of its own: the payload's without its data and its id, and sets no id again."""
    request = pb.ModelInferRequest.FromString(payload)
    try:
        prefix = pb.ModelInferRequest.FromString(_LONG_ID_FIELD + start)
    except DecodeError:
        return False
    if prefix.raw_input_contents or prefix.id != _LONG_ID:
        return False
    prefix.raw_input_contents.extend(data)
    prefix.id = request.id
    return prefix == request
