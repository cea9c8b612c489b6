"""From a ModelInferResponse to the body of an answer: JSON, or JSON and the bytes of the outputs that are binary."""

import functools

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.json_tensors import write_elements, write_strings
from rnnserve.web.rest.json_text import dump
from rnnserve.web.rest.parameters import write_parameters

__all__ = ["write_infer_response"]

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
    said: dict[str, object] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id or id,
    }
    if response.parameters:
        said["parameters"] = write_parameters(response.parameters)
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
