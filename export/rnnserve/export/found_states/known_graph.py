"""A graph, what is known of each of its tensors, and what carries something from step to step in it."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.analysis.decisions import ROWS, causal_key
from rnnserve.export.analysis.values import Track, Value, size_of
from rnnserve.export.tensors import lengths_inputs
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH


class Obstacle(Exception):
    """A graph can't be cut at one of its nodes. The message is the reason."""


@dataclasses.dataclass(frozen=True)
class FoundState:
    """Something that is carried from one step to the next, exposed as an input and an output that continues as it."""

    initial: manifest_pb2.Tensor
    final: manifest_pb2.Tensor
    default: npt.NDArray[Any] | None = None  # of the input, if it is known and not zeros: one row
    computed: str = ""  # the tensor of the uncut graph that holds the initial value, if that has to be computed


@dataclasses.dataclass(frozen=True)
class Place:
    """A node that carries something from step to step."""

    node: int  # its number in the graph
    nodes: Mapping[int, Sequence[onnx.NodeProto]]  # by number of a node, it or a reader of its result: what replaces it
    initializers: Sequence[onnx.TensorProto]  # constants of these
    states: Sequence[FoundState]  # what it carries, except states that the model declares
    before: Sequence[str] = ()  # the results of nodes that only prepare what it reads
    unread: Sequence[str] = ()  # the names of its inputs that no result depends on


@dataclasses.dataclass(frozen=True, eq=False)
class KnownGraph:
    """A graph, each result of whose recurrent nodes has a name, and what a walk found of its tensors by name."""

    model: onnx.ModelProto
    inputs: Sequence[manifest_pb2.Tensor]
    outputs: Sequence[manifest_pb2.Tensor]
    axis: str  # of the sequence
    values: Mapping[str, Value]

    @functools.cached_property
    def lengths(self) -> str:
        """The input that holds the lengths of rows, or an empty string."""
        return lengths_inputs(self.inputs).get(self.axis, "")

    @functools.cached_property
    def makers(self) -> dict[str, onnx.NodeProto]:
        """The node that gives each result, by name."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @functools.cached_property
    def _element_types(self) -> dict[str, int]:
        try:
            graph = onnx.shape_inference.infer_shapes(self.model).graph
        except (onnx.shape_inference.InferenceError, ValueError):  # of more than 2 GiB, or with wrong shapes in it
            graph = self.model.graph
        typed = (*graph.value_info, *graph.input, *graph.output)
        found = {value.name: value.type.tensor_type.elem_type for value in typed}
        return found | {tensor.name: tensor.data_type for tensor in graph.initializer}

    def dtype(self, *names: str) -> np.dtype[Any]:
        """The datatype of the first of some tensors whose type is known."""
        types = [self._element_types.get(name, 0) for name in names]
        try:
            return onnx.helper.tensor_dtype_to_np_dtype(next(filter(None, types), 0))
        except KeyError:
            return np.dtype(object)

    def steps_at(self, name: str) -> int | None:
        """The axis of a tensor along which the steps lie. None if there isn't one plain axis of them."""
        value = self.values.get(name)
        return None if value is None else _plain_axis(value, value.track(causal_key(self.axis)))

    def depends_on_steps(self, name: str) -> bool:
        """Whether a tensor depends on the steps of the sequence at all, or may."""
        value = self.values.get(name)
        return value is None or not value.track(causal_key(self.axis)).is_free

    def rows_at(self, name: str) -> int:
        """The axis of a tensor along which the rows lie. Raises Obstacle if there isn't one plain axis of them."""
        value = self.values[name]
        track = value.track(ROWS)
        if track.undecided:
            raise Obstacle(f"where its rows lie is not known, since no rule covers {track.undecided[0].node}")
        at = _plain_axis(value, track)
        if at is None:
            raise Obstacle("it carries something that does not lie along the batch")
        return at

    def axes_of(self, name: str, steps: int | None = None, kept: int = 0) -> list[manifest_pb2.Axis]:
        """Describe the axes of a state that has those of a tensor, but keeps few steps of its axis `steps`.

        Raises Obstacle if the state's size isn't fixed.
        """
        rows, axes = self.rows_at(name), []
        for at, axis in enumerate(self.values[name].axes):
            size = kept if at == steps else size_of(axis).number
            if at == rows:
                axes.append(manifest_pb2.Axis(name=BATCH, size=-1))
            elif size is None:
                raise Obstacle(f"what it carries grows: its axis {at} has {size_of(axis)} entries")
            else:
                axes.append(manifest_pb2.Axis(name="steps" if at == steps else f"axis_{at}", size=size))
        return axes

    def inputs_behind(self, name: str) -> set[str]:
        """Name the graph's inputs from whose values a tensor is computed. Sizes don't count."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            at = waiting.pop()
            maker = self.makers.get(at)
            if at not in seen and maker is not None and maker.op_type not in ("Shape", "Size"):
                waiting += [each for each in maker.input if each]
            seen.add(at)
        return seen & {tensor.name for tensor in self.inputs}

    def continues_declared(self, name: str) -> bool:
        """Whether a tensor is computed of an input that is declared as an initial state."""
        return not self.inputs_behind(name).isdisjoint(tensor.continues_as for tensor in self.outputs)

    def beginning(self, name: str) -> str | None:
        """Name the constant that a recurrence begins with: empty for zeros, None for a declared state.

        Raises Obstacle if it is computed of other inputs. The name of an initial value that is left out is empty.
        """
        behind = self.inputs_behind(name)
        if self.continues_declared(name):
            return None
        if behind:
            raise Obstacle(
                f'it begins with what is computed of "{min(behind)}", which a later part would have to send again'
            )
        value = self.values.get(name)
        return "" if value is not None and value.fill == 0 else name

    def state(
        self, name: str, axes: Sequence[manifest_pb2.Axis], dtype: np.dtype[Any], *, fill: float = 0.0, computed: str
    ) -> FoundState:
        """Describe a state that begins with a number, or with a tensor of the uncut graph."""
        datatype = next((key for key, known in DTYPES.items() if known == dtype), None)
        if datatype is None:
            raise Obstacle(f"what it carries is of a datatype that no request has ({dtype})")
        default = np.full([max(axis.size, 1) for axis in axes], fill, dtype) if fill else None
        means = manifest_pb2.DEFAULT_RECORDED if fill or computed else manifest_pb2.DEFAULT_ZEROS
        return FoundState(
            manifest_pb2.Tensor(name=name, datatype=datatype, axes=axes, default=means),
            manifest_pb2.Tensor(name=f"{name}_n", datatype=datatype, axes=axes, continues_as=name),
            default,
            computed,
        )


def _plain_axis(value: Value, track: Track) -> int | None:
    """The one axis of a value that a track lies along. None if it has no place, several, or a part of an axis."""
    if value.shape is None or track.is_lost or len(track.places) != 1:
        return None
    ((at, number),) = track.places
    return at if at >= 0 and number == 0 and len(value.shape[at]) == 1 else None
