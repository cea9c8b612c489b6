"""The maps called `parameters`: from JSON to the protocol's values of one of several kinds, and back."""

from collections.abc import Mapping
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import bad_request, quoted

__all__ = ["parameters_of", "read_parameters", "whole", "write_parameters"]

_INT64, _UINT64 = 1 << 63, 1 << 64


def parameters_of(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give the `parameters` of a request or a tensor, as JSON; none where it has none.

    Args:
        holder: The object that may have them.
        where: Place in the body, for messages; empty for the body itself.

    Raises:
        RestError: If they are no object.
    """
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise bad_request(f'{where}parameters is to be an object, such as {{"sequence_id": 7}}')
    return parameters


def read_parameters(
    values: Mapping[str, Any], to: "Mapping[str, pb.InferParameter]", where: str, *, without: frozenset[str]
) -> None:
    """Write JSON values into a map of a message.

    Args:
        values: Values by name.
        to: The map.
        where: Place in the body, for messages.
        without: Names that are meant for the front alone.

    Raises:
        RestError: If a value is neither text, a number, true nor false.
    """
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
                f"{where}parameters: the value of {quoted(name)} is to be text, a number of 64 bits, true or false"
            )


def whole(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Give a number without a fraction as an int, since to JSON Schema 5.0 is an integer; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_parameters(parameters: "Mapping[str, pb.InferParameter]") -> dict[str, Any]:
    """Give a map of a message as JSON."""
    written: dict[str, Any] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        written[name] = None if kind is None else getattr(parameter, kind)
    return written
