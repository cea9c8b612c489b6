"""A model's metadata: its inputs, outputs and labels, as the server reports them.

If a server reports neither axes nor roles, the client assumes the usual names and order of recurrent models. The first
axis of unknown size is the batch, and the second is the sequence. `lengths` counts the steps of the sequence. `h_n`
continues as `h_0`, and `c_n` as `c_0`.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from google.protobuf.message import DecodeError

from rnnserve.client.errors import InvalidAnswer
from rnnserve.protos import inference_pb2
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import ALONE, BATCH, JOINED, PADDED

__all__ = ["ModelMetadata", "TensorMetadata", "read_metadata"]

Parameter = bool | int | float | str

_TEXT_OF_FIRST_RELEASE = "\x1a"
"""The protobuf tag of `string_param` in an InferParameter, with which its bytes begin."""

_STATE_AXES = ("layers * directions", BATCH, "hidden")
_FINAL_STATES = {"h_n": "h_0", "c_n": "c_0"}


@dataclass(frozen=True)
class TensorMetadata:
    """One input or output of a model.

    Attributes:
        name: The tensor's name in requests and responses.
        datatype: The protocol's name of the datatype: "FP32", "INT64".
        shape: Size of each axis, or -1 if the request determines it.
        axes: Name of each axis: ("batch", "sequence", "features"). Empty if the server does not report them.
        optional: Whether a request may omit the input. False if the server does not report it.
        default: "recorded" if the model's own default replaces an omitted input, or empty if zeros do.
        required: Whether a request must include the input although it is a state or lengths.
        derived: For an output, how the sizes of some axes follow from the inputs' axes, by the name of the output axis.
        lengths_of: For an input with the length of each row, the name of the axis whose steps it counts. Else empty.
        low: The lowest value of an integer input, or the lowest usual value of a float input. None if unknown.
        high: One more than the highest value of an integer input, or the highest usual value of a float input. None if
            unknown.
        continues_as: For an output with a final state, the input that continues from it. Else empty.
        limits: The smallest and the largest size of each axis that the model accepts, for axes with limits.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...] = ()
    optional: bool = False
    default: str = ""
    required: bool = False
    lengths_of: str = ""
    low: float | None = None
    high: float | None = None
    continues_as: str = ""
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    derived: Mapping[str, DerivedSize] = field(default_factory=dict)

    def derived_sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the sizes of the derived axes whose input axis is in `sizes`."""
        return {axis: derived.size(sizes[derived.of]) for axis, derived in self.derived.items() if derived.of in sizes}

    @functools.cached_property
    def axis_names(self) -> tuple[str, ...]:
        """Name of each axis, or assumed names if the server does not report them."""
        if len(self.axes) == len(self.shape):
            return self.axes
        if len(self.shape) == len(_STATE_AXES) and self.name in (*_FINAL_STATES, *_FINAL_STATES.values()):
            return _STATE_AXES
        dynamic = [index for index, size in enumerate(self.shape) if size < 0]
        usual = dict(zip(dynamic, (BATCH, "sequence"), strict=False))
        return tuple(usual.get(index, f"axis {index}") for index in range(len(self.shape)))

    @functools.cached_property
    def batch_axis(self) -> int | None:
        """Index of the batch axis, or None if the tensor has none."""
        return self.axis_names.index(BATCH) if BATCH in self.axis_names else None

    @functools.cached_property
    def row_axes(self) -> tuple[tuple[str, int], ...]:
        """Name and size of each axis of one row (all axes but the batch). The size is -1 if the request chooses it."""
        return tuple(axis for axis in zip(self.axis_names, self.shape, strict=True) if axis[0] != BATCH)


@dataclass(frozen=True)
class ModelMetadata:
    """A model's inputs, outputs and labels.

    Attributes:
        name: The model's name.
        versions: Versions that the server offers.
        platform: The runtime, "onnxruntime_onnx" for example.
        inputs: Inputs by name, in the model's order.
        outputs: Outputs by name, in the model's order.
        labels: Label of each class, by index. None if the model has none or the server does not report them.
        properties: Other facts that the server reports about the model, as text: "provider", "batching", "labels".
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: Mapping[str, TensorMetadata]
    outputs: Mapping[str, TensorMetadata]
    labels: tuple[str, ...] | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def states(self) -> dict[str, str]:
        """Initial states and their final states, by the name of the initial state: {"h_0": "h_n"}."""
        return {tensor.continues_as: name for name, tensor in self.outputs.items() if tensor.continues_as}

    @functools.cached_property
    def found_states(self) -> tuple[str, ...]:
        """Inferred states: states in the graph outside the interface. The server keeps or seals them in a session."""
        try:
            found = json.loads(self.properties.get("found_states", "[]"))
        except ValueError:
            found = []
        return tuple(map(str, found)) if isinstance(found, list) and self.properties.get("sequences") == "kept" else ()

    @functools.cached_property
    def batching(self) -> str:
        """PADDED, JOINED or ALONE: which rows may share a request."""
        reported = self.properties.get("batching")
        if reported in (PADDED, JOINED, ALONE):
            return reported
        return PADDED if any(tensor.lengths_of for tensor in self.inputs.values()) else JOINED

    @property
    def is_batch_invariant(self) -> bool:
        """Whether a row's outputs are bit for bit the same with any other rows in its batch, as the server reports."""
        return self.properties.get("batch_invariant") == "true"

    @functools.cached_property
    def padded_axes(self) -> frozenset[str]:
        """Axes along which rows of different sizes may share a request, because an input has their lengths."""
        counted = {tensor.lengths_of for tensor in self.inputs.values() if tensor.lengths_of}
        return frozenset(counted if self.batching == PADDED else ())


def read_metadata(response: inference_pb2.ModelMetadataResponse) -> ModelMetadata:
    """Return the metadata in a ModelMetadata response. Raises InvalidAnswer if `labels` is not a JSON list of texts."""
    properties = {name: _property(text) for name, text in response.properties.items()}
    inputs = {tensor.name: _tensor(tensor) for tensor in response.inputs}
    outputs = {tensor.name: _tensor(tensor) for tensor in response.outputs}
    _assume_roles(inputs, outputs)
    return ModelMetadata(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=inputs,
        outputs=outputs,
        labels=_labels(response.name, properties.get("labels")),
        properties=properties,
    )


def _tensor(tensor: inference_pb2.ModelMetadataResponse.TensorMetadata) -> TensorMetadata:
    parameters = _parameters(tensor.parameters)
    axes, low, high = parameters.get("axes"), parameters.get("low"), parameters.get("high")
    return TensorMetadata(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=tuple(tensor.shape),
        axes=tuple(axis.strip() for axis in axes.split(",")) if isinstance(axes, str) else (),
        optional=parameters.get("optional") is True,
        default=str(parameters.get("default", "")),
        required=parameters.get("required") is True,
        lengths_of=str(parameters.get("lengths_of", "")),
        low=low if isinstance(low, int | float) else None,
        high=high if isinstance(high, int | float) else None,
        continues_as=str(parameters.get("continues_as", "")),
        limits=_limits(parameters.get("limits")),
        derived=_derived(parameters.get("derived")),
    )


def _limits(text: Parameter | None) -> dict[str, tuple[int, int]]:
    """Parse the limits of axes. Returns none if the text does not have the form that rnnserve writes."""
    try:
        limits = json.loads(text) if isinstance(text, str) else {}
        return {str(axis): (int(low), int(high)) for axis, (low, high) in limits.items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def _derived(text: Parameter | None) -> dict[str, DerivedSize]:
    """Parse how sizes follow from others. Returns none if the text does not have the form that rnnserve writes."""
    try:
        derived = json.loads(text) if isinstance(text, str) else {}
        return {
            str(axis): DerivedSize(str(of), int(multiply), int(add), max(int(divide), 1), *map(int, more))
            for axis, (of, multiply, add, divide, *more) in derived.items()
        }
    except (AttributeError, TypeError, ValueError):
        return {}


def _assume_roles(inputs: dict[str, TensorMetadata], outputs: dict[str, TensorMetadata]) -> None:
    """Add roles to the tensors with the usual names, if the server reports no role of any tensor."""
    if any(tensor.lengths_of for tensor in inputs.values()) or any(tensor.continues_as for tensor in outputs.values()):
        return
    lengths = inputs.get("lengths")
    if lengths is not None and len(lengths.shape) == 1:
        inputs["lengths"] = replace(lengths, lengths_of="sequence")
    for final, initial in _FINAL_STATES.items():
        if final in outputs and initial in inputs:
            outputs[final] = replace(outputs[final], continues_as=initial)


def _parameters(parameters: Mapping[str, inference_pb2.InferParameter]) -> dict[str, Parameter]:
    read: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            read[name] = getattr(parameter, kind)
    return read


def _property(text: str) -> str:
    """Return a property's text. Release 0.1.0 sent a message in the same field instead."""
    if not text.startswith(_TEXT_OF_FIRST_RELEASE):
        return text
    try:
        return inference_pb2.InferParameter.FromString(text.encode()).string_param
    except DecodeError:
        return text


def _labels(model: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    try:
        labels = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidAnswer(f"the labels of model {model} are not valid JSON: {text!r}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InvalidAnswer(f"the labels of model {model} are not a JSON list of strings: {text!r}")
    return tuple(labels) or None
