"""The nodes that stand for one RNN operator: the products of all inputs, a Scan over the steps, and its results.

The operator (https://onnx.ai/onnx/operators/onnx__RNN.html) gives `Y` (sequence, directions, batch, hidden), zeros
after each row's length, and `Y_h` (directions, batch, hidden), the state after each row's last step. No step of the
loop looks at lengths: what steps after a row's end compute is read by nothing, since `Y_h` is taken at `lengths - 1`,
and `Y` is made zeros once, after the loop. A row without steps has zeros in both, as onnxruntime's operator gives them.

A reverse direction with lengths is a forward one between two ReverseSequence, which leave in its place what lies after
a row's length.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnnserve.export.lowering.node_builder import NodeBuilder

__all__ = ["Layer", "Lengths", "add_layer", "add_lengths"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One RNN operator.

    Attributes:
        input: (sequence, batch, features).
        weight: (directions, hidden, features).
        recurrent: (directions, hidden, hidden).
        bias: (directions, hidden), the sum of both biases; None for none.
        initial: (directions, batch, hidden); None for zeros.
        activation: "Tanh" or "Relu".
        reversed: Whether each direction reads from the end.
    """

    input: ir.Value
    weight: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray | None
    initial: ir.Value | None
    activation: str
    reversed: Sequence[bool]

    @property
    def hidden(self) -> int:
        """The size of the states."""
        return int(self.weight.shape[1])


@dataclasses.dataclass(frozen=True)
class Lengths:
    """What layers read of their lengths.

    Attributes:
        steps: (batch), int64.
        ends: (batch, 2), int64: the last step of each row, -1 where it has none, and the row.
        is_row: (batch, 1): whether the row has a step.
        is_inside: (sequence, batch, 1): whether the step is before the row's end.
    """

    steps: ir.Value
    ends: ir.Value
    is_row: ir.Value
    is_inside: ir.Value


def add_lengths(to: NodeBuilder, lengths: ir.Value, input: ir.Value) -> Lengths:
    """Make what layers read of their lengths.

    Args:
        to: Builder that takes the nodes.
        lengths: (batch), of an integer type.
        input: (sequence, batch, features), of one of the layers.
    """
    axis_1 = to.integers([1])
    steps = to.op("Cast", lengths, to=ir.DataType.INT64)
    last = to.op("Unsqueeze", to.op("Sub", steps, to.integers(1)), axis_1)
    row = to.op("Unsqueeze", _counted(to, lengths), axis_1)
    step = to.op("Unsqueeze", _counted(to, input), axis_1)
    return Lengths(
        steps=steps,
        ends=to.op("Concat", last, row, axis=1),
        is_row=to.op("Unsqueeze", to.op("Greater", steps, to.integers(0)), axis_1),
        is_inside=to.op("Unsqueeze", to.op("Less", step, steps), to.integers([2])),
    )


def add_layer(
    to: NodeBuilder, layer: Layer, lengths: Lengths | None, *, gives_output: bool, gives_state: bool
) -> tuple[ir.Value | None, ir.Value | None]:
    """Make the nodes of a layer.

    Args:
        to: Builder that takes the nodes.
        layer: The operator.
        lengths: Lengths of its rows; None where every row has all steps.
        gives_output: Whether `Y` is used.
        gives_state: Whether `Y_h` is used.

    Returns:
        `Y` and `Y_h`, None for one that is not used.
    """
    zero = to.constant("zero", np.zeros((), layer.weight.dtype))
    finals, outputs = _add_loop(to, layer, lengths, gives_outputs=gives_output or lengths is not None)
    y = y_h = None
    if gives_state:
        if lengths is not None:
            at_ends = [to.op("GatherND", output, lengths.ends) for output in outputs]
            finals = [to.op("Where", lengths.is_row, state, zero) for state in at_ends]
        y_h = _stacked(to, finals, axis=0)
    if gives_output:
        if lengths is not None:
            outputs = [to.op("Where", lengths.is_inside, output, zero) for output in outputs]
            outputs = [
                _reversed(to, output, lengths) if backwards else output
                for output, backwards in zip(outputs, layer.reversed, strict=True)
            ]
        y = _stacked(to, outputs, axis=1)
    return y, y_h


def _add_loop(
    to: NodeBuilder, layer: Layer, lengths: Lengths | None, *, gives_outputs: bool
) -> tuple[Sequence[ir.Value], Sequence[ir.Value]]:
    """Make the loop, one for all directions.

    Returns:
        Of each direction the state after the last step (batch, hidden); and, where they are asked for, the outputs
        (sequence, batch, hidden), in the order in which the direction reads where there are lengths, else in that of
        the input.
    """
    count = len(layer.reversed)
    directions = [int(backwards and lengths is None) for backwards in layer.reversed]
    carried = [*_initial(to, layer), *(_product(to, layer, at, lengths) for at in range(count))]
    results = to.ops(
        "Scan",
        carried,
        2 * count if gives_outputs else count,
        body=_body(to, layer, gives_outputs=gives_outputs),
        num_scan_inputs=count,
        scan_input_directions=directions,
        **({"scan_output_directions": directions} if gives_outputs else {}),
    )
    return results[:count], results[count:]


def _product(to: NodeBuilder, layer: Layer, at: int, lengths: Lengths | None) -> ir.Value:
    """Multiply the inputs of all steps by a direction's weight: (sequence, batch, hidden)."""
    input = layer.input
    if layer.reversed[at] and lengths is not None:
        input = _reversed(to, input, lengths)
    product = to.op("MatMul", input, to.constant(f"W_{at}", layer.weight[at].T))
    return product if layer.bias is None else to.op("Add", product, to.constant(f"B_{at}", layer.bias[at]))


def _body(to: NodeBuilder, layer: Layer, *, gives_outputs: bool) -> ir.Graph:
    """Make the step: of each direction the state (batch, hidden) and the product (batch, hidden) to the next state.

    The recurrent weights are constants of the graph around it.
    """
    step = NodeBuilder(f"{to.prefix}/step")
    row = ir.TensorType(ir.DataType.from_numpy(layer.weight.dtype)), ir.Shape([None, layer.hidden])

    def given(name: str) -> ir.Value:
        return ir.Value(name=f"{to.prefix}/step/{name}", type=row[0], shape=row[1])

    numbers = range(len(layer.reversed))
    states, products = [given(f"state_{at}") for at in numbers], [given(f"product_{at}") for at in numbers]
    following = []
    for at in numbers:
        recurrent = to.constant(f"R_{at}", layer.recurrent[at].T)
        following.append(step.op(layer.activation, step.op("Gemm", states[at], recurrent, products[at])))
    # An output of its own: onnxruntime computes wrong values where one value is both a state and an output.
    outputs = [step.op("Identity", state) for state in following] if gives_outputs else []
    results = [*following, *outputs]
    for result in results:
        result.type, result.shape = row
    return ir.Graph([*states, *products], results, nodes=step.nodes, name=f"{to.prefix}/step")


def _initial(to: NodeBuilder, layer: Layer) -> list[ir.Value]:
    """Give each direction's initial state, (batch, hidden)."""
    count = len(layer.reversed)
    if layer.initial is None:
        batch = to.op("Shape", layer.input, start=1, end=2)
        shape = to.op("Concat", batch, to.integers([layer.hidden]), axis=0)
        nothing = ir.tensor(np.zeros(1, layer.weight.dtype))
        return [to.op("ConstantOfShape", shape, value=nothing)] * count
    if count == 1:
        return [to.op("Squeeze", layer.initial, to.integers([0]))]
    return [to.op("Gather", layer.initial, to.integers(at), axis=0) for at in range(count)]


def _counted(to: NodeBuilder, value: ir.Value) -> ir.Value:
    """Count from 0 along a value's first axis."""
    size = to.op("Squeeze", to.op("Shape", value, start=0, end=1), to.integers([0]))
    return to.op("Range", to.integers(0), size, to.integers(1))


def _reversed(to: NodeBuilder, value: ir.Value, lengths: Lengths) -> ir.Value:
    """Reverse each row of (sequence, batch, …) within its length."""
    return to.op("ReverseSequence", value, lengths.steps, time_axis=0, batch_axis=1)


def _stacked(to: NodeBuilder, values: Sequence[ir.Value], axis: int) -> ir.Value:
    """Stack one value of each direction along a new axis."""
    each = [to.op("Unsqueeze", value, to.integers([axis])) for value in values]
    return each[0] if len(each) == 1 else to.op("Concat", *each, axis=axis)
