"""Replaces a model's RNN operators: computes the products of all inputs, a Scan over the steps, and the results.

The operator (https://onnx.ai/onnx/operators/onnx__RNN.html) returns `Y` (sequence, directions, batch, hidden), zero
after each row's length, and `Y_h` (directions, batch, hidden), the state after each row's last step. The loop ignores
lengths. This is safe because no result uses the steps after a row's end: `Y_h` is read at `lengths - 1`, and `Y` is set
to zero once, after the loop. A row without steps gets zeros in both, as in onnxruntime's operator.

A reverse direction with lengths is a forward direction between two ReverseSequence nodes. ReverseSequence leaves
everything after a row's length in place.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from rnnserve.export.onnx_files import load_model, save_model
from rnnserve.export.operators.graphs import NodeBuilder, remove_unused

__all__ = ["lower_rnn"]

_ACTIVATIONS = ("Tanh", "Relu")
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_ATTRIBUTES = {"activations", "direction", "hidden_size", "layout"}
_INPUT, _WEIGHT, _RECURRENT, _BIAS, _LENGTHS, _INITIAL = range(6)


def lower_rnn(model: bytes) -> bytes | None:
    """Replace each RNN operator with a loop, or return None if there is nothing to replace.

    Inputs, outputs, their axes and all other operators stay the same. An RNN operator isn't replaced if it is in the
    body of a loop, if its weights depend on the model's inputs, or if it uses clipping or activations besides tanh and
    relu.
    """
    lowered = load_model(model)
    graph = lowered.graph
    found = [(node, layer) for node in graph if node.op_type == "RNN" and (layer := _layer_of(node)) is not None]
    if not found:
        return None
    known: dict[tuple[ir.Value, str], _Lengths] = {}
    for number, (node, layer) in enumerate(found):
        path = (node.name or "").rpartition("/")[0]  # the path of its module
        _replace(graph, node, layer, NodeBuilder(f"{path}/loop_{number}" if path else f"loop_{number}"), known)
    remove_unused(graph)
    data = save_model(lowered)
    onnx.checker.check_model(data, full_check=True)
    return data


@dataclasses.dataclass(frozen=True)
class _Layer:
    """One RNN operator."""

    input: ir.Value  # (sequence, batch, features)
    weight: np.ndarray  # (directions, hidden, features)
    recurrent: np.ndarray  # (directions, hidden, hidden)
    bias: np.ndarray | None  # (directions, hidden), the sum of both biases
    initial: ir.Value | None  # (directions, batch, hidden); None for zeros
    activation: str  # "Tanh" or "Relu"
    reversed: Sequence[bool]  # whether each direction reads from the end


def _layer_of(node: ir.Node) -> _Layer | None:
    """Read an RNN operator, or return None if a loop wouldn't be equivalent."""
    given = [*node.inputs, *[None] * (_INITIAL + 1 - len(node.inputs))]
    input, weight, recurrent = given[_INPUT], _constant(given[_WEIGHT]), _constant(given[_RECURRENT])
    bias = _constant(given[_BIAS])
    if input is None or weight is None or recurrent is None or (bias is None) != (given[_BIAS] is None):
        return None
    attributes = node.attributes
    if not attributes.keys() <= _ATTRIBUTES or ("layout" in attributes and attributes["layout"].as_int()):
        return None
    direction = attributes["direction"].as_string() if "direction" in attributes else "forward"
    activations = {*attributes["activations"].as_strings()} if "activations" in attributes else {"Tanh"}
    if len(activations) != 1 or not activations <= {*_ACTIVATIONS}:
        return None
    hidden = weight.shape[1]
    both = None if bias is None else bias[:, :hidden] + bias[:, hidden:]
    return _Layer(input, weight, recurrent, both, given[_INITIAL], activations.pop(), _DIRECTIONS[direction])


def _constant(value: ir.Value | None) -> np.ndarray | None:
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


@dataclasses.dataclass(frozen=True)
class _Lengths:
    """Values computed from the lengths of rows, shared by layers."""

    steps: ir.Value  # (batch), int64
    ends: ir.Value  # (batch, 2), int64: each row's last step (-1 if the row has no step), and the row's number
    is_row: ir.Value  # (batch, 1): whether the row has a step
    is_inside: ir.Value  # (sequence, batch, 1): whether the step is before the row's end

    @classmethod
    def made(cls, to: NodeBuilder, lengths: ir.Value, input: ir.Value) -> "_Lengths":
        """Compute the values from lengths (batch,) and the input of a layer."""
        axis_1 = to.integers([1])
        steps = to.op("Cast", lengths, to=ir.DataType.INT64)
        last = to.op("Unsqueeze", to.op("Sub", steps, to.integers(1)), axis_1)
        row = to.op("Unsqueeze", to.counted(lengths), axis_1)
        step = to.op("Unsqueeze", to.counted(input), axis_1)
        return cls(
            steps=steps,
            ends=to.op("Concat", last, row, axis=1),
            is_row=to.op("Unsqueeze", to.op("Greater", steps, to.integers(0)), axis_1),
            is_inside=to.op("Unsqueeze", to.op("Less", step, steps), to.integers([2])),
        )


def _replace(
    graph: ir.Graph, node: ir.Node, layer: _Layer, made: NodeBuilder, known: dict[tuple[ir.Value, str], _Lengths]
) -> None:
    """Replace an operator with a loop. `known` holds the lengths made for other layers, by the sequence axis's name."""
    given = node.inputs[_LENGTHS] if len(node.inputs) > _LENGTHS else None
    lengths = None
    if given is not None:
        steps = layer.input.shape[0] if layer.input.shape is not None else None
        name = steps.value if isinstance(steps, ir.SymbolicDim) else None
        lengths = known.get((given, name)) if name is not None else None
        if lengths is None:
            lengths = _Lengths.made(made, given, layer.input)
        if name is not None:
            known[given, name] = lengths
    before = [*node.outputs, *[None] * (2 - len(node.outputs))]
    is_used = [value is not None and (bool(value.uses()) or value.is_graph_output()) for value in before]
    after = _results(made, layer, lengths, gives_output=is_used[0], gives_state=is_used[1])
    for constant in made.constants:
        graph.initializers.add(constant)
    graph.insert_before(node, made.nodes)
    for old, new in zip(before, after, strict=True):
        if old is not None and new is not None:
            new.name, new.type, new.shape = old.name, old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _results(
    to: NodeBuilder, layer: _Layer, lengths: _Lengths | None, *, gives_output: bool, gives_state: bool
) -> tuple[ir.Value | None, ir.Value | None]:
    """Make the nodes of a layer, and return `Y` and `Y_h`, each None if unused."""
    zero = to.constant("zero", np.zeros((), layer.weight.dtype))
    finals, outputs = _loop(to, layer, lengths, gives_outputs=gives_output or lengths is not None)
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


def _loop(
    to: NodeBuilder, layer: _Layer, lengths: _Lengths | None, *, gives_outputs: bool
) -> tuple[Sequence[ir.Value], Sequence[ir.Value]]:
    """Make one loop for all directions.

    For each direction, return the state after the last step (batch, hidden) and, if requested, the outputs (sequence,
    batch, hidden). If there are lengths, the outputs are in the order in which the direction reads the steps.
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


def _product(to: NodeBuilder, layer: _Layer, at: int, lengths: _Lengths | None) -> ir.Value:
    """Multiply the inputs of all steps by a direction's weight: (sequence, batch, hidden)."""
    input = layer.input
    if layer.reversed[at] and lengths is not None:
        input = _reversed(to, input, lengths)
    product = to.op("MatMul", input, to.constant(f"W_{at}", layer.weight[at].T))
    return product if layer.bias is None else to.op("Add", product, to.constant(f"B_{at}", layer.bias[at]))


def _body(to: NodeBuilder, layer: _Layer, *, gives_outputs: bool) -> ir.Graph:
    """Make the step, which computes the next state of each direction.

    For each direction it takes the state and the product of the inputs, both (batch, hidden).
    The recurrent weights are constants of the outer graph.
    """
    step = NodeBuilder(f"{to.prefix}/step")
    row = ir.TensorType(ir.DataType.from_numpy(layer.weight.dtype)), ir.Shape([None, layer.weight.shape[1]])

    def given(name: str) -> ir.Value:
        return ir.Value(name=f"{to.prefix}/step/{name}", type=row[0], shape=row[1])

    numbers = range(len(layer.reversed))
    states, products = [given(f"state_{at}") for at in numbers], [given(f"product_{at}") for at in numbers]
    following = []
    for at in numbers:
        recurrent = to.constant(f"R_{at}", layer.recurrent[at].T)
        following.append(step.op(layer.activation, step.op("Gemm", states[at], recurrent, products[at])))
    # A separate output, because onnxruntime computes wrong values if one value is both a state and an output.
    outputs = [step.op("Identity", state) for state in following] if gives_outputs else []
    results = [*following, *outputs]
    for result in results:
        result.type, result.shape = row
    return ir.Graph([*states, *products], results, nodes=step.nodes, name=f"{to.prefix}/step")


def _initial(to: NodeBuilder, layer: _Layer) -> list[ir.Value]:
    """Return each direction's initial state, (batch, hidden)."""
    count = len(layer.reversed)
    if layer.initial is None:
        batch = to.op("Shape", layer.input, start=1, end=2)
        shape = to.op("Concat", batch, to.integers([layer.weight.shape[1]]), axis=0)
        nothing = ir.tensor(np.zeros(1, layer.weight.dtype))
        return [to.op("ConstantOfShape", shape, value=nothing)] * count
    if count == 1:
        return [to.op("Squeeze", layer.initial, to.integers([0]))]
    return [to.op("Gather", layer.initial, to.integers(at), axis=0) for at in range(count)]


def _reversed(to: NodeBuilder, value: ir.Value, lengths: _Lengths) -> ir.Value:
    """Reverse each row of (sequence, batch, …) within its length."""
    return to.op("ReverseSequence", value, lengths.steps, time_axis=0, batch_axis=1)


def _stacked(to: NodeBuilder, values: Sequence[ir.Value], axis: int) -> ir.Value:
    """Stack the values of all directions along a new axis."""
    each = [to.op("Unsqueeze", value, to.integers([axis])) for value in values]
    return each[0] if len(each) == 1 else to.op("Concat", *each, axis=axis)
