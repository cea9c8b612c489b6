"""The parameters of a request: which sequence it belongs to, and one that Triton has for models with many responses."""

from collections.abc import Mapping
from typing import NamedTuple

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.error_texts import quoted
from rnnserve.server.errors import InvalidRequest

__all__ = ["VARYING_PARAMETERS", "SequenceControl", "check_final_response", "read_sequence_control"]

# Names as Triton's protocol has them.
_ID, _START, _END = "sequence_id", "sequence_start", "sequence_end"
_KEY = "sequence_key"  # this server's own
_FINAL = "triton_enable_empty_final_response"

VARYING_PARAMETERS = frozenset((_ID, _START, _END, _KEY, _FINAL))
"""The parameters with which requests of sequences differ from each other."""

_MAX_ID = 128
"""Characters of an id that is text, as in Triton."""

_KEY_LEAST, _KEY_MOST = 16, 128
"""Characters of a key: 16 random ones of base64 are 96 bits."""


class SequenceControl(NamedTuple):
    """What a request says of its sequence.

    Attributes:
        id: A number other than 0, or text; 5 and "5" are two ids.
        starts: Whether it is the sequence's first request: states are zeros, or those that it brings.
        ends: Whether it is the last one: afterwards the states are dropped.
        key: The secret that its requests have in common, on whatever connection; empty where there is none.
    """

    id: int | str
    starts: bool
    ends: bool
    key: str = ""


def read_sequence_control(parameters: Mapping[str, pb.InferParameter]) -> SequenceControl | None:
    """Read the parameters of a request; None for one of no sequence, which has no id, or 0, or an empty one.

    Raises:
        InvalidRequest: If a parameter has another type than it may have, the id is too long, or the key is too short or
            too long.
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
    return SequenceControl(identity, _flag(parameters, _START), _flag(parameters, _END), _read_key(parameters))


def check_final_response(parameters: Mapping[str, pb.InferParameter]) -> None:
    """Check the parameter that asks for an empty last response: each request has one response, and so none is empty.

    Raises:
        InvalidRequest: If the parameter is not true or false.
    """
    _flag(parameters, _FINAL)


def _read_key(parameters: Mapping[str, pb.InferParameter]) -> str:
    if _KEY not in parameters:
        return ""
    key = parameters[_KEY].string_param
    if not _KEY_LEAST <= len(key) <= _KEY_MOST:  # it is not repeated: it is a secret
        raise InvalidRequest(
            f"parameter {_KEY} has {len(key):,} characters; it is text (string_param) of {_KEY_LEAST} to {_KEY_MOST}, "
            "and whoever has it can continue the sequence: make it at random, such as secrets.token_urlsafe()",
            field=_field(_KEY),
        )
    return key


def _flag(parameters: Mapping[str, pb.InferParameter], name: str) -> bool:
    if name not in parameters:
        return False
    parameter = parameters[name]
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise InvalidRequest(f"parameter {name} is true or false (bool_param)", field=_field(name))
    return parameter.bool_param


def _field(name: str) -> str:
    return f'parameters["{name}"]'
