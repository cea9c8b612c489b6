"""A memory of headers: what the bytes before a request's data have meant, so that they need not be parsed again.

Clients send the same header over and over: everything before `raw_input_contents`, the protocol's last field, repeats
byte for byte while model, shapes and outputs do. What such a header meant once it will mean again, in front of any data
of the same sizes; only values are left to check.

That it cannot be fooled rests on two facts of protobuf: a message's fields may be cut apart between two fields and
parsed one after the other, and a field's bytes say by themselves where it ends. So a header is remembered only if it
parses on its own, holds none of the data, and is followed by exactly the data's fields; and one is recognised only by
all of its bytes, with the data's tags and sizes where they were. Anything else is parsed.
"""

import dataclasses

from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.repository import Served
from rnnserve.server.responses import head_of, varint
from rnnserve.server.service import Call
from rnnserve.server.signature import TensorSpec

__all__ = ["Header", "Headers"]

_RAW_INPUT = b"\x3a"  # field 7, length-delimited
_MOST = 4096
_MOST_SIZES = 4


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What a header means.

    Attributes:
        served: The model that it asks.
        batch: Rows of each request.
        sequence: Steps of each request.
        outputs: What is wanted, in order.
        data: For each input its spec, and where its bytes lie in the payload.
        marks: Where the tags and sizes of the data lie, and what they are.
        head: The response up to its data.
    """

    served: Served
    batch: int
    sequence: int
    outputs: tuple[str, ...]
    data: tuple[tuple[TensorSpec, int, int], ...]
    marks: tuple[tuple[int, int, bytes], ...]
    head: bytes


class Headers:
    """Remembers headers, a bounded number of them. For one thread."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        # By the payload's size, then by the header's, then by its bytes: looked up by slicing, without parsing.
        self._known: dict[int, dict[int, dict[bytes, Header]]] = {}
        self._count = 0

    def forget(self) -> None:
        """Forget everything, as when the models have changed."""
        self._known.clear()
        self._count = 0

    def recognise(self, payload: bytes) -> Header | None:
        """Return what the payload's header means, or None where it has to be parsed."""
        sizes = self._known.get(len(payload))
        if sizes is None:
            return None
        for size, headers in sizes.items():
            header = headers.get(payload[:size])
            if header is not None:
                for start, end, mark in header.marks:
                    if payload[start:end] != mark:
                        return None
                return header
        return None

    def remember(self, payload: bytes, call: Call) -> None:
        """Remember the header of a request that has been parsed, if it is one that can be."""
        request, inference = call.request, call.inference
        raw = request.raw_input_contents
        tags = [_RAW_INPUT + varint(len(data)) for data in raw]
        size = len(payload) - sum(len(tag) + len(data) for tag, data in zip(tags, raw, strict=True))
        if not raw or size <= 0 or not _is_header(payload[:size], request):
            return
        sizes = self._known.get(len(payload), {})
        if (size not in sizes and len(sizes) >= _MOST_SIZES) or payload[:size] in sizes.get(size, ()):
            return
        at, marks, data = size, [], []
        for tag, bytes_, tensor in zip(tags, raw, request.inputs, strict=True):
            start = at + len(tag)
            if payload[at:start] != tag or payload[start : start + len(bytes_)] != bytes_:
                return  # the data's fields are not the last ones, or not written in the usual way
            marks.append((at, start, tag))
            at = start + len(bytes_)
            data.append((call.served.model.signature.inputs[tensor.name], start, at))
        if self._count >= _MOST:
            self.forget()
        self._count += 1
        self._known.setdefault(len(payload), {}).setdefault(size, {})[payload[:size]] = Header(
            call.served,
            inference.batch,
            inference.sequence,
            inference.outputs,
            tuple(data),
            tuple(marks),
            head_of(request, call.served.model, inference),
        )


def _is_header(start: bytes, request: pb.ModelInferRequest) -> bool:
    """Whether these bytes are a message of their own: the request without its data."""
    try:
        header = pb.ModelInferRequest.FromString(start)
    except DecodeError:
        return False
    if header.raw_input_contents:
        return False
    header.raw_input_contents.extend(request.raw_input_contents)
    return header == request
