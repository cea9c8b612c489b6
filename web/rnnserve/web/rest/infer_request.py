"""From the body of an infer request to a ModelInferRequest, and which form its answer is to have.

The body is JSON (https://github.com/kserve/open-inference-protocol, "inference_rest"), or JSON followed by the bytes of
the inputs that have the parameter `binary_data_size` (Triton's binary tensor data extension): then the header
Inference-Header-Content-Length says how many of the body's bytes, after decompression, are JSON.

Inputs are sent to the server as raw bytes, which its fast way takes. Where an input's elements are more or fewer than
its shape says, they are sent as typed contents: the server's refusal counts elements then, axis by axis.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import CONTENTS, DTYPES
from rnnserve.protos.protocol_words import BINARY_DATA, BINARY_DATA_OUTPUT, BINARY_DATA_SIZE, SHARED_MEMORY
from rnnserve.web.errors import bad_request, quoted
from rnnserve.web.rest.json_tensors import MAX_AXES, flatten, read_elements, read_strings
from rnnserve.web.rest.json_text import parse_object
from rnnserve.web.rest.parameters import parameters_of, read_parameters

__all__ = ["AnswerForm", "read_infer_request", "read_parsed_request", "split_body"]

_FOR_THE_FRONT = frozenset((BINARY_DATA_OUTPUT,))
_OF_TENSORS = frozenset((BINARY_DATA_SIZE, BINARY_DATA))
_MOST_TENSORS = 1024
"""Inputs, and outputs that are asked for. Beyond it: 400."""

_INT64 = 1 << 63
_INT = {int}


@dataclasses.dataclass(frozen=True)
class AnswerForm:
    """Which outputs are answered as binary data.

    Attributes:
        binary: Names of outputs.
        others_are_binary: Whether those that are not named are: only where no output is named, as in Triton.
    """

    binary: frozenset[str] = frozenset()
    others_are_binary: bool = False

    def is_binary(self, name: str) -> bool:
        """Whether an output is answered as binary data."""
        return self.others_are_binary or name in self.binary


def read_infer_request(
    body: bytes, header_length: int | None, model: str, version: str
) -> tuple[pb.ModelInferRequest, AnswerForm]:
    """Read a body, decompressed.

    Args:
        body: All of it.
        header_length: Bytes of it that are JSON; None for all.
        model: The name in the path.
        version: Version in the path; empty where there is none.

    Raises:
        RestError: If it is no such request.
    """
    return read_parsed_request(*split_body(body, header_length), model, version)


def split_body(body: bytes, header_length: int | None) -> tuple[dict[str, Any], memoryview]:
    """Split a body into JSON, which is read, and the bytes of binary inputs.

    Args:
        body: All of it, decompressed.
        header_length: Bytes of it that are JSON; None for all.

    Raises:
        RestError: If the JSON is none, or ends after the body.
    """
    if header_length is None:
        binary = memoryview(b"")
        parsed = parse_object(body)
    else:
        if not 0 <= header_length <= len(body):
            raise bad_request(
                f"Inference-Header-Content-Length is {header_length:,}, and the body has {len(body):,} bytes "
                "(decompressed): it counts the bytes of the JSON before the binary data"
            )
        view = memoryview(body)
        parsed, binary = parse_object(view[:header_length]), view[header_length:]
    return parsed, binary


def read_parsed_request(
    parsed: Mapping[str, Any], binary: memoryview, model: str, version: str
) -> tuple[pb.ModelInferRequest, AnswerForm]:
    """Read a body that is split; the arguments are those of `read_infer_request`, and what `split_body` gives."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=_id_of(parsed))
    parameters = parameters_of(parsed, "")
    if parameters:
        read_parameters(parameters, request.parameters, "", without=_FOR_THE_FRONT)
    _read_inputs(parsed, binary, request)
    return request, _read_outputs(parsed, parameters, request)


def _id_of(parsed: Mapping[str, Any]) -> str:
    id_ = parsed.get("id")
    if id_ is None:
        return ""
    if not isinstance(id_, str):
        raise bad_request('id is to be text, such as "id": "42"')
    return id_


def _read_inputs(parsed: Mapping[str, Any], binary: memoryview, request: pb.ModelInferRequest) -> None:
    inputs = _list_of(parsed, "inputs")
    if inputs is None:
        raise bad_request(
            'inputs is missing: {"inputs": [{"name": …, "datatype": "FP32", "shape": [1, 4, 2], "data": [[…]]}]}'
        )
    raw: list[bytes] | None = []
    at = 0
    typed: list[tuple[int, list[Any]]] = []
    for index, tensor in enumerate(inputs):
        where = f"inputs[{index}]."
        name = _text(tensor, "name", where)
        datatype = _text(tensor, "datatype", where)
        shape = _shape_of(tensor, where)
        added = request.inputs.add(name=name, datatype=datatype, shape=shape)
        parameters = parameters_of(tensor, where)
        if parameters:
            read_parameters(parameters, added.parameters, where, without=_OF_TENSORS)
        size = _binary_size(parameters, tensor, where)
        if size is not None:
            if size > len(binary) - at:
                raise bad_request(
                    f"{where}parameters.binary_data_size is {size:,}, and {len(binary) - at:,} bytes are left after "
                    "the JSON and the inputs before it: is Inference-Header-Content-Length right?"
                )
            data: bytes = binary[at : at + size].tobytes()
            at += size
        elif SHARED_MEMORY in parameters:
            raw = None  # the server says what it thinks of that
            continue
        else:
            data, flat = _json_data(tensor, name, datatype, shape, where)
            if flat is not None:
                typed.append((index, flat))
        if raw is not None:
            raw.append(data)
    if at != len(binary):
        raise bad_request(
            f"{len(binary) - at:,} bytes of the body belong to no input: each binary input has its bytes in "
            "parameters.binary_data_size, and Inference-Header-Content-Length is the size of the JSON"
        )
    if raw is None:
        return
    if typed:
        _send_typed(request, raw, dict(typed))
    else:
        request.raw_input_contents.extend(raw)


def _json_data(
    tensor: Mapping[str, Any], name: str, datatype: str, shape: list[int], where: str
) -> tuple[bytes, list[Any] | None]:
    """The bytes of an input in JSON; and its elements, where they are more or fewer than the shape says."""
    if "data" not in tensor:
        raise bad_request(f"{where}data is missing: the elements of {quoted(name)}, in row-major order, flat or nested")
    flat, sizes = flatten(tensor["data"], name)
    if len(sizes) > 1 and list(sizes) != shape:
        raise bad_request(
            f"input {quoted(name)}: data is nested as {list(sizes)}, and shape is {shape}: send nested data in the "
            "order of the shape's axes, or flat, in row-major order"
        )
    if datatype == "BYTES":
        return read_strings(flat, name), None
    if datatype not in DTYPES:
        # Also what the front cannot write: the server names the datatype that the model takes.
        return b"", None
    data = read_elements(flat, datatype, name)
    is_whole = len(flat) == math.prod(shape) and min(shape, default=1) >= 0
    return data, None if is_whole else flat


def _send_typed(request: pb.ModelInferRequest, raw: list[bytes], typed: Mapping[int, list[Any]]) -> None:
    """Send a request that the server will refuse in the form in which its words fit what the client has sent."""
    for index, (tensor, data) in enumerate(zip(request.inputs, raw, strict=True)):
        if tensor.datatype not in CONTENTS:
            continue
        field = getattr(tensor.contents, CONTENTS[tensor.datatype])
        # Of what came as binary data, too: a request has all of its inputs in one form.
        field.extend(typed[index] if index in typed else _elements(data, tensor.datatype))


def _elements(data: bytes, datatype: str) -> list[Any]:
    dtype = DTYPES[datatype]
    whole = len(data) // dtype.itemsize * dtype.itemsize
    elements: list[Any] = np.frombuffer(data[:whole], dtype).tolist()
    return elements


def _read_outputs(
    parsed: Mapping[str, Any], parameters: Mapping[str, Any], request: pb.ModelInferRequest
) -> AnswerForm:
    others = parameters.get(BINARY_DATA_OUTPUT, False)
    if not isinstance(others, bool):
        raise bad_request(f"parameters: {BINARY_DATA_OUTPUT} is true or false")
    outputs = _list_of(parsed, "outputs")
    if not outputs:
        return AnswerForm(others_are_binary=others)
    binary: list[str] = []
    for index, tensor in enumerate(outputs):
        where = f"outputs[{index}]."
        name = _text(tensor, "name", where)
        added = request.outputs.add(name=name)
        own = parameters_of(tensor, where)
        if own:
            read_parameters(own, added.parameters, where, without=_OF_TENSORS)
            is_binary = own.get(BINARY_DATA, False)
            if not isinstance(is_binary, bool):
                raise bad_request(f"{where}parameters: {BINARY_DATA} is true or false")
            if is_binary:
                binary.append(name)
    return AnswerForm(frozenset(binary))


def _list_of(parsed: Mapping[str, Any], name: str) -> list[dict[str, Any]] | None:
    values = parsed.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise bad_request(f"{name} is to be a list of objects, one a tensor")
    if len(values) > _MOST_TENSORS:
        raise bad_request(f"{name} has {len(values):,} tensors; {_MOST_TENSORS:,} are read")
    return values


def _text(tensor: Mapping[str, Any], field: str, where: str) -> str:
    value = tensor.get(field)
    if not isinstance(value, str) or not value:
        what = "is missing" if value is None else "is to be text that is not empty"
        raise bad_request(f"{where}{field} {what}: of a tensor, name, datatype, shape and data are given")
    return value


def _shape_of(tensor: Mapping[str, Any], where: str) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not set(map(type, shape)) <= _INT:
        what = "is missing" if shape is None else "is wrong"
        raise bad_request(f"{where}shape {what}: the size of each axis, whole numbers, such as [1, 4, 2]")
    if len(shape) > MAX_AXES:  # which messages would repeat, all of them
        raise bad_request(f"{where}shape has {len(shape):,} axes, and no tensor has more than {MAX_AXES}")
    if shape and not (min(shape) >= -_INT64 and max(shape) < _INT64):
        raise bad_request(f"{where}shape has a size beyond 64 bits")
    return shape


def _binary_size(parameters: Mapping[str, Any], tensor: Mapping[str, Any], where: str) -> int | None:
    size = parameters.get(BINARY_DATA_SIZE)
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise bad_request(f"{where}parameters: {BINARY_DATA_SIZE} is the number of the input's bytes, 0 or more")
    if "data" in tensor:
        raise bad_request(f"{where}data and parameters.binary_data_size exclude each other: send one of them")
    return size
