"""Make recurrent operators return NaN whenever PyTorch does, and describe NaN and infinity for the manifest.

onnxruntime's kernels of GRU, LSTM, and RNN with relu clamp values with `min` and `max`, which drop NaN. A NaN in a step
turns into finite numbers, in that step and all later ones. If NaN is
possible, the export adds guard nodes after the operator. They multiply the operator's input by the weights, or by some
rows of the weights. If a step's products contain NaN, the row's results are NaN from this step on. A single infinity
saturates the gates and leads to finite numbers, as in PyTorch. Two infinities lead to NaN if the weights subtract one
from the other.

Finite results keep their bits. Steps after a row's length have no effect, as in the operator itself.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx
import onnx_ir as ir

from rnnserve.export.analysis.walk import Walk, declared_inputs
from rnnserve.export.onnx_files import load_model, save_model
from rnnserve.export.operators.graphs import NodeBuilder
from rnnserve.protos import manifest_pb2

__all__ = ["describe_finiteness", "guard_recurrences"]

_INPUT, _WEIGHT, _RECURRENT, _BIAS, _LENGTHS, _HIDDEN, _CELL = range(7)
_PREFIX = "guard_"  # of the names of all guard nodes
_ROWS = 32
"""Number of weight rows that a guard uses. A guard misses the NaN of two infinities if their products have the same
sign in all of these rows. With random signs of the weights, that happens in one of 2 ** 32 cases."""


def guard_recurrences(model: bytes, *, finite_inputs: bool = True, infinite: Collection[str] = ()) -> bytes:
    """Add a guard to each recurrent operator that loses NaN, if its input may be NaN or infinite.

    With `finite_inputs`, servers reject requests with NaN or infinity, so all inputs are finite except the inputs in
    `infinite`. If no operator needs a guard, or every operator already has one, the file's bytes stay the same.
    """
    guarded, walk = _walked(model, finite_inputs=finite_inputs, infinite=infinite)
    wanted = [
        node
        for node in ir.traversal.RecursiveGraphIterator(guarded.graph)
        if _swallows(node) and not walk.of(node.outputs[0]).whole.finite and not _is_guarded(node)
    ]
    if not wanted:
        return model
    for number, node in enumerate(wanted):
        _Guard(node, f"{_PREFIX}{number}").insert()
    onnx.checker.check_model(data := save_model(guarded), full_check=True)
    return data


def describe_finiteness(
    model: bytes, *, finite_inputs: bool, is_guarded: bool, infinite: Collection[str] = ()
) -> manifest_pb2.Finiteness:
    """Find the outputs of a file that can be NaN or infinite, and the inputs whose NaN would be lost.

    The parameters are the same as in `guard_recurrences`. `infinite` also contains states that begin with infinity.
    `is_guarded` is True for exported files, because their recurrent operators have guards.
    """
    loaded, walk = _walked(model, finite_inputs=finite_inputs, infinite=infinite)
    graph = loaded.graph
    lost: set[str] = set()
    if finite_inputs and is_guarded:
        reached: dict[ir.Value, frozenset[str]] = {}
        _follow(graph, {value: frozenset([value.name or ""]) for value in graph.inputs if _is_float(value)}, reached)
        for node in ir.traversal.RecursiveGraphIterator(graph):
            if _swallows(node) and walk.of(node.outputs[0]).whole.finite:
                lost.update(*(reached.get(value, ()) for value in node.inputs if value is not None))
    return manifest_pb2.Finiteness(
        outputs=[value.name or "" for value in graph.outputs if not walk.of(value).whole.finite],
        lost_inputs=[value.name or "" for value in graph.inputs if value.name in lost],
        allowed=not finite_inputs,
    )


def _walked(data: bytes, *, finite_inputs: bool, infinite: Collection[str]) -> tuple[ir.Model, Walk]:
    model = load_model(data)
    inputs = declared_inputs(model.graph, finite=finite_inputs, infinite=infinite)
    return model, Walk(model).run(inputs)


def _follow(graph: ir.Graph, known: Mapping[ir.Value, frozenset[str]], reached: dict[ir.Value, frozenset[str]]) -> None:
    """Record in `reached` the inputs that each value may depend on, including values in loop bodies."""
    reached.update(known)
    for node in graph:
        sources = frozenset().union(*(reached.get(value, frozenset()) for value in node.inputs if value is not None))
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                body = attribute.as_graph()
                _follow(body, dict.fromkeys(body.inputs, sources), reached)
                sources = sources.union(*(reached.get(value, frozenset()) for value in body.outputs))
        reached.update({output: sources for output in node.outputs if _is_float(output)})


def _is_float(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def _swallows(node: ir.Node) -> bool:
    """Whether onnxruntime's kernel turns NaN into finite numbers: GRU, LSTM and RNN with relu, but not with tanh."""
    if node.op_type not in ("RNN", "GRU", "LSTM"):
        return False
    activations = node.attributes.get("activations")
    return node.op_type != "RNN" or (activations is not None and set(activations.as_strings()) != {"Tanh"})


def _is_guarded(node: ir.Node) -> bool:
    users = (user for output in node.outputs for user, _ in output.uses())
    return any((user.name or "").startswith(_PREFIX) for user in users)


class _Guard:
    """Guard nodes of one operator. Y is (sequence, directions, batch, hidden), states (directions, batch, hidden)."""

    def __init__(self, node: ir.Node, prefix: str) -> None:
        self._node = node
        self._given = [*node.inputs, *[None] * (_CELL + 1 - len(node.inputs))]
        read = node.inputs[_INPUT]
        assert read is not None  # noqa: S101 - for mypy: every valid operator has this input
        self._read = read
        direction = node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"
        self._reversed = {"forward": (False,), "reverse": (True,)}.get(direction, (False, True))
        self._made = NodeBuilder(prefix)
        recurrent = self._given[_RECURRENT]
        self._dtype = recurrent.dtype.numpy() if recurrent is not None and recurrent.dtype else np.dtype(np.float32)
        is_masked = self._given[_LENGTHS] is not None
        self._zero = self._made.constant("zero", np.zeros((), self._dtype)) if is_masked else None
        self._nan = self._made.constant("nan", np.array(np.nan, self._dtype))

    def insert(self) -> None:
        """Insert the guard nodes after the operator, and redirect the uses of its results to them."""
        graph = self._node.graph
        assert graph is not None  # noqa: S101 - for mypy: the node comes from a graph
        outputs = [value for value in self._node.outputs if value.uses() or value.is_graph_output()]
        uses = {value: list(value.uses()) for value in outputs}
        for old, new in zip(outputs, self._guarded(outputs), strict=True):
            new.type, new.shape = old.type, old.shape
            for user, at in uses[old]:
                user.replace_input_with(at, new)
            if old.is_graph_output():
                graph.outputs[list(graph.outputs).index(old)] = new
                new.name, old.name = old.name, f"{self._made.prefix}/{old.name}"
        for constant in self._made.constants:
            graph.initializers.add(constant)
        graph.insert_after(self._node, self._made.nodes)

    def _guarded(self, outputs: list[ir.Value]) -> list[ir.Value]:
        op, made = self._made.op, self._made
        valid = self._valid()
        # (sequence, batch): NaN if the input makes a gate of this step NaN, else any number. The same holds below.
        bad = self._masked(self._products(self._read, self._weights(_WEIGHT), "weight"), valid)
        state = self._state()
        by_step, final = [], []
        for direction, is_reversed in enumerate(self._reversed):
            steps = op("CumSum", bad, made.integers(0), reverse=int(is_reversed))
            if self._node.op_type == "RNN":
                # A step is NaN if an earlier step left NaN in the state.
                left = self._relu(direction, valid)
                before = op("CumSum", left, made.integers(0), exclusive=1, reverse=int(is_reversed))
                steps = op("Add", steps, before)
            if state is not None:
                steps = op("Add", steps, op("Gather", state, made.integers(direction), axis=0))  # (batch) to each step
            by_step.append(op("Unsqueeze", steps, made.integers([1])))
            final.append(self._last(steps, is_reversed=is_reversed))
        results = []
        for value in outputs:
            is_sequence = value is self._node.outputs[0]
            parts = by_step if is_sequence else final
            is_nan = op("IsNaN", parts[0] if len(parts) == 1 else op("Concat", *parts, axis=1 if is_sequence else 0))
            if is_sequence and valid is not None:
                is_nan = op("And", is_nan, op("Unsqueeze", valid, made.integers([1])))
            results.append(op("Where", op("Unsqueeze", is_nan, made.integers([-1])), self._nan, value))
        return results

    def _last(self, steps: ir.Value, *, is_reversed: bool) -> ir.Value:
        """Return the value of the last computed step, (1, batch).

        It is read at the same position as the operator's final state. A sum over all steps would have the same value,
        but the graph analysis would treat it as an output that reads ahead.
        """
        op, made = self._made.op, self._made
        lengths = self._given[_LENGTHS]
        if is_reversed:
            return op("Gather", steps, made.integers([0]), axis=0)
        if lengths is None:
            return op("Unsqueeze", op("Gather", steps, made.integers(-1), axis=0), made.integers([0]))
        ends = op("Sub", op("Cast", lengths, to=ir.DataType.INT64.value), made.integers(1))
        return op("GatherElements", steps, op("Unsqueeze", ends, made.integers([0])), axis=0)

    def _valid(self) -> ir.Value | None:
        """Return the mask (sequence, batch) of steps before their row's length. None if all steps are."""
        lengths = self._given[_LENGTHS]
        if lengths is None:
            return None
        op, made = self._made.op, self._made
        steps = op("Unsqueeze", made.counted(self._read), made.integers([1]))
        return op("Less", steps, op("Cast", lengths, to=ir.DataType.INT64.value))

    def _masked(self, values: ir.Value, valid: ir.Value | None) -> ir.Value:
        return values if valid is None or self._zero is None else self._made.op("Where", valid, values, self._zero)

    def _state(self) -> ir.Value | None:
        """Return (directions, batch): NaN if the initial states make the first step NaN. None if there are none."""
        op, made = self._made.op, self._made
        found = []
        hidden, cell = self._given[_HIDDEN], self._given[_CELL]
        if hidden is not None and self._node.op_type == "GRU":
            # The next state contains the state itself as well as products with it, so infinity also leads to NaN.
            found.append(op("ReduceSum", op("Sub", hidden, hidden), made.integers([2]), keepdims=0))
        elif hidden is not None:
            rows = [self._weights(_RECURRENT, direction) for direction in range(len(self._reversed))]
            stacked = None if any(row is None for row in rows) else np.stack([row for row in rows if row is not None])
            found.append(self._products(hidden, stacked, "recurrent"))
        if cell is not None:
            found.append(op("ReduceSum", op("Sign", cell), made.integers([2]), keepdims=0))
        if len(found) == 2:
            return op("Add", *found)
        return found[0] if found else None

    def _relu(self, direction: int, valid: ir.Value | None) -> ir.Value:
        """Return (sequence, batch): NaN if a step's state, such as an overflow of relu, makes the next step NaN."""
        op, made = self._made.op, self._made
        states = op("Gather", self._node.outputs[0], made.integers(direction), axis=1)  # (sequence, batch, hidden)
        return self._masked(self._products(states, self._weights(_RECURRENT, direction), f"step_{direction}"), valid)

    def _products(self, values: ir.Value, weights: np.ndarray | None, name: str) -> ir.Value:
        """Sum the signs of the products over the last axis. NaN if a product is NaN, but finite for infinity."""
        op, made = self._made.op, self._made
        if weights is None:
            signs = op("Sub", values, values)  # if the weights are unknown, infinity counts as NaN
        else:
            signs = op("Sign", op("MatMul", values, made.constant(name, weights)))
        return op("ReduceSum", signs, made.integers([-1]), keepdims=0)

    def _weights(self, which: int, direction: int | None = None) -> np.ndarray | None:
        """Return rows of W or R, (features, rows) or (hidden, rows). None if the weights aren't constant.

        Infinity times zero is NaN, so an extra row has a zero in each column that contains a zero weight.
        """
        value = self._given[which]
        constant = None if value is None else ir.convenience.get_const_tensor(value)
        if constant is None:
            return None
        weights = constant.numpy()  # (directions, gates * hidden, features)
        rows = (weights if direction is None else weights[direction : direction + 1]).reshape(-1, weights.shape[-1])
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _ROWS).astype(int))]
        zeros = (rows != 0).all(axis=0).astype(rows.dtype)
        if not zeros.all():
            chosen = np.concatenate([chosen, zeros[None]])
        return np.ascontiguousarray(chosen.T)
