"""The parameters of a request: which sequence it belongs to, and one that Triton has for models with many responses."""

from collections.abc import Mapping
from typing import NamedTuple

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import (
    EMPTY_FINAL_RESPONSE,
    SEQUENCE_END,
    SEQUENCE_ID,
    SEQUENCE_KEY,
    SEQUENCE_START,
)
from rnnserve.server.errors import InvalidRequest, quoted

__all__ = ["VARYING_PARAMETERS", "SequenceControl", "check_final_response", "read_sequence_control"]

VARYING_PARAMETERS = frozenset((SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END, SEQUENCE_KEY, EMPTY_FINAL_RESPONSE))
"""The parameters with which requests of sequences differ from each other."""

_MAX_ID = 128
"""Characters of a sequence's id that is text, as in Triton. Beyond it: INVALID_ARGUMENT."""

_KEY_LEAST, _KEY_MOST = 16, 128
"""Characters of a `sequence_key`, at least and at most: 16 random ones of base64 are 96 bits. Beyond it:
INVALID_ARGUMENT."""


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
    if SEQUENCE_ID not in parameters:
        return None
    parameter = parameters[SEQUENCE_ID]
    kind = parameter.WhichOneof("parameter_choice")
    if kind == "string_param":
        identity: int | str = parameter.string_param
        if len(parameter.string_param) > _MAX_ID:
            raise InvalidRequest(
                f"parameter {SEQUENCE_ID} has {len(parameter.string_param):,} characters; it may have {_MAX_ID}: "
                f"{quoted(parameter.string_param)}",
                field=_field(SEQUENCE_ID),
            )
    elif kind in ("int64_param", "uint64_param"):
        identity = parameter.int64_param or parameter.uint64_param
    else:
        raise InvalidRequest(
            f"parameter {SEQUENCE_ID} is an integer (int64_param, uint64_param) or text (string_param)",
            field=_field(SEQUENCE_ID),
        )
    if not identity:
        return None
    return SequenceControl(
        identity, _flag(parameters, SEQUENCE_START), _flag(parameters, SEQUENCE_END), _read_key(parameters)
    )


def check_final_response(parameters: Mapping[str, pb.InferParameter]) -> None:
    """Check the parameter that asks for an empty last response: each request has one response, and so none is empty.

    Raises:
        InvalidRequest: If the parameter is not true or false.
    """
    _flag(parameters, EMPTY_FINAL_RESPONSE)


def _read_key(parameters: Mapping[str, pb.InferParameter]) -> str:
    if SEQUENCE_KEY not in parameters:
        return ""
    key = parameters[SEQUENCE_KEY].string_param
    if not _KEY_LEAST <= len(key) <= _KEY_MOST:  # it is not repeated: it is a secret
        raise InvalidRequest(
            f"parameter {SEQUENCE_KEY} has {len(key):,} characters; it is text (string_param) of {_KEY_LEAST} to "
            f"{_KEY_MOST}, and whoever has it can continue the sequence: make it at random, such as "
            "secrets.token_urlsafe()",
            field=_field(SEQUENCE_KEY),
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
