"""Converts protocol messages to JSON. The bytes of binary outputs follow the JSON of a ModelInferResponse."""

import base64
import functools
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import bad_request
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.json_tensors import dump, write_elements, write_strings

__all__ = ["message_json", "write_infer_response", "write_parameters"]

_MOST_JSON = 8 << 20
"""Bytes of tensors in a JSON response, which takes three to six times as many bytes. Beyond it: 400, and the message
explains how to request binary outputs."""

_KNOWN_BYTES = 4 << 10
"""Largest response, without its elements, whose text is cached."""


def write_infer_response(response: pb.ModelInferResponse, form: AnswerForm, id: str) -> tuple[bytes, int | None]:
    """Write the response to a request. It contains `id` if the request had no ID. Clears the outputs' contents.

    Returns the body and the number of JSON bytes in it (Inference-Header-Content-Length). The number is None if the
    whole body is JSON.
    """
    contents = list(response.raw_output_contents)
    del response.raw_output_contents[:]
    message = response.SerializeToString()
    read = _frame_of if len(message) <= _KNOWN_BYTES else _frame_of.__wrapped__
    start, outputs_start, outputs = read(message, form)
    written: list[bytes] = []
    binary: list[bytes] = []
    left = _MOST_JSON
    for (text, name, datatype, is_binary), data in zip(outputs, contents, strict=True):
        if is_binary:
            binary.append(data)
            written.append(b"%s%d}}" % (text, len(data)))
            continue
        left -= len(data)
        if left < 0:
            raise bad_request(
                f"the outputs take more than the {_MOST_JSON:,} bytes that a JSON response can have. Request fewer "
                'rows or outputs, or binary outputs ("parameters": {"binary_data_output": true})'
            )
        elements = write_strings(data, name) if datatype == "BYTES" else write_elements(data, datatype, name)
        written.append(b"%s%s}" % (text, elements))
    json = b"".join((start, dump(response.id or id), outputs_start, b",".join(written), b"]}"))
    return (b"".join((json, *binary)), len(json)) if binary else (json, None)


@functools.lru_cache(256)  # a model's responses of one shape differ only in their elements
def _frame_of(message: bytes, form: AnswerForm) -> tuple[bytes, bytes, list[tuple[bytes, str, str, bool]]]:
    """Write the JSON of a response without its ID, elements and sizes.

    Returns the text before and after the ID, and for each output its text, its name, its datatype, and whether it is
    binary.
    """
    response = pb.ModelInferResponse.FromString(message)
    outputs = []
    for tensor in response.outputs:
        said: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        is_binary = form.is_binary(tensor.name)
        parameters = write_parameters(tensor.parameters)
        if is_binary:
            said["parameters"] = {**parameters, "binary_data_size": 0}
            text = dump(said)[: -len("0}}")]
        else:
            text = dump(said | ({"parameters": parameters} if parameters else {}))[:-1] + b',"data":'
        outputs.append((text, tensor.name, tensor.datatype, is_binary))
    names = {"model_name": response.model_name, "model_version": response.model_version}
    more = {"parameters": write_parameters(response.parameters)} if response.parameters else {}
    return dump(names)[:-1] + b',"id":', b"," + dump(more | {"outputs": []})[1 : -len("]}")], outputs


def write_parameters(parameters: "Mapping[str, pb.InferParameter]") -> dict[str, Any]:
    """Return a message's parameter map as a JSON object."""
    written: dict[str, Any] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        written[name] = None if kind is None else getattr(parameter, kind)
    return written


def message_json(message: Message) -> dict[str, Any]:
    """Return a message in Triton's JSON form: .proto field names, integers as numbers, and zeros included.

    protobuf's json_format doesn't fit because it writes 64-bit integers as strings and omits zeros.
    """
    made: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            entry = field.message_type
            if entry is not None and entry.GetOptions().map_entry:
                inner = entry.fields_by_name["value"]
                made[field.name] = {str(key): _value(inner, value[key]) for key in value}
            else:
                made[field.name] = [_value(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            made[field.name] = _value(field, value)
    return made


def _value(field: Any, value: Any) -> Any:  # noqa: ANN401 - protobuf has two kinds of descriptors
    if field.message_type is not None:
        return message_json(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
