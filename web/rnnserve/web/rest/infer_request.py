"""Converts the body of an inference request to a ModelInferRequest and the wanted form of the response.

A body is JSON, or JSON followed by the bytes of each input that has the parameter `binary_data_size`.

The gateway sends inputs as raw bytes because the server's fast path accepts them.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BINARY_DATA, BINARY_DATA_OUTPUT, BINARY_DATA_SIZE, SHARED_MEMORY
from rnnserve.web.errors import RestError, bad_request, quoted
from rnnserve.web.rest.json_tensors import MAX_AXES, flatten, parse_object, read_elements, read_strings

__all__ = ["AnswerForm", "parameters_of", "read_infer_request", "read_parsed_request", "split_body"]

_FOR_GATEWAY = frozenset((BINARY_DATA_OUTPUT,))
_OF_TENSORS = frozenset((BINARY_DATA_SIZE, BINARY_DATA))
_MOST_TENSORS = 1024
"""Inputs or requested outputs of a request. Beyond it: 400."""

_SMALL_BYTES = 8 << 10
"""Largest body that is read by its frame."""

_DATA = re.compile(rb'"data"\s*:\s*(\[[-+.,0-9eE\[\]\s]*\])')

_INT64, _UINT64 = 1 << 63, 1 << 64


class AnswerForm(NamedTuple):
    """The outputs to return as binary data: those named in `binary`, or all of them if `others_are_binary`."""

    binary: frozenset[str] = frozenset()
    others_are_binary: bool = False

    def is_binary(self, name: str) -> bool:
        """Return whether the client wants this output as binary data."""
        return self.others_are_binary or name in self.binary


def read_infer_request(
    body: bytes, header_length: int | None, model: str, version: str
) -> tuple[pb.ModelInferRequest, AnswerForm]:
    """Read a decompressed body whose first `header_length` bytes are JSON. If None, the whole body is JSON.

    Raises RestError if the body is invalid.
    """
    if len(body) <= _SMALL_BYTES:
        found = _read_by_frame(body, len(body) if header_length is None else header_length, model, version)
        if found is not None:
            return found
    return read_parsed_request(*split_body(body, header_length), model, version)


class _Frame(NamedTuple):
    """All of a request except the elements of its inputs."""

    message: bytes  # a ModelInferRequest without inputs' contents
    inputs: tuple[tuple[str, str, tuple[int, ...], int, int | None], ...]
    """Name, datatype, shape, number of elements, and number of bytes if they are binary."""
    form: AnswerForm


def _read_by_frame(
    body: bytes, header_length: int, model: str, version: str
) -> tuple[pb.ModelInferRequest, AnswerForm] | None:
    """Read a small request. Most requests of a client have the same frame, which is read once.

    Returns None if the request is unusual or perhaps invalid. Then `read_parsed_request` has to read it.
    """
    texts = _DATA.split(body[:header_length])
    frame = _frame_of(tuple(texts[::2]), model, version)
    if frame is None:
        return None
    request = pb.ModelInferRequest.FromString(frame.message)
    contents, at, elements = request.raw_input_contents, header_length, iter(texts[1::2])
    for name, datatype, shape, count, size in frame.inputs:
        if size is not None:
            contents.append(body[at : at + size])
            at += size
            continue
        try:
            flat, sizes = flatten(orjson.loads(next(elements)), name)
        except orjson.JSONDecodeError:
            return None
        if len(flat) != count or (len(sizes) > 1 and sizes != shape):
            return None
        contents.append(read_elements(flat, datatype, name))
    return (request, frame.form) if at == len(body) else None


@functools.lru_cache(512)
def _frame_of(texts: tuple[bytes, ...], model: str, version: str) -> _Frame | None:
    """Read the JSON of a request from the text around its lists of numbers.

    Returns None if the text is invalid, or if it isn't certain that the lists are the elements of the inputs.
    """
    if any(b"\\" in text for text in texts):  # an escaped name could be another "data"
        return None
    try:
        parsed = parse_object(b'"data":[]'.join(texts))
        inputs: list[tuple[str, str, tuple[int, ...], int, int | None]] = []
        for tensor in parsed["inputs"]:
            shape, size = tuple(tensor["shape"]), None
            count = _count(shape)
            if "data" not in tensor:
                size = tensor["parameters"][BINARY_DATA_SIZE]
            elif tensor["data"] != [] or tensor["datatype"] not in DTYPES or not 0 <= count <= _SMALL_BYTES:
                return None
            else:
                tensor["data"] = [False if tensor["datatype"] == "BOOL" else 0] * count
            inputs.append((tensor["name"], tensor["datatype"], shape, count, size))
        binary = sum(size for *_, size in inputs if size is not None)
        if not 0 <= binary <= _SMALL_BYTES or len(texts) != 1 + sum(size is None for *_, size in inputs):
            return None
        request, form = read_parsed_request(parsed, memoryview(bytes(binary)), model, version)
    except (RestError, KeyError, TypeError):
        return None
    del request.raw_input_contents[:]
    return _Frame(request.SerializeToString(), tuple(inputs), form)


def split_body(body: bytes, header_length: int | None) -> tuple[dict[str, Any], memoryview]:
    """Split a body into the parsed JSON and the bytes of the binary inputs."""
    if header_length is None:
        return parse_object(body), memoryview(b"")
    if not 0 <= header_length <= len(body):
        raise bad_request(
            f"Inference-Header-Content-Length is {header_length:,}, but the decompressed body has {len(body):,} "
            "bytes; expected the number of bytes of the JSON before the binary data"
        )
    view = memoryview(body)
    return parse_object(view[:header_length]), view[header_length:]


def read_parsed_request(
    parsed: Mapping[str, Any], binary: memoryview, model: str, version: str
) -> tuple[pb.ModelInferRequest, AnswerForm]:
    """Read a body that `split_body` has split."""
    id_ = parsed.get("id")
    if not isinstance(id_, str | None):
        raise bad_request('id must be a string, such as "id": "42"')
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id_ or "")
    parameters = parameters_of(parsed, "")
    if parameters:
        _read_parameters(parameters, request.parameters, "", without=_FOR_GATEWAY)
    _read_inputs(parsed, binary, request)
    return request, _read_outputs(parsed, parameters, request)


def parameters_of(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the `parameters` object of a request or tensor. `where` is the path in the body, for error messages."""
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise bad_request(f'{where}parameters must be an object, such as {{"sequence_id": 7}}')
    return parameters


def _read_parameters(
    values: Mapping[str, Any], to: "Mapping[str, pb.InferParameter]", where: str, *, without: frozenset[str]
) -> None:
    """Copy JSON values into a message's parameter map, except the names in `without`, which only the gateway uses."""
    for name, value in values.items():
        if name in without:
            continue
        if isinstance(value, bool):
            to[name].bool_param = value
        elif isinstance(value, str):
            to[name].string_param = value
        elif isinstance(value, int) and -_INT64 <= value < _INT64:
            to[name].int64_param = value
        elif isinstance(value, int) and _INT64 <= value < _UINT64:
            to[name].uint64_param = value
        elif isinstance(value, float):
            to[name].double_param = value
        else:
            raise bad_request(
                f"{where}parameters: the value of {quoted(name)} must be a string, a number of 64 bits, true or false"
            )


def _read_inputs(parsed: Mapping[str, Any], binary: memoryview, request: pb.ModelInferRequest) -> None:
    inputs = _list_of(parsed, "inputs")
    if inputs is None:
        raise bad_request(
            "inputs is missing; expected "
            '{"inputs": [{"name": …, "datatype": "FP32", "shape": [1, 4, 2], "data": [[…]]}]}'
        )
    at = 0
    for index, tensor in enumerate(inputs):
        where = f"inputs[{index}]."
        name, datatype = tensor.get("name"), tensor.get("datatype")
        if not (name and datatype and type(name) is str and type(datatype) is str):
            name, datatype = _text(tensor, "name", where), _text(tensor, "datatype", where)
        shape = _shape_of(tensor, where)
        added = request.inputs.add(name=name, datatype=datatype, shape=shape)
        size = None
        if "parameters" in tensor:
            parameters = parameters_of(tensor, where)
            _read_parameters(parameters, added.parameters, where, without=_OF_TENSORS)
            size = _binary_size(parameters, tensor, where)
        if size is not None:
            if size > len(binary) - at:
                raise bad_request(
                    f"{where}parameters.binary_data_size is {size:,}, but only {len(binary) - at:,} bytes remain "
                    "after the JSON and the previous inputs. Is Inference-Header-Content-Length correct?"
                )
            data: bytes = binary[at : at + size].tobytes()
            at += size
        else:  # the server refuses shared memory
            data = b"" if SHARED_MEMORY in added.parameters else _json_data(tensor, name, datatype, shape, where)
        request.raw_input_contents.append(data)
    if at != len(binary):
        raise bad_request(
            f"{len(binary) - at:,} bytes of the body belong to no input. Set parameters.binary_data_size of each "
            "binary input to its number of bytes, and Inference-Header-Content-Length to the size of the JSON"
        )


def _json_data(tensor: Mapping[str, Any], name: str, datatype: str, shape: list[int], where: str) -> bytes:
    if "data" not in tensor:
        raise bad_request(
            f"{where}data is missing; expected the elements of {quoted(name)}, in row-major order, flat or nested"
        )
    flat, sizes = flatten(tensor["data"], name)
    if len(sizes) > 1 and list(sizes) != shape:
        raise bad_request(
            f"input {quoted(name)}: data is nested as {list(sizes)}, but shape is {shape}. Nest data in the order of "
            "the shape's axes, or send it flat, in row-major order"
        )
    if datatype == "BYTES":
        return read_strings(flat, name)
    if datatype not in DTYPES:
        return b""  # the server's error names the datatype that the model takes
    if len(flat) != (expected := _count(shape)) >= 0:  # the server's error explains a negative size
        raise bad_request(
            f"input {quoted(name)}: data has {len(flat):,} elements, but shape {shape} needs {expected:,}"
        )
    return read_elements(flat, datatype, name)


def _count(shape: Sequence[int]) -> int:
    """Return the number of elements of a tensor, or -1 if the shape has a negative size."""
    return math.prod(shape) if min(shape, default=1) >= 0 else -1


def _read_outputs(
    parsed: Mapping[str, Any], parameters: Mapping[str, Any], request: pb.ModelInferRequest
) -> AnswerForm:
    others = parameters.get(BINARY_DATA_OUTPUT, False)
    if not isinstance(others, bool):
        raise bad_request(f"parameters: {BINARY_DATA_OUTPUT} must be true or false")
    outputs = _list_of(parsed, "outputs")
    if not outputs:
        return AnswerForm(others_are_binary=others)
    binary: list[str] = []
    for index, tensor in enumerate(outputs):
        where = f"outputs[{index}]."
        name = _text(tensor, "name", where)
        added = request.outputs.add(name=name)
        if "parameters" in tensor:
            own = parameters_of(tensor, where)
            _read_parameters(own, added.parameters, where, without=_OF_TENSORS)
            is_binary = own.get(BINARY_DATA, False)
            if not isinstance(is_binary, bool):
                raise bad_request(f"{where}parameters: {BINARY_DATA} must be true or false")
            if is_binary:
                binary.append(name)
    return AnswerForm(frozenset(binary))


def _list_of(parsed: Mapping[str, Any], name: str) -> list[dict[str, Any]] | None:
    values = parsed.get(name)
    if values is None:
        return None
    if type(values) is not list or not set(map(type, values)) <= {dict}:
        raise bad_request(f"{name} must be a list of objects, one for each tensor")
    if len(values) > _MOST_TENSORS:
        raise bad_request(f"{name} has {len(values):,} tensors; at most {_MOST_TENSORS:,} are allowed")
    return values


def _text(tensor: Mapping[str, Any], field: str, where: str) -> str:
    value = tensor.get(field)
    if not isinstance(value, str) or not value:
        what = "is missing" if value is None else "must be a string that is not empty"
        raise bad_request(f"{where}{field} {what}; expected name, datatype, shape and data")
    return value


def _shape_of(tensor: Mapping[str, Any], where: str) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not set(map(type, shape)) <= {int}:
        what = "is missing" if shape is None else "is wrong"
        raise bad_request(f"{where}shape {what}; expected the size of each axis as integers, such as [1, 4, 2]")
    if len(shape) > MAX_AXES:  # error messages would list all of them
        raise bad_request(f"{where}shape has {len(shape):,} axes; at most {MAX_AXES} are allowed")
    if shape and not (min(shape) >= -_INT64 and max(shape) < _INT64):
        raise bad_request(f"{where}shape has a size that does not fit 64 bits")
    return shape


def _binary_size(parameters: Mapping[str, Any], tensor: Mapping[str, Any], where: str) -> int | None:
    size = parameters.get(BINARY_DATA_SIZE)
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise bad_request(f"{where}parameters: {BINARY_DATA_SIZE} must be the number of the input's bytes, 0 or more")
    if "data" in tensor:
        raise bad_request(f"{where}send either data or parameters.binary_data_size, not both")
    return size
