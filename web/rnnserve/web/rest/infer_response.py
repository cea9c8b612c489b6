"""From a ModelInferResponse to the body of an answer: JSON, or JSON and the bytes of the outputs that are binary."""

import functools
from collections.abc import Iterator

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.json_tensors import check_json_form, write_elements, write_strings
from rnnserve.web.rest.json_text import dump
from rnnserve.web.rest.parameters import write_parameters

__all__ = ["infer_response_pieces", "write_infer_response"]

_PIECE_BYTES = 256 << 10
"""Bytes of a tensor that are written at a time; a multiple of every element's size."""

_CACHED = 256
"""Outputs of a shape whose beginnings are kept."""


def write_infer_response(response: pb.ModelInferResponse, form: AnswerForm, id: str) -> tuple[bytes, int | None]:
    """Write the answer to a request.

    Args:
        response: Answer of the server; its outputs are raw.
        form: Form of the answer: names of binary outputs.
        id: Stands for the id where the request had none: KServe's client wants one in every answer.

    Returns:
        The body, and how many bytes of it are JSON where there are others: Inference-Header-Content-Length.

    Raises:
        RestError: If an output has no form in JSON, and is not to be binary.
    """
    said = _start_of(response, id)
    binary: list[bytes] = []
    outputs: list[bytes] = []
    for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True):
        name, datatype = tensor.name, tensor.datatype
        head = _head_of(name, datatype, tuple(tensor.shape))
        is_binary = form.is_binary(name)
        parameters = write_parameters(tensor.parameters) if tensor.parameters else {}
        if is_binary:
            parameters["binary_data_size"] = len(data)
            binary.append(data)
        if parameters:
            head = b'%s,"parameters":%s' % (head, dump(parameters))
        if not is_binary:
            elements = write_strings(data, name) if datatype == "BYTES" else write_elements(data, datatype, name)
            head = b'%s,"data":%s' % (head, elements)
        outputs.append(head + b"}")
    text = b'%s,"outputs":[%s]}' % (dump(said)[:-1], b",".join(outputs))
    if not binary:
        return text, None
    return b"".join((text, *binary)), len(text)


@functools.lru_cache(_CACHED)
def _head_of(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """Write the beginning of an output: the object is left open."""
    return dump({"name": name, "datatype": datatype, "shape": shape})[:-1]


def infer_response_pieces(response: pb.ModelInferResponse, id: str) -> Iterator[bytes]:
    """Write the answer to a request, of which no output is binary, piece by piece: the same bytes as JSON at once.

    Args:
        response: Answer of the server; its outputs are raw.
        id: Stands for the id where the request had none.

    Raises:
        RestError: At once, if an output has no form in JSON.
    """
    heads: list[bytes] = []
    tensors: list[tuple[str, str, bytes]] = []
    for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True):
        head: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if tensor.parameters:
            head["parameters"] = write_parameters(tensor.parameters)
        heads.append(dump(head))
        if tensor.datatype == "BYTES":  # its elements have sizes of their own: written at once
            tensors.append((tensor.name, "", write_strings(data, tensor.name)))
        else:
            check_json_form(tensor.datatype, tensor.name)
            tensors.append((tensor.name, tensor.datatype, data))
    return _pieces(dump(_start_of(response, id)), heads, tensors)


def _pieces(start: bytes, heads: list[bytes], tensors: list[tuple[str, str, bytes]]) -> Iterator[bytes]:
    yield b'%s,"outputs":[' % start[:-1]
    tensors.reverse()  # each is let go when it has been written
    for index, head in enumerate(heads):
        name, datatype, data = tensors.pop()
        yield b'%s%s,"data":' % (b"," if index else b"", head[:-1])
        if not datatype:
            yield data
        else:
            yield b"["
            for at in range(0, len(data), _PIECE_BYTES):
                elements = write_elements(data[at : at + _PIECE_BYTES], datatype, name)
                yield b"," * bool(at) + elements[1:-1]
            yield b"]"
        yield b"}"
    yield b"]}"


def _start_of(response: pb.ModelInferResponse, id: str) -> dict[str, object]:
    said: dict[str, object] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id or id,
    }
    if response.parameters:
        said["parameters"] = write_parameters(response.parameters)
    return said
