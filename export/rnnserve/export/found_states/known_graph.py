"""A graph, what is known of each of its tensors, and how its nodes are named to people."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from enum import Enum

import onnx

from rnnserve.export.analysis.decisions import ROWS, causal_key
from rnnserve.export.analysis.values import Value, size_of
from rnnserve.export.found_states.place import Obstacle
from rnnserve.export.tensors import lengths_inputs
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

_SIZES = ("Shape", "Size")


@dataclasses.dataclass(frozen=True, eq=False)
class KnownGraph:
    """A graph, and what a walk found of its tensors.

    Attributes:
        model: The graph. Each result of its recurrent nodes has a name.
        inputs: Inputs, described.
        outputs: Outputs, described.
        axis: The sequence axis.
        values: What is known of each tensor, by name.
    """

    model: onnx.ModelProto
    inputs: Sequence[manifest_pb2.Tensor]
    outputs: Sequence[manifest_pb2.Tensor]
    axis: str
    values: Mapping[str, Value]

    @functools.cached_property
    def lengths(self) -> str:
        """The input that holds the lengths of rows; empty where there is none."""
        return lengths_inputs(self.inputs).get(self.axis, "")

    @functools.cached_property
    def declared(self) -> set[str]:
        """The inputs that are declared as initial states."""
        return {tensor.continues_as for tensor in self.outputs if tensor.continues_as}

    @functools.cached_property
    def makers(self) -> dict[str, onnx.NodeProto]:
        """By name of a result, the node that gives it."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @functools.cached_property
    def element_types(self) -> dict[str, int]:
        """By name, the datatype of each tensor of which ONNX's own inference tells it."""
        try:
            graph = onnx.shape_inference.infer_shapes(self.model).graph
        except (onnx.shape_inference.InferenceError, ValueError):  # of more than 2 GiB, or with wrong shapes in it
            graph = self.model.graph
        typed = (*graph.value_info, *graph.input, *graph.output)
        found = {value.name: value.type.tensor_type.elem_type for value in typed}
        return found | {tensor.name: tensor.data_type for tensor in graph.initializer}

    def steps_at(self, name: str) -> int | None:
        """The axis of a tensor along which the steps lie; None where they lie along none, or not plainly."""
        value = self.values.get(name)
        if value is None or value.shape is None:
            return None
        track = value.track(causal_key(self.axis))
        if track.is_lost or len(track.places) != 1:
            return None
        ((at, number),) = track.places
        return at if at >= 0 and number == 0 and len(value.shape[at]) == 1 else None

    def depends_on_steps(self, name: str) -> bool:
        """Whether a tensor depends on the steps of the sequence at all, or may."""
        value = self.values.get(name)
        return value is None or not value.track(causal_key(self.axis)).is_free

    def rows_at(self, name: str) -> int:
        """The axis of a tensor along which the rows lie.

        Raises:
            Obstacle: If there is not one plain axis of rows.
        """
        value = self.values[name]
        track = value.track(ROWS)
        if track.undecided:
            raise Obstacle(f"where its rows lie is not known, since no rule covers {track.undecided[0].node}")
        if value.shape is None or track.is_lost or len(track.places) != 1:
            raise Obstacle("it carries something that does not lie along the batch")
        ((at, number),) = track.places
        if at < 0 or number or len(value.shape[at]) != 1:
            raise Obstacle("it carries something that does not lie along the batch")
        return at

    def axes_of(self, name: str, steps: int | None = None, kept: int = 0) -> list[manifest_pb2.Axis]:
        """Describe the axes of a state that has those of a tensor.

        Args:
            name: Name of the tensor.
            steps: The axis of steps, of which some are kept; None where it has none.
            kept: Number of these.

        Raises:
            Obstacle: If its size is not fixed.
        """
        rows, value = self.rows_at(name), self.values[name]
        axes = []
        for at, axis in enumerate(value.axes):
            size = kept if at == steps else size_of(axis).number
            if at == rows:
                axes.append(manifest_pb2.Axis(name=BATCH, size=-1))
            elif size is None:
                raise Obstacle(f"what it carries grows: its axis {at} has {size_of(axis)} entries")
            else:
                axes.append(manifest_pb2.Axis(name="steps" if at == steps else f"axis_{at}", size=size))
        return axes

    def inputs_behind(self, name: str) -> set[str]:
        """Name the graph's inputs from whose values a tensor is computed; sizes do not count."""
        given = {tensor.name for tensor in self.inputs}
        found: set[str] = set()
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            if at in given:
                found.add(at)
            maker = self.makers.get(at)
            if maker is not None and maker.op_type not in _SIZES:
                waiting += [each for each in maker.input if each]
        return found

    def title(self, node: onnx.NodeProto) -> str:
        """Name a node to people: the path of its module, else its own name, else its operator."""
        path = node.name.rpartition("/")[0]
        return path or node.name or node.op_type.lower()


class Beginning(Enum):
    """What kind of value it is."""

    ZEROS = "zeros"
    CONSTANT = "constant"
    DECLARED = "declared"


@dataclasses.dataclass(frozen=True)
class Initial:
    """The value before the first step.

    Attributes:
        kind: Its kind.
        tensor: Its name in the graph; empty where it is left out, for zeros.
    """

    kind: Beginning
    tensor: str = ""


def initial_of(graph: KnownGraph, name: str) -> Initial:
    """Find what a recurrence begins with.

    Args:
        graph: The graph.
        name: Name of the initial value; empty where it is left out.

    Raises:
        Obstacle: If it is computed of inputs that are no declared states.
    """
    if not name:
        return Initial(Beginning.ZEROS)
    behind = graph.inputs_behind(name)
    if behind & graph.declared:
        return Initial(Beginning.DECLARED, name)
    if behind:
        raise Obstacle(
            f'it begins with what is computed of "{min(behind)}", which a later part would have to send again'
        )
    value = graph.values.get(name)
    fill = None if value is None else value.fill
    return Initial(Beginning.ZEROS if fill == 0 else Beginning.CONSTANT, name)
