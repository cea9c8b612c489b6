"""The parameters of a request and of the outputs that it asks for: which have a meaning, and which values they take.

As in Triton: `timeout` and `priority` of its schedule policy, `classification` of an output; names that begin with
`triton_` are reserved; any other parameter is a model's own, and no model here has any.
"""

import math
from collections.abc import Mapping

from rnnserve.protos.inference_pb2 import InferParameter, ModelInferRequest
from rnnserve.protos.protocol_words import (
    BATCH,
    CLASSIFICATION,
    EMPTY_FINAL_RESPONSE,
    PRIORITY,
    RESERVED_PREFIX,
    SHARED_MEMORY,
    TIMEOUT,
)
from rnnserve.server.boundary.signature import Signature
from rnnserve.server.errors import InvalidRequest, Unsupported, quoted

__all__ = ["read_classes", "read_timeout", "refuse_shared_memory", "refuse_too_many_classes"]

_MAX_RANKED, _MAX_CLASSES = 1 << 17, 1 << 14
"""Values of outputs that are ranked for classes, and classes that are written: each takes 10 ms, on the thread that
serves all requests. Beyond it: INVALID_ARGUMENT."""


def read_timeout(parameters: Mapping[str, InferParameter]) -> float:
    """Check a request's parameters, and give the seconds that it may wait for its run; infinity for no limit.

    Every model has one level of priority, so that `priority` is checked and has no effect, as in Triton for a model
    whose config has no `priority_levels`.

    Raises:
        InvalidRequest: If one has a value that it may not have, or a reserved name.
    """
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
    """Refuse tensors that are not in the messages.

    Raises:
        Unsupported: If one is in shared memory.
    """
    for index, input in enumerate(request.inputs):
        if SHARED_MEMORY in input.parameters:
            raise _in_shared_memory("input", index, input.name)
    for index, output in enumerate(request.outputs):
        if SHARED_MEMORY in output.parameters:
            raise _in_shared_memory("output", index, output.name)


def read_classes(request: ModelInferRequest, signature: Signature) -> dict[str, int]:
    """Which outputs are to be answered as classes, and how many: as many as are asked for, or as there are.

    Args:
        request: The request. Its outputs are those of the signature.
        signature: Signature of the model.

    Raises:
        InvalidRequest: If that is not a number of 1 or more, or the output's values cannot be ranked.
    """
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
        classes[spec.name] = min(count, spec.sizes[-1])
    return classes


def refuse_too_many_classes(
    classes: Mapping[str, int], signature: Signature, batch: int, sizes: Mapping[str, int]
) -> None:
    """Refuse a request whose classes take long to find or to write.

    Args:
        classes: Number of classes that are asked for, by output.
        signature: Signature of the model.
        batch: Rows of the request.
        sizes: Sizes of its sequence axes.

    Raises:
        InvalidRequest: If they do.
    """
    for name, count in classes.items():
        spec = signature.outputs[name]
        elements = math.prod(spec.shape(batch, sizes))
        written = elements // spec.sizes[-1] * count
        if elements > _MAX_RANKED or written > _MAX_CLASSES:
            raise InvalidRequest(
                f'output "{name}" has {elements:,} elements, and {written:,} classes of them are asked for; this '
                f"server ranks {_MAX_RANKED:,} and writes {_MAX_CLASSES:,}: ask for the tensor, or send fewer rows "
                "(the batch axis) a request",
                field="outputs",
            )


def _in_shared_memory(kind: str, index: int, name: str) -> Unsupported:
    return Unsupported(
        f"{kind} {quoted(name)}: shared memory is not supported; send the bytes",
        field=f'{kind}s[{index}].parameters["{SHARED_MEMORY}"]',
    )


def _read_number(parameters: Mapping[str, InferParameter], name: str) -> int:
    """A parameter that is a whole number of 0 or more; 0 where it is left out."""
    if name not in parameters:
        return 0
    number = _number(parameters[name])
    if number is None or number < 0:
        raise InvalidRequest(
            f"parameter {name} is to be a whole number of 0 or more, as int64_param", field=f'parameters["{name}"]'
        )
    return number


def _number(parameter: InferParameter) -> int | None:
    """Its value, where that is a whole number."""
    kind = parameter.WhichOneof("parameter_choice")
    if kind == "int64_param":
        return parameter.int64_param
    return parameter.uint64_param if kind == "uint64_param" else None
