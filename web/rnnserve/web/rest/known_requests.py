"""Requests of a form that was read before: only what differs between them is read, their tensors' elements and the id.

A client sends the same names, datatypes and shapes again and again. The first such request is read as any other
(`infer_request`), and the bytes of its message around the elements are kept: of the next ones these are not made
again, 8 microseconds in the place of 13. What is checked of the elements is the same, by the same functions. A request
that is wrong in them, or of a form that is not kept, is read as any other, too, which refuses it in its words.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.web.errors import RestError
from rnnserve.web.rest.infer_request import AnswerForm, read_parsed_request, split_body
from rnnserve.web.rest.json_tensors import flatten, read_elements

__all__ = ["KnownRequests"]

_MOST_FORMS = 512
"""Forms kept. Where there are more, all are found out again."""

_MOST_BYTES = 1 << 10
"""Of a form's message without elements: a larger one is not kept."""

_INT = {int}
_NOT_BINARY = {"binary_data": False}
_TOP = frozenset(("id", "inputs", "outputs", "parameters"))


@dataclasses.dataclass(frozen=True, slots=True)
class _Input:
    """An input of a form.

    Attributes:
        head: What precedes the bytes of its elements in the message.
        size: Number of these bytes.
        count: Number of its elements.
    """

    name: str
    datatype: str
    shape: list[int]
    head: bytes
    size: int
    count: int
    is_binary: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """What requests of one form have in common.

    Attributes:
        before_id: Bytes of the message before the field of its id.
        after_id: Bytes from there to the elements.
    """

    before_id: bytes
    after_id: bytes
    inputs: tuple[_Input, ...]
    answer: AnswerForm


class KnownRequests:
    """Reads bodies, decompressed, as `read_infer_request` does, and keeps their forms."""

    def __init__(self) -> None:
        """Begin without any."""
        self._forms: dict[Hashable, _Form] = {}

    def read(self, body: bytes, header_length: int | None, model: str, version: str) -> tuple[bytes, AnswerForm]:
        """Read a body; the arguments and errors are those of `read_infer_request`.

        Returns:
            The bytes of a ModelInferRequest, and the form of its answer.
        """
        parsed, binary = split_body(body, header_length)
        key = _key_of(parsed)
        form = None if key is None else self._forms.get((model, version, key))
        payload = None if form is None else _write(form, parsed, binary)
        if form is not None and payload is not None:
            return payload, form.answer
        request, answer = read_parsed_request(parsed, binary, model, version)
        payload = request.SerializeToString()
        if form is None and key is not None:
            form = _form_of(request, parsed, answer)
            if form is not None and _write(form, parsed, binary) == payload:
                if len(self._forms) >= _MOST_FORMS:
                    self._forms.clear()
                self._forms[model, version, key] = form
        return payload, answer


def _key_of(parsed: Mapping[str, Any]) -> Hashable | None:
    """Give all of a request but its id and elements; None where it has more than most have, or is wrong.

    Two requests with the same key are read alike: so true is not 1 in it, and 1.0 not either.
    """
    if not parsed.keys() <= _TOP:
        return None
    inputs, outputs = parsed.get("inputs"), parsed.get("outputs")
    if type(inputs) is not list or not (outputs is None or (outputs and type(outputs) is list)):
        return None
    parameters = parsed.get("parameters")
    try:
        key: list[Hashable] = []
        for tensor in inputs:
            shape = tensor["shape"]
            if len(tensor) != 4 or set(map(type, shape)) != _INT:
                return None
            if "data" not in tensor and not (
                len(own := tensor["parameters"]) == 1 and type(own["binary_data_size"]) is int
            ):
                return None
            key += tensor["name"], tensor["datatype"], "data" in tensor, tuple(shape)
        for tensor in outputs or ():
            own = tensor["parameters"] if len(tensor) == 2 else _NOT_BINARY
            if len(tensor) > 2 or len(own) != 1 or type(own["binary_data"]) is not bool:
                return None
            key += tensor["name"], own["binary_data"]
        if parameters is not None:
            others = parameters["binary_data_output"]
            if len(parameters) != 1 or type(others) is not bool:
                return None
            key.append(others)
        made = tuple(key)
        hash(made)
    except (KeyError, TypeError):
        return None
    return made


def _form_of(request: pb.ModelInferRequest, parsed: Mapping[str, Any], answer: AnswerForm) -> _Form | None:
    """Give the form of a request that has been read; None where it is not kept."""
    if len(request.raw_input_contents) != len(request.inputs):
        return None
    before = pb.ModelInferRequest(model_name=request.model_name, model_version=request.model_version)
    after = pb.ModelInferRequest(inputs=request.inputs, outputs=request.outputs)
    inputs: list[_Input] = []
    for tensor, read in zip(parsed["inputs"], request.inputs, strict=True):
        if read.datatype not in DTYPES or read.datatype == "BYTES" or min(read.shape) < 0:
            return None
        count = math.prod(read.shape)
        size = count * DTYPES[read.datatype].itemsize
        field = pb.ModelInferRequest(raw_input_contents=[bytes(size)]).SerializeToString()
        head = field[: len(field) - size]
        inputs.append(_Input(read.name, read.datatype, list(read.shape), head, size, count, "data" not in tensor))
    form = _Form(before.SerializeToString(), after.SerializeToString(), tuple(inputs), answer)
    return form if len(form.before_id) + len(form.after_id) <= _MOST_BYTES else None


def _write(form: _Form, parsed: Mapping[str, Any], binary: memoryview) -> bytes | None:
    """Write the message of a request of a form; None where its elements or its id are not as they are to be."""
    id_ = parsed.get("id")
    id_field = b""
    if id_ is not None:
        if type(id_) is not str or not id_.isascii():
            return None
        id_field = pb.ModelInferRequest(id=id_).SerializeToString()
    pieces: list[bytes | memoryview] = [form.before_id, id_field, form.after_id]
    at = 0
    for tensor, known in zip(parsed["inputs"], form.inputs, strict=True):
        if known.is_binary:
            if tensor["parameters"]["binary_data_size"] != known.size:
                return None
            data: bytes | memoryview = binary[at : at + known.size]
            at += known.size
        else:
            try:
                flat, sizes = flatten(tensor["data"], known.name)
                data = read_elements(flat, known.datatype, known.name)
            except RestError:
                return None
            if len(flat) != known.count or (len(sizes) > 1 and list(sizes) != known.shape):
                return None
        pieces += known.head, data
    return b"".join(pieces) if at == len(binary) else None
