"""A memory of headers: what the bytes before a request's data have meant, so that they need not be parsed again.

Clients send the same header over and over: everything before `raw_input_contents`, the protocol's last field, repeats
byte for byte while model, shapes and outputs do, but for the `id`, which some count up. What such a header meant once
it will mean again, in front of any data of the same sizes; only values are left to check.

That it cannot be fooled rests on two facts of protobuf: a message's fields may be cut apart between two fields and
parsed one after the other, and a field's bytes say by themselves where it ends. So a header is remembered, without its
id, only if it parses on its own, holds none of the data and no second id, and is followed by exactly the data's fields;
and one is recognised only by all of its bytes, with the data's tags and sizes where they were. Anything else is parsed.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.repository import Served
from rnnserve.server.responses import head_of, varint
from rnnserve.server.service import Call
from rnnserve.server.signature import LENGTHS

__all__ = ["Header", "Headers", "Known"]

# Tags of length-delimited fields of ModelInferRequest: number << 3 | 2.
_MODEL_NAME, _MODEL_VERSION, _ID = 0x0A, 0x12, 0x1A
_RAW_INPUT = b"\x3a"
_MOST = 4096
"""How many headers are remembered; with more, memory starts anew."""

_MOST_BYTES = 2048
"""How long a header that is remembered may be; usual ones have some hundred bytes."""

_NONE: Mapping[int, dict[bytes, "Header"]] = {}
_MOST_SIZES = 4
"""How many sizes a header may have before payloads of one size: each is a look-up."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What a header means.

    Attributes:
        key: What payloads begin with, the id left out: all before the data, and the data's first tag and size.
        size: The payloads' size in bytes, the id left out.
        served: The model that it asks.
        batch: Rows of each request.
        sequence: Steps of each request.
        outputs: What is wanted, in order.
        places: For each input that is sent, where its bytes lie in the payload without an id.
        has_lengths: Whether `lengths` are among them.
        marks: Where the tags of the data behind the first, sizes included, lie in the payload without an id, and what
            they are.
        before: The response up to its id.
        leads: For each output, what comes in the response before its bytes; the first begins behind the id.
    """

    key: bytes
    size: int
    served: Served
    batch: int
    sequence: int
    outputs: tuple[str, ...]
    places: Mapping[str, tuple[int, int]]
    has_lengths: bool
    marks: tuple[tuple[int, bytes], ...]
    before: bytes
    leads: tuple[bytes, ...]

    @property
    def points(self) -> int:
        """Rows * steps of each request."""
        return self.batch * self.sequence


class Known(Protocol):
    """A request whose header was recognised.

    Attributes:
        header: What it means.
        payload: The request. Its data lies `len(id_field)` bytes behind where `header.places` says.
        id_field: The id as a field, tag and size included; empty where there is none.
    """

    header: Header
    payload: bytes
    id_field: bytes


T = TypeVar("T", bound=Known)


class Headers:
    """Remembers headers, a bounded number of them. For one thread."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        # By the payload's size, then by the header's, then by its bytes, those of the first tag of data behind it
        # included: looked up by slicing, without parsing.
        self._known: dict[int, dict[int, dict[bytes, Header]]] = {}
        self._count = 0
        self._last: Header | None = None  # of one input: most often it is the next one, too

    def forget(self) -> None:
        """Forget everything, as when the models have changed."""
        self._known.clear()
        self._count = 0
        self._last = None

    def shared(self, requests: Iterable[Known]) -> Header | None:
        """The header of all of these, where each is the one that came last, without an id; nothing is noted."""
        last = self._last
        if last is None:
            return None
        key, size = last.key, last.size
        for request in requests:
            payload = request.payload
            if len(payload) != size or not payload.startswith(key):
                return None
        return last

    def note(self, requests: Iterable[T]) -> list[T]:
        """Note of requests what their headers mean; return those that have to be parsed."""
        unknown: list[T] = []
        last = self._last
        key, size = (last.key, last.size) if last is not None else (b"", -1)
        for request in requests:
            payload = request.payload
            if last is not None and len(payload) == size and payload.startswith(key):
                request.header, request.id_field = last, b""
                continue
            found = self.recognise(payload)
            if found is None:
                unknown.append(request)
                continue
            request.header, request.id_field = header, id_field = found
            if not (id_field or header.marks):
                last, key, size = header, header.key, header.size
        self._last = last
        return unknown

    def recognise(self, payload: bytes) -> tuple[Header, bytes] | None:
        """Return a request's header and its id's field, or None where it has to be parsed."""
        for size, headers in self._known.get(len(payload), _NONE).items():
            header = headers.get(payload[:size])
            if header is not None:
                return (header, b"") if not header.marks or _has_marks(payload, header, 0) else None
        start, end = _id_field(payload)
        shift = end - start
        if shift:
            for size, headers in self._known.get(len(payload) - shift, _NONE).items():
                header = headers.get(payload[:start] + payload[end : size + shift])
                if header is not None:
                    return (header, payload[start:end]) if _has_marks(payload, header, shift) else None
        return None

    def remember(self, payload: bytes, call: Call) -> None:
        """Remember the header of a request that has been parsed, if it is one that can be."""
        start, end = _id_field(payload)
        payload = payload[:start] + payload[end:]
        request, inference = call.request, call.inference
        raw = request.raw_input_contents
        tags = [_RAW_INPUT + varint(len(data)) for data in raw]
        size = len(payload) - sum(len(tag) + len(data) for tag, data in zip(tags, raw, strict=True))
        if not raw or not start < size <= _MOST_BYTES or not _is_header(payload[:size], request):
            return
        at = size
        marks: list[tuple[int, bytes]] = []
        places: dict[str, tuple[int, int]] = {}
        for tag, bytes_, tensor in zip(tags, raw, request.inputs, strict=True):
            begin = at + len(tag)
            if payload[at:begin] != tag or payload[begin : begin + len(bytes_)] != bytes_:
                return  # the data's fields are not the last ones, or not written in the usual way
            marks.append((at, tag))
            at = begin + len(bytes_)
            places[tensor.name] = begin, at
        key = payload[: size + len(tags[0])]
        sizes = self._known.get(len(payload), {})
        if (len(key) not in sizes and len(sizes) >= _MOST_SIZES) or key in sizes.get(len(key), ()):
            return
        if self._count >= _MOST:
            self.forget()
        self._count += 1
        before, leads = head_of(call.served.model, inference)
        self._known.setdefault(len(payload), {}).setdefault(len(key), {})[key] = Header(
            key=key,
            size=len(payload),
            served=call.served,
            batch=inference.batch,
            sequence=inference.sequence,
            outputs=inference.outputs,
            places=places,
            has_lengths=LENGTHS in places,
            marks=tuple(marks[1:]),
            before=before,
            leads=leads,
        )


def _has_marks(payload: bytes, header: Header, shift: int) -> bool:
    return all(payload.startswith(mark, at + shift) for at, mark in header.marks)


def _id_field(payload: bytes) -> tuple[int, int]:
    """Where the id lies, tag and size included, if it is where every client writes it: behind name and version.

    Walks over fields 1 and 2 from the message's start, so it is certain to stand between two fields. An id that is
    empty, long, or not plain ASCII counts as none: it stays part of the header, and is parsed.
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


def _is_header(start: bytes, request: pb.ModelInferRequest) -> bool:
    """Whether these bytes are a message of their own: the request without its data and its id."""
    try:
        header = pb.ModelInferRequest.FromString(start)
    except DecodeError:
        return False
    if header.raw_input_contents:
        return False
    header.raw_input_contents.extend(request.raw_input_contents)
    if header.id:
        return False
    header.id = request.id
    return header == request
