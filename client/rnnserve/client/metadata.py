"""A model's metadata: its inputs, outputs and labels, as the server reports them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rnnserve.client.errors import InvalidAnswer
from rnnserve.protos import inference_pb2

__all__ = ["ModelMetadata", "TensorMetadata", "read_metadata"]

Parameter = bool | int | float | str


@dataclass(frozen=True)
class TensorMetadata:
    """One input or output of a model.

    Attributes:
        name: The tensor's name in requests and answers.
        datatype: The protocol's name of the datatype: "FP32", "INT64".
        shape: Size of each axis; -1 if the request determines it.
        axes: Name of each axis: ("batch", "sequence", "features"); empty if the server does not report them.
        optional: Whether a request may omit the input; False if the server does not report it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class ModelMetadata:
    """A model's inputs, outputs and labels.

    Attributes:
        name: The model's name.
        versions: Versions that the server offers.
        platform: The runtime, "onnxruntime_onnx" for example.
        inputs: Inputs by name, in the model's order.
        outputs: Outputs by name, in the model's order.
        labels: Label of each class, by index; None if the server has no labels, which is usual for other servers.
        parameters: Other facts that the server reports about the model, "provider" for example.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: Mapping[str, TensorMetadata]
    outputs: Mapping[str, TensorMetadata]
    labels: tuple[str, ...] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def read_metadata(response: inference_pb2.ModelMetadataResponse) -> ModelMetadata:
    """Return the metadata in an answer to ModelMetadata.

    Raises:
        InvalidAnswer: The parameter `labels` is not a JSON list of strings.
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
        raise InvalidAnswer(f"model {model}: its parameter labels is not a JSON list of strings: {text!r}")
    return tuple(labels)
