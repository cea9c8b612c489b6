"""From a request's message to a `CheckedRequest`: everything that can be wrong with a request is found here.

What passes is safe to run: names, datatypes, ranks and sizes are the model's, sizes agree with the bytes, no axis is 0
(onnxruntime aborts the process on some of those), lengths lie in 1..sequence (a 0 reads foreign memory before
onnxruntime 1.26), numbers are finite (docs/findings.md, "onnxruntime").
"""

import difflib
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.shapes import axis_name, wrong_batch, wrong_shape
from rnnserve.server.boundary.signature import LENGTHS, Signature, TensorSpec
from rnnserve.server.boundary.values import check_lengths, read_raw, read_typed, with_finite_values
from rnnserve.server.errors import InvalidRequest, Unsupported
from rnnserve.server.settings import Settings

__all__ = ["check_request", "parse_request"]

_SHARED_MEMORY = "shared_memory_region"


def parse_request(payload: bytes, settings: Settings) -> inference_pb2.ModelInferRequest:
    """Parse the bytes of a ModelInferRequest.

    Raises:
        InvalidRequest: If they are too many, or not such a message.
    """
    if len(payload) > settings.max_message_bytes:
        raise InvalidRequest(
            f"the request has {len(payload):,} bytes, more than the {settings.max_message_bytes:,} that this server "
            "takes (--max-message-bytes): send fewer rows (the batch axis) a request"
        )
    try:
        return inference_pb2.ModelInferRequest.FromString(payload)
    except DecodeError:
        raise InvalidRequest(
            f"the request's {len(payload):,} bytes are not an inference.ModelInferRequest: do client and server "
            "speak the same protocol?"
        ) from None


def check_request(request: inference_pb2.ModelInferRequest, signature: Signature, settings: Settings) -> CheckedRequest:
    """Check a request for a model with this signature, and turn its tensors into arrays.

    Raises:
        InvalidRequest: If anything about it is not as the signature and the settings say.
        Unsupported: If it asks for shared memory, a state kept by the server, or classification.
    """
    _refuse_unsupported(request)
    specs = _specs_of(request, signature)
    shapes = _shapes_of(request, specs, signature, settings)
    arrays = _arrays_of(request, specs, shapes)
    batch, sequence = shapes[signature.main.name][:2]
    lengths = arrays.get(LENGTHS)  # (batch)
    if lengths is not None:
        check_lengths(lengths, sequence, signature.main)
    if not settings.allow_non_finite:
        for spec in specs:
            if spec.datatype == "FP32":
                arrays[spec.name] = with_finite_values(arrays[spec.name], spec, lengths)
    return CheckedRequest(
        batch=batch,
        sequence=sequence,
        longest=sequence if lengths is None else int(lengths.max()),
        inputs=arrays,
        outputs=_outputs_of(request, signature),
        id=request.id,
        is_raw=bool(request.raw_input_contents),
    )


def _refuse_unsupported(request: inference_pb2.ModelInferRequest) -> None:
    sequence_id = request.parameters.get("sequence_id")
    if sequence_id is not None and (sequence_id.int64_param or sequence_id.uint64_param or sequence_id.string_param):
        raise Unsupported(
            "parameter sequence_id: ModelInfer keeps no state between requests; ask for h_n and send it on as h_0"
        )
    tensors: Iterable[
        inference_pb2.ModelInferRequest.InferInputTensor | inference_pb2.ModelInferRequest.InferRequestedOutputTensor
    ]
    for kind, tensors in (("input", request.inputs), ("output", request.outputs)):
        for tensor in tensors:
            if _SHARED_MEMORY in tensor.parameters:
                raise Unsupported(f'{kind} "{tensor.name}": shared memory is not supported; send the bytes')
            if "classification" in tensor.parameters:
                raise Unsupported(
                    f'{kind} "{tensor.name}": the classification extension is not supported; ask for logits'
                )


def _specs_of(request: inference_pb2.ModelInferRequest, signature: Signature) -> list[TensorSpec]:
    """The inputs that are sent, in the request's order."""
    specs: list[TensorSpec] = []
    for tensor in request.inputs:
        spec = signature.inputs.get(tensor.name)
        if spec is None:
            raise InvalidRequest(
                f'unknown input "{tensor.name}"{_suggestion(tensor.name, signature.inputs)}: takes {signature}'
            )
        if spec in specs:
            raise InvalidRequest(f'input "{tensor.name}" comes twice')
        if tensor.datatype != spec.datatype:
            raise InvalidRequest(
                f'input "{spec.name}" has datatype "{tensor.datatype}" where {spec.datatype} is expected: it is {spec}'
            )
        specs.append(spec)
    for spec in signature.inputs.values():
        if not spec.optional and spec not in specs:
            raise InvalidRequest(f'input "{spec.name}" is missing: takes {signature}')
    return specs


def _shapes_of(
    request: inference_pb2.ModelInferRequest, specs: list[TensorSpec], signature: Signature, settings: Settings
) -> dict[str, tuple[int, ...]]:
    shapes = {spec.name: tuple(tensor.shape) for spec, tensor in zip(specs, request.inputs, strict=True)}
    for spec in specs:
        wrong = wrong_shape(spec, shapes[spec.name])
        if wrong:
            raise InvalidRequest(wrong)
    main = signature.main
    for spec in specs:
        wrong = wrong_batch(spec, shapes[spec.name], main, shapes[main.name])
        if wrong:
            raise InvalidRequest(wrong)
    batch, sequence = shapes[main.name][:2]
    for axis, size, limit, option in (
        (0, batch, settings.max_batch, "--max-batch"),
        (1, sequence, settings.max_sequence, "--max-sequence"),
    ):
        if size > limit:
            raise InvalidRequest(
                f'input "{main.name}" has shape {list(shapes[main.name])}: {axis_name(main, axis)} is {size}, more '
                f"than the {limit} that this server takes ({option})"
            )
    return shapes


def _arrays_of(
    request: inference_pb2.ModelInferRequest, specs: list[TensorSpec], shapes: dict[str, tuple[int, ...]]
) -> dict[str, Array]:
    raw = request.raw_input_contents
    if not raw:
        return {
            spec.name: read_typed(tensor, spec, shapes[spec.name])
            for spec, tensor in zip(specs, request.inputs, strict=True)
        }
    if len(raw) != len(specs):
        names = ", ".join(f'"{spec.name}"' for spec in specs)
        raise InvalidRequest(
            f"raw_input_contents has {len(raw)} entries for {len(specs)} inputs ({names}): one each, in their order"
        )
    for spec, tensor in zip(specs, request.inputs, strict=True):
        if tensor.HasField("contents"):
            raise InvalidRequest(f'input "{spec.name}" comes in contents and in raw_input_contents: send one of them')
    return {
        spec.name: read_raw(data, spec, shapes[spec.name], position)
        for position, (spec, data) in enumerate(zip(specs, raw, strict=True))
    }


def _outputs_of(request: inference_pb2.ModelInferRequest, signature: Signature) -> tuple[str, ...]:
    if not request.outputs:
        return tuple(signature.outputs)
    names = tuple(output.name for output in request.outputs)
    for name in names:
        if name not in signature.outputs:
            known = ", ".join(str(spec) for spec in signature.outputs.values())
            raise InvalidRequest(f'unknown output "{name}"{_suggestion(name, signature.outputs)}: gives {known}')
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f'output "{twice}" is asked for twice')
    return names


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""
