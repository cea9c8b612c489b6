"""The parameters of a request and of the outputs that it asks for: which have a meaning, and which values they take.

As in Triton: `timeout` and `priority` of its schedule policy, `classification` of an output, and those of sequences;
names that begin with `triton_` are reserved; any other parameter is a model's own, and no model here has any.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rnnserve.protos.inference_pb2 import InferParameter, ModelInferRequest
from rnnserve.protos.protocol_words import (
    BATCH,
    CLASSIFICATION,
    EMPTY_FINAL_RESPONSE,
    PRIORITY,
    RESERVED_PREFIX,
    SEQUENCE_END,
    SEQUENCE_ID,
    SEQUENCE_KEY,
    SEQUENCE_START,
    SHARED_MEMORY,
    TIMEOUT,
)
from rnnserve.server.errors import InvalidRequest, Unsupported, quoted
from rnnserve.server.validation.checked_request import SequenceControl
from rnnserve.server.validation.signature import Signature

__all__ = [
    "VARYING_PARAMETERS",
    "check_final_response",
    "read_classes",
    "read_sequence_control",
    "read_timeout",
    "refuse_shared_memory",
]

VARYING_PARAMETERS = frozenset((SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END, SEQUENCE_KEY, EMPTY_FINAL_RESPONSE))
"""The parameters with which requests of sequences differ from each other."""

_MAX_RANKED, _MAX_CLASSES = 1 << 17, 1 << 14
"""Values of outputs that are ranked for classes, and classes that are written: each takes 10 ms, on the thread that
serves all requests. Beyond it: INVALID_ARGUMENT."""

_MAX_SEQUENCE_ID = 128
"""Characters of a sequence's id that is text, as in Triton. Beyond it: INVALID_ARGUMENT."""

_KEY_LEAST, _KEY_MOST = 16, 128
"""Characters of a `sequence_key`, at least and at most: 16 random ones of base64 are 96 bits. Beyond it:
INVALID_ARGUMENT."""


def read_timeout(parameters: Mapping[str, InferParameter]) -> float:
    """Return the seconds that a request may wait for its run. Its priority is checked: all models have one level."""
    for name in parameters:
        if name.startswith(RESERVED_PREFIX) and name != EMPTY_FINAL_RESPONSE:
            raise InvalidRequest(
                f"parameter {quoted(name)}: names that begin with {RESERVED_PREFIX} are reserved; there is "
                f"{EMPTY_FINAL_RESPONSE}",
                field="parameters",
            )
    _read_number(parameters, PRIORITY)
    return _read_number(parameters, TIMEOUT) * 1e-6 or math.inf


def refuse_shared_memory(request: ModelInferRequest) -> None:
    """Raise Unsupported for tensors that are not in the messages."""
    of_kinds: dict[str, Iterable[Any]] = {"input": request.inputs, "output": request.outputs}
    for kind, tensors in of_kinds.items():
        for index, tensor in enumerate(tensors):
            if SHARED_MEMORY in tensor.parameters:
                raise Unsupported(
                    f"{kind} {quoted(tensor.name)}: shared memory is not supported; send the bytes",
                    field=f'{kind}s[{index}].parameters["{SHARED_MEMORY}"]',
                )


def read_classes(
    request: ModelInferRequest, signature: Signature, batch: int, sizes: Mapping[str, int]
) -> dict[str, int]:
    """Return, of the outputs to be answered as classes, how many: as asked for, or as there are."""
    classes: dict[str, int] = {}
    for index, output in enumerate(request.outputs):
        parameter = output.parameters.get(CLASSIFICATION)
        if parameter is None:
            continue
        spec, field = signature.outputs[output.name], f'outputs[{index}].parameters["{CLASSIFICATION}"]'
        count = _number(parameter)
        if count is None or count < 1:
            raise InvalidRequest(
                f'output "{spec.name}": parameter {CLASSIFICATION} is the number of classes, an int64_param of 1 or '
                "more",
                field=field,
            )
        if spec.axes[-1] == BATCH or spec.sizes[-1] < 1 or spec.datatype == "BOOL":
            raise InvalidRequest(
                f"output {spec} has no classes: its last axis has to be of a fixed size, and its values numbers; ask "
                f"for the tensor, without the parameter {CLASSIFICATION}",
                field=field,
            )
        count = min(count, spec.sizes[-1])
        elements = math.prod(spec.shape(batch, sizes))
        written = elements // spec.sizes[-1] * count
        if elements > _MAX_RANKED or written > _MAX_CLASSES:
            raise InvalidRequest(
                f'output "{spec.name}" has {elements:,} elements, and {written:,} classes of them are asked for; this '
                f"server ranks {_MAX_RANKED:,} and writes {_MAX_CLASSES:,}: ask for the tensor, or send fewer rows "
                "(the batch axis) a request",
                field="outputs",
            )
        classes[spec.name] = count
    return classes


def read_sequence_control(parameters: Mapping[str, InferParameter]) -> SequenceControl | None:
    """Read which sequence a request belongs to; None if it has no id, or 0, or an empty one."""
    if SEQUENCE_ID not in parameters:
        return None
    parameter = parameters[SEQUENCE_ID]
    kind = parameter.WhichOneof("parameter_choice")
    if kind == "string_param":
        identity: int | str = parameter.string_param
        if len(parameter.string_param) > _MAX_SEQUENCE_ID:
            raise InvalidRequest(
                f"parameter {SEQUENCE_ID} has {len(parameter.string_param):,} characters; it may have "
                f"{_MAX_SEQUENCE_ID}: {quoted(parameter.string_param)}",
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
    starts, ends = _read_flag(parameters, SEQUENCE_START), _read_flag(parameters, SEQUENCE_END)
    return SequenceControl(identity, starts, ends, _read_key(parameters))


def check_final_response(parameters: Mapping[str, InferParameter]) -> None:
    """Check the parameter that asks for an empty last response: each request has one response, so none is empty."""
    _read_flag(parameters, EMPTY_FINAL_RESPONSE)


def _read_key(parameters: Mapping[str, InferParameter]) -> str:
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


def _read_flag(parameters: Mapping[str, InferParameter], name: str) -> bool:
    if name not in parameters:
        return False
    parameter = parameters[name]
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise InvalidRequest(f"parameter {name} is true or false (bool_param)", field=_field(name))
    return parameter.bool_param


def _read_number(parameters: Mapping[str, InferParameter], name: str) -> int:
    """A parameter that is a whole number of 0 or more; 0 if it is left out."""
    if name not in parameters:
        return 0
    number = _number(parameters[name])
    if number is None or number < 0:
        raise InvalidRequest(
            f"parameter {name} is to be a whole number of 0 or more, as int64_param", field=_field(name)
        )
    return number


def _number(parameter: InferParameter) -> int | None:
    kind = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, kind) if kind in ("int64_param", "uint64_param") else None


def _field(name: str) -> str:
    return f'parameters["{name}"]'
