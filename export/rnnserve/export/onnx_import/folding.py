"""Make a one-step file accept any number of steps: its graph becomes the body of a Scan over the steps.

An output that becomes an input of the next step turns into a state of the Scan. Rows of different lengths may share a
batch: after a row's last step, its states stay unchanged and its outputs are zero. Each step runs the file's own nodes,
so the results are bit for bit the same as when the file is called step by step.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.errors import WrongArguments
from rnnserve.export.operators.graphs import NodeBuilder
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Overlap", "fold"]

Overlap = tuple[int, int]
"""An axis of an input, and how many of its last values the next step repeats at its start."""

_LENGTHS = "lengths"  # the added input: the number of steps of each row
_OVERLAP = "{}_overlap"  # the state that holds the last values of the previous window
_FINAL = "{}_n"  # the output that holds this state after the last step
_OLDEST = 11
"""The oldest operator set that can be folded: the first with Range."""
_END = np.iinfo(np.int64).max

_Tensors = Sequence[manifest_pb2.Tensor]


def fold(
    model: ir.Model,
    axis: str,
    inputs: _Tensors,
    outputs: _Tensors,
    states: Mapping[str, str],
    overlaps: Mapping[str, Overlap],
) -> tuple[list[manifest_pb2.Tensor], dict[str, str]]:
    """Make a one-step model accept any number of steps. Changes the model, and returns its inputs and states.

    `axis` is the name of the step axis, which is inserted after the batch. `overlaps` lists, by input, the last values
    of a step that the next step repeats at its start.
    """
    _check(model, axis, inputs, outputs, states, overlaps)
    folding = _Folding(model.graph, axis, states)
    for tensor in inputs:
        if tensor.name in states.values():
            folding.carry(tensor)
        else:
            folding.take_steps(tensor, overlaps.get(tensor.name))
    for tensor in outputs:
        if tensor.name not in states:
            folding.give_steps(tensor)
    folding.build()
    return folding.described, folding.states


def _check(
    model: ir.Model,
    axis: str,
    inputs: _Tensors,
    outputs: _Tensors,
    states: Mapping[str, str],
    overlaps: Mapping[str, Overlap],
) -> None:
    """Raise an error if the file can't be folded."""
    opset = max(model.opset_imports.get(domain, 0) for domain in ("", "ai.onnx"))
    if opset < _OLDEST:
        raise WrongArguments(
            f"--fold {axis}: the file has operators of set {opset}; expected {_OLDEST} or later. Convert it and "
            f"compare the results: onnx.version_converter.convert_version(model, {_OLDEST})"
        )
    if not states and not overlaps:
        pairs = [f"{made.name}={given.name}" for given in inputs for made in outputs if _is_alike(given, made)]
        fits = f" of {', '.join(pairs)}, which have equal shapes" if pairs else ""
        raise WrongArguments(
            f"--fold {axis}: no state was found by name. If an output continues as an input of the next step, add "
            f"--state OUTPUT=INPUT{fits}. Without a state, steps are independent rows; send them as a batch"
        )
    given = {tensor.name: tensor for tensor in inputs if tensor.name not in states.values()}
    if not given:
        raise WrongArguments(f"--fold {axis}: every input is a state, so no input has steps")
    for name, tensor in given.items():
        if tensor.default == manifest_pb2.DEFAULT_FULL_LENGTH:
            raise WrongArguments(f'--fold {axis}: input "{name}" holds lengths, so the file already takes sequences')
        for of in tensor.axes:
            if of.name == axis:
                raise WrongArguments(
                    f'--fold {axis}: input "{name}" already has an axis of this name. Choose another name for the '
                    "step axis"
                )
            if of.size == DYNAMIC and of.name != BATCH:
                raise WrongArguments(
                    f'--fold {axis}: the axis "{of.name}" of input "{name}" is dynamic. Give its size in each step: '
                    f"--size {of.name}=SIZE"
                )
    for name, (at, values) in overlaps.items():
        if name not in given:
            raise WrongArguments(f'--overlap names "{name}"; expected an input with steps: {", ".join(given)}')
        axes = given[name].axes
        if not -len(axes) <= at < len(axes):
            raise WrongArguments(f'--overlap {name}.{at}={values}: "{name}" has {len(axes)} axes, numbered from 0')
        if axes[at].size <= values:
            size = "the batch" if axes[at].name == BATCH else f"{axes[at].size} in each step"
            raise WrongArguments(f"--overlap {name}={values}: this axis is {size}; expected more than {values}")


def _is_alike(given: manifest_pb2.Tensor, made: manifest_pb2.Tensor) -> bool:
    sizes = [[axis.size for axis in tensor.axes] for tensor in (given, made)]
    return given.datatype == made.datatype and sizes[0] == sizes[1]


class _State(NamedTuple):
    first: ir.Value  # the input of the new graph
    before: ir.Value  # in the body: the state before a step, then the state after it
    after: ir.Value
    last: ir.Value  # the output of the new graph


class _Steps(NamedTuple):
    """An input or output of the new graph with a step axis."""

    whole: ir.Value
    one: ir.Value  # one step, in the body
    axis: int


class _Folding:
    """Turns a graph into the body of a Scan. `_step` makes nodes inside the body, and `_around` makes nodes outside."""

    def __init__(self, graph: ir.Graph, axis: str, states: Mapping[str, str]) -> None:
        self.states = dict(states)
        self.described: list[manifest_pb2.Tensor] = []  # the new inputs
        self._graph, self._axis = graph, axis
        self._given = {value.name or "": value for value in graph.inputs}
        self._made = {value.name or "": value for value in graph.outputs}
        self._taken = {value.name for node in graph.all_nodes() for value in node.outputs} | {*self._given, *self._made}
        self._step, self._around = NodeBuilder("step"), NodeBuilder("fold")
        self._mask = ir.Value(name="step/is_within", type=ir.TensorType(ir.DataType.BOOL))  # (batch,)
        self._states: list[_State] = []
        self._slices: list[_Steps] = []
        self._stacks: list[_Steps] = []

    def carry(self, tensor: manifest_pb2.Tensor) -> None:
        """Turn an input, and the output that becomes it in the next step, into a state."""
        (final,) = (output for output, given in self.states.items() if given == tensor.name)
        self._add_state(tensor, final, self._given[tensor.name], self._made[final])

    def take_steps(self, tensor: manifest_pb2.Tensor, overlap: Overlap | None) -> None:
        """Add the step axis to an input. The body reads one step of it."""
        within, window = self._given[tensor.name], manifest_pb2.Tensor()
        window.CopyFrom(tensor)
        if overlap is not None:
            window.axes[overlap[0]].size -= overlap[1]
        described, at = self._with_steps(window)
        self.described.append(described)
        one = ir.Value(name=f"step/one/{tensor.name}", type=within.type)
        value = one if overlap is None else self._join_overlap(tensor, *overlap, one)
        within.replace_all_uses_with(value)
        self._made = {name: value if made is within else made for name, made in self._made.items()}
        self._slices.append(_Steps(_value(described), one, at))

    def give_steps(self, tensor: manifest_pb2.Tensor) -> None:
        """Add the step axis to an output. Its values are zero after a row's last step."""
        value = self._made[tensor.name]
        zero = self._step.constant(f"zero/{tensor.name}", np.zeros((), DTYPES[tensor.datatype]))
        kept = self._within(tensor, value, zero)
        _, at = self._with_steps(tensor)
        self._stacks.append(_Steps(ir.Value(name=tensor.name, type=value.type), kept, at))

    def build(self) -> None:
        """Replace the graph's nodes by a Scan that contains them."""
        graph, nodes = self._graph, list(self._graph)
        for name, value in self._made.items():
            value.name = f"step/after/{name}"  # the Scan's outputs take the original names
        graph.inputs.clear()
        graph.outputs.clear()
        graph.remove(nodes)
        lengths = manifest_pb2.Tensor(
            name=self._free_name(_LENGTHS),
            datatype="INT64",
            lengths_of=self._axis,
            default=manifest_pb2.DEFAULT_FULL_LENGTH,
        )
        lengths.axes.add(name=BATCH, size=DYNAMIC)
        self.described.append(lengths)
        body = ir.Graph(
            [*(state.before for state in self._states), *(each.one for each in self._slices), self._mask],
            [*(state.after for state in self._states), *(each.one for each in self._stacks)],
            nodes=[*nodes, *self._step.nodes],
            name="one step",
        )
        body.sort()
        length = _value(lengths)
        mask = self._mask_of(length)
        scan = ir.node(
            "Scan",
            [*(state.first for state in self._states), *(each.whole for each in self._slices), mask],
            {
                "body": body,
                "num_scan_inputs": len(self._slices) + 1,
                "scan_input_axes": [*(each.axis for each in self._slices), 1],
                "scan_output_axes": [each.axis for each in self._stacks],
            },
            outputs=[*(state.last for state in self._states), *(each.whole for each in self._stacks)],
            name="steps",
        )
        graph.extend([*self._around.nodes, scan])
        for constant in [*self._step.constants, *self._around.constants]:
            graph.register_initializer(constant)
        firsts = {value.name: value for value in [*scan.inputs, length] if value is not None}
        graph.inputs.extend(firsts[tensor.name] for tensor in self.described)
        results = {value.name: value for value in scan.outputs}
        graph.outputs.extend(results.pop(name) for name in self._made)
        graph.outputs.extend(results.values())  # the final states of the overlaps

    def _with_steps(self, tensor: manifest_pb2.Tensor) -> tuple[manifest_pb2.Tensor, int]:
        """Add the step axis to a tensor, after the batch. Returns the tensor and the axis's position."""
        described = manifest_pb2.Tensor()
        described.CopyFrom(tensor)
        names = [axis.name for axis in tensor.axes]
        at = names.index(BATCH) + 1
        del described.axes[at:]
        described.axes.add(name=self._axis, size=DYNAMIC)
        described.axes.extend(tensor.axes[at:])
        return described, at

    def _join_overlap(self, tensor: manifest_pb2.Tensor, at: int, values: int, window: ir.Value) -> ir.Value:
        """Prepend the previous step's last values to a window, and keep the joined window's last values as a state."""
        state = manifest_pb2.Tensor()
        state.CopyFrom(tensor)
        state.name = self._free_name(_OVERLAP.format(tensor.name))
        state.default = manifest_pb2.DEFAULT_ZEROS
        state.axes[at].size = values
        before, integers = _value(state), self._step.integers
        joined = self._step.op("Concat", before, window, axis=at)
        after = self._step.op("Slice", joined, integers([-values]), integers([_END]), integers([at]))
        final = self._free_name(_FINAL.format(state.name))
        self.states[final] = state.name
        self._add_state(state, final, before, after)
        return joined

    def _add_state(self, tensor: manifest_pb2.Tensor, final: str, before: ir.Value, after: ir.Value) -> None:
        kept = self._within(tensor, after, before)
        first, last = _value(tensor), ir.Value(name=final, type=_value(tensor).type)
        before.name = f"step/before/{tensor.name}"
        self._states.append(_State(first, before, kept, last))
        self.described.append(tensor)

    def _within(self, tensor: manifest_pb2.Tensor, value: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Return, inside the body, `value` in rows that have this step, and another value in rows that have ended."""
        shape = self._step.integers([-1 if axis.name == BATCH else 1 for axis in tensor.axes])
        is_within = self._step.op("Reshape", self._mask, shape)
        if tensor.datatype != "BOOL":
            return self._step.op("Where", is_within, value, otherwise)
        # onnxruntime has no Where of booleans
        value, otherwise = (self._step.op("Cast", each, to=ir.DataType.UINT8) for each in (value, otherwise))
        return self._step.op("Cast", self._step.op("Where", is_within, value, otherwise), to=ir.DataType.BOOL)

    def _mask_of(self, lengths: ir.Value) -> ir.Value:
        """Return the mask (batch, steps) of steps within each row's length."""
        first, around = self._slices[0], self._around
        count = around.op("Gather", around.op("Shape", first.whole), around.integers(first.axis), axis=0)
        steps = around.op("Range", around.integers(0), count, around.integers(1))
        row, column = around.integers([1, -1]), around.integers([-1, 1])
        return around.op("Less", around.op("Reshape", steps, row), around.op("Reshape", lengths, column))

    def _free_name(self, name: str) -> str:
        return name if name not in self._taken else self._free_name(f"{self._axis}_{name}")


def _value(tensor: manifest_pb2.Tensor) -> ir.Value:
    """Create a graph value with a tensor's name, type and shape."""
    shape = ir.Shape([axis.name if axis.size == DYNAMIC else axis.size for axis in tensor.axes])
    return ir.Value(name=tensor.name, type=ir.TensorType(ir.DataType.from_numpy(DTYPES[tensor.datatype])), shape=shape)
