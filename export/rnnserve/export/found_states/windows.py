"""What stands before the first step: padding, or a constant that is joined to the sequence; and the sum so far.

What is carried are the last steps of the sequence, which stand before the first step of the next part. A convolution
that reads them computes at least two steps, of which the first is dropped: onnxruntime computes a single one by another
kernel, whose last bits differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from rnnserve.export.analysis.decisions import causal_key
from rnnserve.export.analysis.sizes import named
from rnnserve.export.analysis.values import size_of
from rnnserve.export.found_states.known_graph import FoundState, KnownGraph, Place

_FAR = 2**63 - 1
"""The end of any axis, for a Slice."""
_FOLDED = ("BatchNormalization", "Mul", "Add")
"""What onnxruntime folds into the weights of a convolution before it."""


class _Pieces:
    """Nodes that take the place of others, and their constants of int64. All names begin with a prefix."""

    def __init__(self, graph: KnownGraph, prefix: str) -> None:
        self._graph, self._prefix = graph, prefix
        self.joined = f"{prefix}/joined"  # the sequence, after what was carried
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - as ONNX's own
        name = output or f"{self._prefix}/{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: object) -> str:
        name = f"{self._prefix}/constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def steps(self, tensor: str, axis: int, start: int, end: int, output: str = "") -> str:
        """Cut a tensor along one axis."""
        bounds = [self.constant([number]) for number in (start, end, axis)]
        return self.add("Slice", [tensor, *bounds], output)

    def window(self, tensor: str, steps: int, kept: int, fill: float = 0.0, computed: str = "") -> FoundState:
        """Join the steps before to a tensor, and keep its own last steps.

        Before the first step they are `fill`, or the tensor `computed`.
        """
        graph, name = self._graph, f"{self._prefix}.last"
        axes = graph.axes_of(tensor, steps, kept)
        self.add("Concat", [name, tensor], self.joined, axis=steps)
        self.keep_last(self.joined, tensor, name, steps, kept)
        return graph.state(name, axes, graph.dtype(tensor), fill=fill, computed=computed)

    def keep_last(self, joined: str, tensor: str, state: str, steps: int, kept: int) -> None:
        """Give the last steps of each row of `joined`, which begins with a state and goes on as `tensor`."""
        lengths = self._graph.lengths
        if not lengths:
            self.steps(joined, steps, -kept, _FAR, f"{state}_n")
            return
        rows, rank = self._graph.rows_at(tensor), self._graph.values[tensor].rank
        ends = self.add("Cast", [lengths], to=onnx.TensorProto.INT64)
        by_row = self.add("Reshape", [ends, self.constant([-1 if at == rows else 1 for at in range(rank)])])
        places = np.arange(kept).reshape([kept if at == steps else 1 for at in range(rank)])
        indices = self.add("Add", [by_row, self.constant(places)])
        every = self.add("Expand", [indices, self.add("Shape", [state])])
        self.add("GatherElements", [joined, every], f"{state}_n", axis=steps)

    def place(
        self,
        number: int,
        states: Sequence[FoundState],
        convolutions: Mapping[int, onnx.NodeProto],
        steps: int,
        before: Sequence[str] = (),
    ) -> Place:
        """Put the nodes in the place of one, and let convolutions that compute a step more drop it.

        They drop it after what onnxruntime makes one node of with them. Between the two, the step would keep it from
        doing so, and the last bits would differ.
        """
        nodes: dict[int, Sequence[onnx.NodeProto]] = {number: list(self.nodes)}
        for at, node in convolutions.items():
            chain = {at: node, **_folded(self._graph, node)}
            last = onnx.NodeProto()
            last.CopyFrom(chain[max(chain)])
            result = last.output[0]
            last.output[0] = f"{result}/more"
            self.steps(last.output[0], steps, 1, _FAR, result)
            chain_nodes: dict[int, Sequence[onnx.NodeProto]] = {key: [each] for key, each in chain.items()}
            chain_nodes[max(chain)] = [last, self.nodes[-1]]
            nodes |= {key: [*(nodes[key] if key == number else ()), *each] for key, each in chain_nodes.items()}
        return Place(number, nodes, self.initializers, states, before)


def find_padding(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find steps of padding before the first one, by a Pad. None if it adds none."""
    steps = graph.steps_at(node.input[0])
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    pads = graph.values[node.input[1]].numbers if node.input[1:] and node.input[1] in graph.values else None
    if steps is None or pads is None or mode != b"constant" or node.input[3:] or pads[steps] <= 0:
        return None
    fill = graph.values[node.input[2]].fill if node.input[2:] and node.input[2] else 0.0
    if fill is None:
        return None
    readers = _convolutions(graph, node.output[0])
    pieces = _Pieces(graph, prefix)
    state = pieces.window(node.input[0], steps, pads[steps] + bool(readers), fill)
    rest = [0 if at == steps else pad for at, pad in enumerate(pads)]
    if any(rest):
        pieces.add("Pad", [pieces.joined, pieces.constant(rest), *node.input[2:3]], node.output[0])
    else:
        pieces.add("Identity", [pieces.joined], node.output[0])
    return pieces.place(number, [state], readers, steps)


def find_convolution(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find steps of padding before the first one, by a convolution itself.

    A convolution that reads each step alone carries nothing, and computes two steps as others do.
    """
    steps = graph.steps_at(node.input[0])
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if steps is None or steps < 2 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    at = steps - 2
    spatial = graph.values[node.input[0]].rank - 2
    pads = list(attributes.get("pads", ())) or [0] * (2 * spatial)
    strides = list(attributes.get("strides", ())) or [1] * spatial
    kernel = size_of(graph.values[node.input[1]].axes[steps]).number
    if strides[at] != 1 or (pads[at] <= 0 and kernel != 1):
        return None
    pieces, states = _Pieces(graph, prefix), []
    if pads[at] > 0:
        states.append(pieces.window(node.input[0], steps, pads[at] + 1))
    else:
        first = pieces.steps(node.input[0], steps, 0, 1)
        pieces.add("Concat", [first, node.input[0]], pieces.joined, axis=steps)
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input[0] = pieces.joined
    for each in changed.attribute:
        if each.name == "pads":
            each.ints[at] = 0
    return pieces.place(number, states, {number: changed}, steps)


def find_sum(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find a running sum over the sequence, as the guards of recurrent operators have: the sum so far is carried.

    None if it runs over another axis, or backward.
    """
    given, axis_name = node.input
    steps, value = graph.steps_at(given), graph.values.get(given)
    attributes = {each.name: each.i for each in node.attribute}
    axis = graph.values[axis_name].numbers if axis_name in graph.values else None
    if steps is None or axis is None or value is None or axis[0] % value.rank != steps or attributes.get("reverse"):
        return None
    pieces, name = _Pieces(graph, prefix), f"{prefix}.sum"
    state = graph.state(name, graph.axes_of(given, steps, 1), graph.dtype(given), computed="")
    sums = pieces.add("CumSum", [pieces.add("Concat", [name, given], axis=steps), axis_name])
    first, end = (0, -1) if attributes.get("exclusive") else (1, _FAR)
    pieces.steps(sums, steps, first, end, node.output[0])
    pieces.keep_last(sums, given, name, steps, 1)
    return pieces.place(number, [state], {}, steps)


def find_join(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find constants that stand before the first step, by a Concat. None if there are none.

    If the last steps are cut off before, as in `cat([zeros, x[:, :-1]], 1)`, those of the uncut sequence are carried.
    """
    if len(node.input) != 2:
        return None
    first, second = node.input
    steps, before = graph.steps_at(second), graph.values.get(first)
    axis = next(each.i for each in node.attribute if each.name == "axis")
    if steps is None or before is None or before.shape is None or graph.depends_on_steps(first):
        return None
    kept = size_of(before.axes[steps]).number
    if axis % before.rank != steps or not kept:
        return None
    computed = graph.beginning(first)
    if computed is None:
        return Place(number, {}, [], [])
    source = _uncut(graph, second, steps, kept)
    readers = _convolutions(graph, node.output[0]) if source == second and not computed else {}
    pieces = _Pieces(graph, prefix)
    state = pieces.window(source, steps, kept + bool(readers), computed=computed)
    if source == second:
        pieces.add("Identity", [pieces.joined], node.output[0])
    else:
        pieces.steps(pieces.joined, steps, 0, -kept, node.output[0])
    return pieces.place(number, [state], readers, steps, [] if source == second else [second])


def _convolutions(graph: KnownGraph, name: str) -> dict[int, onnx.NodeProto]:
    """The nodes that read a tensor, by number, if all are convolutions of it. Otherwise none."""
    readers = {number: node for number, node in enumerate(graph.model.graph.node) if name in node.input}
    is_output = any(value.name == name for value in graph.model.graph.output)
    alone = all(node.op_type == "Conv" and list(node.input).index(name) == 0 for node in readers.values())
    return readers if alone and not is_output else {}


def _folded(graph: KnownGraph, node: onnx.NodeProto) -> dict[int, onnx.NodeProto]:
    """The nodes after a convolution that onnxruntime folds into its weights, by number."""
    constants = {tensor.name for tensor in graph.model.graph.initializer}
    outputs = {value.name for value in graph.model.graph.output}
    found: dict[int, onnx.NodeProto] = {}
    name = node.output[0]
    while name not in outputs:
        readers = [(number, each) for number, each in enumerate(graph.model.graph.node) if name in each.input]
        if (
            len(readers) != 1
            or readers[0][1].op_type not in _FOLDED
            or not {*readers[0][1].input} - {name} <= constants
        ):
            break
        found |= readers
        name = readers[0][1].output[0]
    return found


def _uncut(graph: KnownGraph, name: str, steps: int, cut: int) -> str:
    """Give the tensor that this one is except for its last steps, as many as are said. Itself if there is none."""
    maker = graph.makers.get(name)
    if maker is None or maker.op_type != "Slice" or graph.steps_at(maker.input[0]) != steps:
        return name
    longer, shorter = (graph.values[each] for each in (maker.input[0], name))
    whole, left = (size_of(each.axes[steps]) for each in (longer, shorter))
    key = causal_key(graph.axis)
    is_from_the_first = dict(shorter.track(key).places) == dict(longer.track(key).places)
    is_cut = whole == named(graph.axis) and (whole - left).number == cut
    is_read_here_only = sum(list(node.input).count(name) for node in graph.model.graph.node) == 1
    return maker.input[0] if is_from_the_first and is_cut and is_read_here_only else name
