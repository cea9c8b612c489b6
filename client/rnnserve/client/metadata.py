"""What a model takes and gives, as its server describes it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rnnserve.client.errors import InvalidAnswer
from rnnserve.protos import inference_pb2

__all__ = ["ModelMetadata", "TensorMetadata", "read_metadata"]

Parameter = bool | int | float | str


@dataclass(frozen=True)
class TensorMetadata:
    """One of a model's inputs or outputs.

    Attributes:
        name: As in requests.
        datatype: The protocol's name, "FP32" or "INT64".
        shape: Size of each axis, -1 where a request chooses it.
        axes: Name of each axis, ("batch", "sequence", "features"); empty where the server tells none.
        optional: Whether a request may leave the input out; False where the server does not say.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class ModelMetadata:
    """What a model takes and gives.

    Attributes:
        name: The model's.
        versions: Those that the server offers.
        platform: What runs it, "onnxruntime_onnx" for example.
        inputs: By name, in the model's order.
        outputs: By name, in the model's order.
        labels: What each class is called, by index; None where the server has none, as is the rule with others.
        parameters: Whatever else the server said about the model, "provider" for example.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: Mapping[str, TensorMetadata]
    outputs: Mapping[str, TensorMetadata]
    labels: tuple[str, ...] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def read_metadata(response: inference_pb2.ModelMetadataResponse) -> ModelMetadata:
    """Return what a ModelMetadata call answered.

    Raises:
        InvalidAnswer: The parameter `labels` is no JSON list of strings.
    """
    parameters = _parameters(response.parameters)
    return ModelMetadata(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=_tensors(response.inputs),
        outputs=_tensors(response.outputs),
        labels=_labels(response.name, parameters),
        parameters=parameters,
    )


def _tensors(tensors: Iterable[inference_pb2.ModelMetadataResponse.TensorMetadata]) -> dict[str, TensorMetadata]:
    return {tensor.name: _tensor(tensor) for tensor in tensors}


def _tensor(tensor: inference_pb2.ModelMetadataResponse.TensorMetadata) -> TensorMetadata:
    parameters = _parameters(tensor.parameters)
    axes = parameters.get("axes")
    return TensorMetadata(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=tuple(tensor.shape),
        axes=tuple(axis.strip() for axis in axes.split(",")) if isinstance(axes, str) else (),
        optional=parameters.get("optional") is True,
    )


def _parameters(parameters: Mapping[str, inference_pb2.InferParameter]) -> dict[str, Parameter]:
    read: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            read[name] = getattr(parameter, kind)
    return read


def _labels(model: str, parameters: Mapping[str, Parameter]) -> tuple[str, ...] | None:
    text = parameters.get("labels")
    if text is None:
        return None
    try:
        labels = json.loads(text) if isinstance(text, str) else text
    except json.JSONDecodeError as error:
        raise InvalidAnswer(f"model {model}: its parameter labels is not JSON: {text!r}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InvalidAnswer(f"model {model}: its parameter labels is no JSON list of strings: {text!r}")
    return tuple(labels)
