"""The fields of a request that differ between requests alike: its id, and the parameters that name its sequence.

They are found without parsing where clients write them: at the message's beginning, after model and version. The walk
goes from field to field, so that what it finds is certain to lie between two fields.
"""

from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.validation.checked_request import SequenceControl
from rnnserve.server.validation.parameters import (
    VARYING_PARAMETERS,
    check_final_response,
    read_sequence_control,
)

__all__ = ["HEAD_BYTES", "ID", "SequenceParameters", "find_varying_fields", "read_id"]

# Tags of length-delimited fields of ModelInferRequest: number << 3 | 2.
_MODEL_NAME, _MODEL_VERSION, ID, _PARAMETER = 0x0A, 0x12, 0x1A, 0x22

_MAX_KEPT = 16384
"""For how many spellings of the parameters their meaning is kept; with more, the memory starts again."""


def find_varying_fields(payload: bytes) -> tuple[int, int, int]:
    """Where the id's field begins and ends, tag and size included, and where the parameters' fields after it end.

    Without an id, or with one that is empty, long, or not plain ASCII, its field counts as empty; without parameters,
    or with a long one, so do theirs. What is not found here stays part of the prefix, and is parsed.
    """
    try:
        at = 2 + payload[1] if payload[0] == _MODEL_NAME and payload[1] < 0x80 else 0
        if payload[at] == _MODEL_VERSION and payload[at + 1] < 0x80:
            at += 2 + payload[at + 1]
        start = id_end = end = at
        if payload[at] == ID and 0 < payload[at + 1] < 0x80:
            id_end = end = at + 2 + payload[at + 1]
            if not payload[at:id_end].isascii():
                return 0, 0, 0
        while payload[end] == _PARAMETER and payload[end + 1] < 0x80:
            end += 2 + payload[end + 1]
        if end < len(payload):
            return start, id_end, end
    except IndexError:
        pass  # a payload as short as that is parsed, and refused
    return 0, 0, 0


HEAD_BYTES = 1024
"""Bytes at a message's beginning among which the id is found, if it is."""


def read_id(payload: bytes) -> str:
    """Give the id of a request, where `find_varying_fields` finds it; else nothing.

    Args:
        payload: The request, or its first `HEAD_BYTES`.
    """
    start, id_end, _ = find_varying_fields(payload)
    return payload[start + 2 : id_end].decode("ascii")


class SequenceParameters:
    """What parameters' bytes say of a sequence, each spelling parsed once. For one thread."""

    def __init__(self) -> None:
        """Start without any."""
        self._known: dict[bytes, SequenceControl | None] = {}

    def read(self, fields: bytes) -> SequenceControl | None:
        """Read the fields of all parameters, which are nothing but those of a sequence; None where they are not."""
        try:
            return self._known[fields]
        except KeyError:
            pass
        said = _parse(fields)
        if len(self._known) >= _MAX_KEPT:
            self._known.clear()
        self._known[fields] = said
        return said


def _parse(fields: bytes) -> SequenceControl | None:
    try:
        parameters = pb.ModelInferRequest.FromString(fields).parameters
    except DecodeError:
        return None
    if not VARYING_PARAMETERS.issuperset(parameters):
        return None
    try:
        check_final_response(parameters)
        return read_sequence_control(parameters)
    except InvalidRequest:
        return None
