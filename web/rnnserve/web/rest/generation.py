"""Triton's generate extension: inputs by name in one flat object, outputs by name in another.

`{"sequences": [[-1, -1], [-1, 1]], "parameters": {…}, "id": "…"}` is a request with one row: what a tensor's lists lack
of its axes is the batch. The answer has a number where an output has one element, else a flat list.
"""

from collections.abc import Mapping
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH
from rnnserve.web.errors import bad_request, quoted
from rnnserve.web.rest.json_tensors import flatten, read_elements, read_strings, write_elements, write_strings
from rnnserve.web.rest.json_text import dump, parse_object
from rnnserve.web.rest.parameters import parameters_of, read_parameters

__all__ = ["read_generate_body", "read_generate_request", "write_generate_response"]

_NO_INPUTS = frozenset(("id", "parameters"))


def read_generate_body(
    body: bytes, metadata: pb.ModelMetadataResponse, model: str, version: str
) -> pb.ModelInferRequest:
    """Read a request from its body: an empty one has no inputs. As `read_generate_request`."""
    return read_generate_request(parse_object(body) if body.strip() else {}, metadata, model, version)


def read_generate_request(
    parsed: Mapping[str, Any], metadata: pb.ModelMetadataResponse, model: str, version: str
) -> pb.ModelInferRequest:
    """Read a request.

    Args:
        parsed: The body.
        metadata: Metadata of the model.
        model: The name in the path.
        version: Version in the path; empty where there is none.

    Raises:
        RestError: If a value fits no input.
    """
    id_ = parsed.get("id", "")
    if not isinstance(id_, str):
        raise bad_request('id is to be text, such as "id": "42"')
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id_)
    read_parameters(parameters_of(parsed, ""), request.parameters, "", without=frozenset())
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    for name, value in parsed.items():
        if name in _NO_INPUTS and name not in inputs:
            continue
        if name not in inputs:
            takes = ", ".join(f'"{known}"' for known in inputs)
            raise bad_request(f"{quoted(name)} is no input: {metadata.name} takes {takes}")
        tensor = inputs[name]
        flat, shape = _with_batch(value, tensor)
        request.inputs.add(name=name, datatype=tensor.datatype, shape=shape)
        if tensor.datatype == "BYTES":
            request.raw_input_contents.append(read_strings(flat, name))
        else:
            request.raw_input_contents.append(read_elements(flat, tensor.datatype, name))
    return request


def write_generate_response(response: pb.ModelInferResponse, id: str) -> bytes:
    """Write the answer.

    Args:
        response: Answer of the server; its outputs are raw.
        id: Stands for the id where the request had none.

    Raises:
        RestError: If an output has no form in JSON.
    """
    said: dict[str, object] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id or id,
    }
    if response.parameters:
        said["parameters"] = {
            name: getattr(value, value.WhichOneof("parameter_choice") or "")
            for name, value in response.parameters.items()
        }
    pieces = [dump(said)[:-1]]
    for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True):
        is_text = tensor.datatype == "BYTES"
        elements = write_strings(data, tensor.name) if is_text else write_elements(data, tensor.datatype, tensor.name)
        if not is_text and len(data) == DTYPES[tensor.datatype].itemsize:
            elements = elements[1:-1]
        pieces.append(b"%s:%s" % (dump(tensor.name), elements))
    return b",".join(pieces) + b"}"


def _with_batch(value: object, tensor: pb.ModelMetadataResponse.TensorMetadata) -> tuple[list[Any], list[int]]:
    """The elements of a value and its shape, with a batch of one row where its lists have no axis for it."""
    axes = tensor.parameters["axes"].string_param.split(", ")
    flat, sizes = flatten(value, tensor.name) if isinstance(value, list) else ([value], ())
    shape = list(sizes)
    if len(shape) == len(axes) - 1 and BATCH in axes:
        shape.insert(axes.index(BATCH), 1)
    if len(shape) != len(axes):
        raise bad_request(
            f'input "{tensor.name}" has the axes ({", ".join(axes)}), and its lists have {len(sizes)}: leave out the '
            "batch for one row, and no other axis"
        )
    return flat, shape
