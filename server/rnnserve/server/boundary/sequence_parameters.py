"""The parameters of a request: which sequence it belongs to, and one that Triton has for models with many responses."""

from collections.abc import Mapping
from typing import NamedTuple

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest, quoted

__all__ = ["VARYING_PARAMETERS", "SequenceControl", "check_final_response", "read_sequence_control"]

# Names as Triton's protocol has them.
_ID, _START, _END = "sequence_id", "sequence_start", "sequence_end"
_FINAL = "triton_enable_empty_final_response"

VARYING_PARAMETERS = frozenset((_ID, _START, _END, _FINAL))
"""The parameters with which requests of sequences differ from each other."""

_MAX_ID = 128
"""Characters of an id that is text, as in Triton."""


class SequenceControl(NamedTuple):
    """What a request says of its sequence.

    Attributes:
        id: A number other than 0, or text; 5 and "5" are two ids.
        starts: Whether it is the sequence's first request: states are zeros, or those that it brings.
        ends: Whether it is the last one: afterwards the states are dropped.
    """

    id: int | str
    starts: bool
    ends: bool


def read_sequence_control(parameters: Mapping[str, pb.InferParameter]) -> SequenceControl | None:
    """Read the parameters of a request; None for one of no sequence, which has no id, or 0, or an empty one.

    Raises:
        InvalidRequest: If a parameter has another type than it may have, or the id is too long.
    """
    if _ID not in parameters:
        return None
    parameter = parameters[_ID]
    kind = parameter.WhichOneof("parameter_choice")
    if kind == "string_param":
        identity: int | str = parameter.string_param
        if len(parameter.string_param) > _MAX_ID:
            raise InvalidRequest(
                f"parameter {_ID} has {len(parameter.string_param):,} characters; it may have {_MAX_ID}: "
                f"{quoted(parameter.string_param)}",
                field=_field(_ID),
            )
    elif kind in ("int64_param", "uint64_param"):
        identity = parameter.int64_param or parameter.uint64_param
    else:
        raise InvalidRequest(
            f"parameter {_ID} is an integer (int64_param, uint64_param) or text (string_param)", field=_field(_ID)
        )
    if not identity:
        return None
    return SequenceControl(identity, _flag(parameters, _START), _flag(parameters, _END))


def check_final_response(parameters: Mapping[str, pb.InferParameter]) -> None:
    """Check the parameter that asks for an empty last response: each request has one response, and so none is empty.

    Raises:
        InvalidRequest: If the parameter is not true or false.
    """
    _flag(parameters, _FINAL)


def _flag(parameters: Mapping[str, pb.InferParameter], name: str) -> bool:
    if name not in parameters:
        return False
    parameter = parameters[name]
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise InvalidRequest(f"parameter {name} is true or false (bool_param)", field=_field(name))
    return parameter.bool_param


def _field(name: str) -> str:
    return f'parameters["{name}"]'
