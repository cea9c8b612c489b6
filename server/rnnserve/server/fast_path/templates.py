"""Request prefixes: what the bytes before a request's data meant, so that they need not be parsed again.

Clients send the same prefix over and over: everything before `raw_input_contents`, the protocol's last field, repeats
byte for byte while model, shapes and outputs do, except for the `id`, which some clients count up, and the parameters
that name a sequence (`varying_fields`). What such a prefix meant once it means again, before any data of the same
sizes; only the values are left to check (docs/lab/findings.md, "Request prefixes"). gRPC's headers are something else:
metadata, which is not looked at here.

That crafted bytes cannot deceive the cache rests on two facts of protobuf: a message's bytes may be cut between two
fields and the parts parsed one after the other, and a field's bytes say by themselves where it ends. So a prefix is
kept, without its varying fields, only if it parses on its own, holds none of the data, no second id and no parameters
beside those that were cut out, and is followed by exactly the data's fields; and it is recognised only by all of its
bytes, with the data's tags and sizes where they were. All other requests are parsed.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Self

import numpy as np
from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.varying_fields import ID, SequenceParameters, find_varying_fields
from rnnserve.server.protocol.responses import ResponseHead, encode_varint
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.validation.checked_request import Array, CheckedRequest, SequenceControl
from rnnserve.server.validation.signature import Batching, TensorSpec
from rnnserve.server.validation.values import validator

__all__ = ["PrefixCache", "Recognised", "RequestPrefix", "SentInput"]

_RAW_INPUT = b"\x3a"
"""Tag of `raw_input_contents` of ModelInferRequest: number << 3 | 2."""

_MAX_PREFIXES = 4096
"""How many prefixes are kept; with more, the cache starts again."""

_MAX_BYTES = 2048
"""How long a kept prefix may be; usual ones have some hundred bytes."""

_LONG_ID = "?" * _MAX_BYTES
_LONG_ID_FIELD = bytes([ID]) + encode_varint(len(_LONG_ID)) + _LONG_ID.encode()
"""An id longer than any in a prefix. In front of a prefix that is parsed, it lasts where that has no id. An id that is
there and empty replaces it, too, though a parsed message does not tell that from none."""

_NO_PREFIXES: Mapping[int, dict[bytes, "RequestPrefix"]] = {}
_MAX_SIZES = 4
"""How many sizes of prefix are kept for payloads of one size: each size costs a look-up."""


class Recognised(NamedTuple):
    """A request whose prefix is known.

    Attributes:
        prefix: The prefix.
        id_field: The varying fields that the response has, too: the id's, tag and size included, or an empty text.
        varying_size: Bytes of its varying fields: of this field, and of its parameters.
        sequence: What its parameters say of a sequence, or None for a request by itself.
    """

    prefix: "RequestPrefix"
    id_field: bytes
    varying_size: int
    sequence: SequenceControl | None


class SentInput(NamedTuple):
    """An input that requests with a prefix send.

    Attributes:
        spec: The input.
        shape: Its shape, of the spec's axes.
        start: Where its bytes begin in a payload without varying fields.
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
        key: What payloads begin with, without varying fields: all before the data, and the data's first tag and size.
        size: The payloads' size in bytes, without varying fields.
        served: The version that it asks.
        batch: Rows of each request.
        sizes: Size of each sequence axis of each request.
        steps: Steps of each request's rows: the sum of the sizes, or 1 for a model without sequence axes.
        outputs: The outputs wanted, in order.
        inputs: The inputs sent, in order.
        is_joined: Whether requests with this prefix share runs as they are: lengths, where they are sent, would have
            each run be as long as its longest row.
        is_bindable: Whether the shapes of the outputs follow from the sizes alone, so that arrays can be bound to them.
        has_parameters: Whether it holds parameters, which are the same in all of the requests.
        later_tags: Where the tags of the data after the first, sizes included, are in a payload without varying fields,
            and their bytes.
        head: The head of the responses.
        states: For requests of sequences, whose states the server keeps: each input that is an initial state, and the
            output that is the final one. Empty for requests by themselves.
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
    has_parameters: bool
    later_tags: tuple[tuple[int, bytes], ...]
    head: ResponseHead
    states: tuple[tuple[TensorSpec, TensorSpec], ...] = ()

    @property
    def points(self) -> int:
        """Rows * steps of each request."""
        return self.batch * self.steps

    def of_sequences(self) -> Self | None:
        """The same for requests of sequences; None where they bring states, or cannot share the arrays of a run."""
        served = self.served.of_sequences
        signature = served.model.signature
        if not self.is_bindable or any(sent.spec.name in signature.states for sent in self.inputs):
            return None
        pairs = tuple((signature.inputs[name], final) for name, final in signature.states.items())
        return dataclasses.replace(self, served=served, states=pairs)

    def read(self, payload: bytes, varying_size: int) -> CheckedRequest | None:
        """Read the values of a request with this prefix.

        Args:
            payload: The request.
            varying_size: Bytes of its varying fields.

        Returns:
            The checked request, or None where a value is not plainly valid: then it has to pass the boundary.
        """
        inputs: dict[str, Array] = {}
        for spec, shape, start, end, are_valid in self.inputs:
            array: Array = np.ndarray(shape, spec.dtype, payload, start + varying_size)
            if spec.lengths_of:
                if int(array.max()) > self.sizes[spec.lengths_of] or int(array.min()) < spec.least_length:
                    return None
            elif not are_valid(payload[start + varying_size : end + varying_size]):
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
            allow_non_finite: Whether NaN and infinity may pass.
        """
        self._allow_non_finite = allow_non_finite
        # By the payload's size, then by the prefix's, then by its bytes, those of the first tag of data after it
        # included: looked up by slicing, without parsing.
        self._prefixes: dict[int, dict[int, dict[bytes, RequestPrefix]]] = {}
        self._count = 0
        self._sequences = SequenceParameters()
        self._last: RequestPrefix | None = None  # of one input: most often it is the next one, too

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Drop everything, as when the models have changed."""
        self._prefixes.clear()
        self._count = 0
        self._last = None

    def shared(self, requests: Iterable[ArrivedRequest]) -> RequestPrefix | None:
        """The prefix of all of these, if it is the one recognised last and no varying fields are there; else None."""
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
        """Find a request's prefix; None where it has to be parsed."""
        last = self._last
        if last is not None and len(payload) == last.size and payload.startswith(last.key):
            return Recognised(last, b"", 0, None)
        for size, prefixes in self._prefixes.get(len(payload), _NO_PREFIXES).items():
            prefix = prefixes.get(payload[:size])
            if prefix is not None:
                if not prefix.later_tags:
                    self._last = prefix
                    return Recognised(prefix, b"", 0, None)
                return Recognised(prefix, b"", 0, None) if _has_later_tags(payload, prefix, 0) else None
        start, id_end, end, said = self._varying_fields(payload)
        varying_size = end - start
        if varying_size:
            for size, prefixes in self._prefixes.get(len(payload) - varying_size, _NO_PREFIXES).items():
                prefix = prefixes.get(payload[:start] + payload[end : size + varying_size])
                if prefix is not None:
                    if prefix.later_tags and not _has_later_tags(payload, prefix, varying_size):
                        return None
                    if said is not None and prefix.has_parameters:
                        return None
                    return Recognised(prefix, payload[start:id_end], varying_size, said)
        return None

    def _varying_fields(self, payload: bytes) -> tuple[int, int, int, SequenceControl | None]:
        """Where the id's field begins and ends, and the varying fields end; and what the parameters say."""
        start, id_end, end = find_varying_fields(payload)
        said = self._sequences.read(payload[id_end:end]) if end > id_end else None
        return start, id_end, end if said else id_end, said

    def add(self, payload: bytes, served: ServedVersion, request: CheckedRequest) -> None:
        """Keep the prefix of a request that has passed the boundary, if it is one that can be kept."""
        if not request.is_plain:
            return
        start, _, end, said = self._varying_fields(payload)
        if request.sequence != said:
            return  # its parameters are elsewhere, or there are others among them
        without_varying = payload[:start] + payload[end:]
        tags = [_RAW_INPUT + encode_varint(array.nbytes) for array in request.inputs.values()]
        size = len(without_varying) - sum(
            [len(tag) + array.nbytes for tag, array in zip(tags, request.inputs.values(), strict=True)]
        )
        if not start < size <= _MAX_BYTES:
            return
        key = without_varying[: size + len(tags[0])]
        sizes = self._prefixes.get(len(without_varying), {})
        if (len(key) not in sizes and len(sizes) >= _MAX_SIZES) or key in sizes.get(len(key), ()):
            return
        at = size
        places: list[tuple[int, bytes]] = []
        inputs: list[SentInput] = []
        for tag, (name, array) in zip(tags, request.inputs.items(), strict=True):
            begin = at + len(tag)
            if without_varying[at:begin] != tag:
                return  # the data's fields are not the last ones, or not written in the usual way
            places.append((at, tag))
            at = begin + array.nbytes
            spec = served.model.signature.inputs[name]
            are_valid = validator(spec, allow_non_finite=self._allow_non_finite)
            inputs.append(SentInput(spec, array.shape, begin, at, are_valid))
        data = [without_varying[sent.start : sent.end] for sent in inputs]
        prefix = _parse_prefix(without_varying[:size], data, payload, is_of_sequence=said is not None)
        if prefix is None:
            return
        signature = served.model.signature
        has_lengths = any(spec.name in request.inputs for spec in signature.lengths.values())
        is_bindable = not (has_lengths and served.model.trims_outputs)
        if self._count >= _MAX_PREFIXES:
            self.clear()
        self._count += 1
        self._prefixes.setdefault(len(without_varying), {}).setdefault(len(key), {})[key] = RequestPrefix(
            key=key,
            size=len(without_varying),
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


def _has_later_tags(payload: bytes, prefix: RequestPrefix, varying_size: int) -> bool:
    return all(payload.startswith(tag, at + varying_size) for at, tag in prefix.later_tags)


def _parse_prefix(
    start: bytes, data: list[bytes], payload: bytes, *, is_of_sequence: bool
) -> pb.ModelInferRequest | None:
    """Parse `start`, if it is a message of its own: the payload's without its data and its varying fields.

    None where it is none, or sets an id again, or a parameter beside those of a sequence.
    """
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
