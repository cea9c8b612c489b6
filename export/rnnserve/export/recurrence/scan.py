"""`scan`: a loop over the steps of a sequence that can be exported, for any computation in a step.

During a capture, the step runs once, as part of the program, between two operators of our own, the markers `ScanBegin`
and `ScanEnd`. `translate_scans` replaces them and the nodes between them with one ONNX Scan
(https://onnx.ai/onnx/operators/onnx__Scan.html). Its body contains the nodes that depend on the step. Other values
(weights, the module's other inputs) come from the outer graph.

Both markers have the attribute `number`. It distinguishes the scans of a program and keeps the exporter from merging
two scans that begin with the same tensors. ScanBegin(states, sequences) returns the states before a step, and the step.
ScanEnd(states after the step, outputs of the step, states, sequences) returns the states after the last step, and the
stacked outputs.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators import MayBeEmpty, refuse_empty
from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.surroundings import path_of_the_users
from rnnserve.export.torch_adapter import MULTI_OUT, tree_flatten, tree_unflatten

__all__ = [
    "BEGIN",
    "END",
    "MARKER",
    "CaptureSession",
    "current_session",
    "is_capturing",
    "is_marker",
    "numbers_of",
    "refuse_empty_scans",
    "scan",
    "translate_scans",
]

_thread = threading.local()


class CaptureSession:
    """The capture of a module. Only the exporting thread has a session, so other threads use PyTorch's own code."""

    def __init__(self, root: nn.Module) -> None:
        own = root.get_submodule(path_of_the_users(root))
        self._names = {id(module): f"`{name}`" if name else "the module itself" for name, module in own.named_modules()}
        self.scans = itertools.count()  # numbers for the `scan` calls of the captured program

    def name(self, module: nn.Module) -> str:
        """Return the name of a module for messages: its (first) qualified name and its class."""
        known = self._names.get(id(module), "a submodule that the exported module does not register")
        return f"{known} ({type(module).__name__})"

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make this the thread's session in the context."""
        before = getattr(_thread, "session", None)
        _thread.session = self
        try:
            yield
        finally:
            _thread.session = before


def is_capturing() -> bool:
    """Whether this thread captures a module."""
    return getattr(_thread, "session", None) is not None


def current_session() -> CaptureSession:
    """Return this thread's session, which must exist."""
    session: CaptureSession = _thread.session
    return session


DOMAIN, BEGIN, END = "rnnserve", "ScanBegin", "ScanEnd"
MARKER = MULTI_OUT


def is_marker(node: fx.Node, name: str) -> bool:
    """Whether a node of the captured program is the marker `name`, BEGIN or END."""
    return node.target is MARKER and node.args[1] == name and node.kwargs.get("domain") == DOMAIN


def numbers_of(marker: fx.Node) -> list[int]:
    """Return a marker's attributes: the scan's number and, for END, its numbers of states and outputs, and others."""
    numbers = marker.kwargs["attr_ints"]
    assert isinstance(numbers, list | tuple)  # noqa: S101 - as torch.onnx.ops writes attributes
    return [number for number in numbers if isinstance(number, int)]


def scan(
    combine_fn: Callable[[Any, Any], tuple[Any, Any]],
    init: Argument,
    xs: Argument,
    *,
    dim: int = 0,
    reverse: bool = False,
) -> tuple[Argument, Argument]:
    """Call `combine_fn` for each step of a sequence, and pass the state from step to step.

    In eager this is a loop. `export_onnx` converts it to one ONNX Scan, which is right for any number of steps. A
    Python loop would be right only for the sample's number of steps. Signature and results are those of torch's
    prototype `torch._higher_order_ops.scan`. With a cell, and `input` (batch, sequence, features)::

        def step(h, x):  # (batch, hidden), (batch, features)
            h = cell(x, h)
            return h, h

        h_n, output = scan(step, input.new_zeros(input.size(0), hidden), input, dim=1)

    An export calls `combine_fn` for a single step, so all steps must compute the same. If a number changes from step to
    step, pass it as a tensor in `xs`, such as `torch.arange(input.size(1))` with `dim=0`. `combine_fn` can use
    parameters and other tensors from outside, but it must write only to tensors that it has made.

    Args:
        combine_fn: (state before the step, one step of `xs`) -> (state after the step, the step's output).
        init: The state before the first step: a tensor, or nested tuples, lists and dicts of tensors. The state after
            each step must have the same structure, shapes and dtypes.
        xs: The sequence: a tensor or a nest of tensors, all with the same number of steps along the axis `dim`. A step
            of `xs` has the same structure without that axis.
        dim: The axis of the steps in `xs`, and in the outputs.
        reverse: Whether to start at the last step. Outputs stay in the order of `xs`.

    Returns:
        The state after the last step, structured like `init`, and the outputs, stacked along a new axis `dim`.

    Raises:
        UnsupportedModule: If there are no steps, if sizes along `dim` differ, or if a step changes the state's
            structure, shapes or dtypes. Eager raises it as well, so that you notice the problem before the export.
    """
    states, state_spec = tree_flatten(init)
    sequences, step_spec = tree_flatten(xs)
    axis, count = _axis_of_steps(states, sequences, dim)

    def step(before: list[Tensor], of_step: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Argument]:
        """Call `combine_fn` with flat lists, and also return the structure of the output."""
        after, output = combine_fn(tree_unflatten(before, state_spec), tree_unflatten(of_step, step_spec))
        after, after_spec = tree_flatten(after)
        if after_spec != state_spec:
            raise UnsupportedModule(
                f"a step of scan changes the structure of the state: {state_spec} before the step, {after_spec} after "
                "it. combine_fn returns the pair (state after the step, output of the step)."
            )
        _check_states(states, after)
        output, output_spec = tree_flatten(output)
        _check_outputs(output, axis)
        return after, output, output_spec

    if is_capturing():
        number = next(current_session().scans)
        carried, at = [*states, *sequences], len(states)
        shapes = [(*each.shape[:axis], *each.shape[axis + 1 :]) for each in sequences]
        begun = _marker(BEGIN, carried, carried, [*(each.shape for each in states), *shapes], {"number": number})
        after, output, output_spec = step(begun[:at], begun[at:])
        shapes = [(*each.shape[:axis], count, *each.shape[axis:]) for each in output]
        numbers = {"number": number, "states": at, "outputs": len(output), "dim": axis, "reverse": reverse}
        shapes = [*(each.shape for each in states), *shapes]
        ended = _marker(END, [*after, *output, *carried], [*after, *output], shapes, numbers)
        final, stacked = ended[:at], ended[at:]
    else:
        steps = list(zip(*(sequence.unbind(axis) for sequence in sequences), strict=True))
        final, outputs = states, []
        for of_step in reversed(steps) if reverse else steps:
            final, output, output_spec = step(final, list(of_step))
            outputs.append(output)
        stacked = [torch.stack(each, axis) for each in zip(*outputs[:: -1 if reverse else 1], strict=True)]
    return tree_unflatten(final, state_spec), tree_unflatten(stacked, output_spec)


def _marker(
    name: str,
    inputs: Sequence[Tensor],
    like: Sequence[Tensor],
    shapes: Sequence[Sequence[Any]],
    numbers: dict[str, Any],
) -> list[Tensor]:
    """Add a marker to the captured program. Its results have the types of the tensors in `like`."""
    dtypes = [each.dtype for each in like]
    return list(torch.onnx.ops.symbolic_multi_out(f"{DOMAIN}::{name}", inputs, numbers, dtypes=dtypes, shapes=shapes))


def _axis_of_steps(
    states: Sequence[Argument], sequences: Sequence[Argument], dim: int
) -> tuple[int, int | torch.SymInt]:
    """Check the arguments of a scan, and return the (non-negative) axis of the steps and their number."""
    for name, leaves in (("init", states), ("xs", sequences)):
        other = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)]
        if other or not leaves:
            raise UnsupportedModule(
                f"scan got {name} with {', '.join(other) or 'no tensor'}; expected tensors only. Use zeros instead "
                "of a state that is None before the first step."
            )
    axis = dim + sequences[0].dim() if dim < 0 else dim
    if not all(0 <= axis < sequence.dim() for sequence in sequences):
        shapes = [tuple(sequence.shape) for sequence in sequences]
        raise UnsupportedModule(f"scan got dim={dim} for xs of shapes {shapes}; all of them need that axis")
    sizes = [sequence.shape[axis] for sequence in sequences]
    if any(size != sizes[0] for size in sizes[1:]):
        raise UnsupportedModule(f"scan got xs of {sizes} steps along axis {axis}; all of them need the same number")
    if isinstance(sizes[0], int) and sizes[0] == 0:
        raise UnsupportedModule("scan got a sequence without steps; expected at least one")
    return axis, sizes[0]


def _check_states(before: Sequence[Tensor], after: Sequence[Argument]) -> None:
    """Refuse a step that changes shapes or dtypes of the state."""
    for old, new in zip(before, after, strict=True):
        if not isinstance(new, Tensor):
            raise UnsupportedModule(f"a step of scan returns the state {type(new).__name__}; expected a tensor")
        if new.shape != old.shape or new.dtype != old.dtype:
            raise UnsupportedModule(
                f"a step of scan changes the state from {tuple(old.shape)}, {old.dtype}, to {tuple(new.shape)}, "
                f"{new.dtype}. Give the state before the first step the shape and the dtype that it has after each "
                "step, such as input.new_zeros(input.size(0), hidden)."
            )


def _check_outputs(outputs: Sequence[Argument], axis: int) -> None:
    for output in outputs:
        if not isinstance(output, Tensor) or output.dim() < axis:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UnsupportedModule(
                f"a step of scan returns the output {got}; expected a tensor of at least {axis} axes, because outputs "
                f"are stacked along axis {axis}. combine_fn returns the pair (state after the step, output of the "
                "step)."
            )


def refuse_empty_scans(model: ir.Model, may_be_empty: MayBeEmpty) -> None:
    """Make scans over no steps fail, as in eager, and scans over no rows, which would end onnxruntime's process."""
    for end in [node for node in model.graph if node.domain == DOMAIN and node.op_type == END]:
        for at in range(end.attributes["states"].as_int() + end.attributes["outputs"].as_int(), len(end.inputs)):
            value = end.inputs[at]
            if value is not None and value.shape is not None:
                refused = np.array([may_be_empty(size) for size in value.shape], np.bool_)
                if refused.any():
                    refuse_empty(model.graph, end, at, refused, "a scan over no steps, or of no rows")


def translate_scans(model: ir.Model) -> None:
    """Replace the markers and the nodes between them with Scan, in place."""
    graph = model.graph
    # An inner scan ends first, so it is already a node of the step when the outer scan is translated.
    for end in [node for node in graph if node.domain == DOMAIN and node.op_type == END]:
        number = end.attributes["number"].as_int()
        begins = (node for node in graph if node.domain == DOMAIN and node.op_type == BEGIN)
        begin = next((node for node in begins if node.attributes["number"].as_int() == number), None)
        _translate(graph, begin, end, f"scan_{number}")
    model.opset_imports.pop(DOMAIN, None)


def _translate(graph: ir.Graph, begin: ir.Node | None, end: ir.Node, name: str) -> None:
    """Replace a pair of markers."""
    states, outputs = end.attributes["states"].as_int(), end.attributes["outputs"].as_int()
    dim, reverse = end.attributes["dim"].as_int(), end.attributes["reverse"].as_int()
    carried = end.inputs[states + outputs :]
    sequences = len(carried) - states
    body = _nodes_of_step(graph, begin, end) if begin is not None else []
    graph.remove(body)
    inputs = [
        *(_like(value, f"{name}/state_{position}") for position, value in enumerate(carried[:states])),
        *(_like(value, f"{name}/step_{position}", without=dim) for position, value in enumerate(carried[states:])),
    ]
    if begin is not None:
        for old, new in zip(begin.outputs, inputs, strict=True):
            old.replace_all_uses_with(new)
    results, copies = _results(end.inputs[: states + outputs], body, name)
    scan = ir.node(
        "Scan",
        carried,
        {
            "body": ir.Graph(inputs, results, nodes=[*body, *copies], name=name),
            "num_scan_inputs": sequences,
            "scan_input_axes": [dim] * sequences,
            "scan_input_directions": [reverse] * sequences,
            **({"scan_output_axes": [dim] * outputs, "scan_output_directions": [reverse] * outputs} if outputs else {}),
        },
        num_outputs=states + outputs,
        name=name,
        metadata_props=dict(end.metadata_props),
    )
    graph.insert_before(end, scan)
    for old, new in zip(end.outputs, scan.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(end, safe=True)
    if begin is not None:
        graph.remove(begin, safe=True)


def _nodes_of_step(graph: ir.Graph, begin: ir.Node, end: ir.Node) -> list[ir.Node]:
    """Return the nodes that depend on the step, in order."""
    made = set(begin.outputs)
    nodes = []
    for node in graph:
        if node is not end and any(value in made for value in _used(node)):
            nodes.append(node)
            made.update(node.outputs)
    # If a value of a step is used outside the step, it reaches a result of the module.
    if any(value.is_graph_output() for value in made):
        raise UnsupportedModule(
            "the module uses a value of a single scan step outside the step. Return it from combine_fn, as part of "
            "the state or of the step's output, and use the result of scan."
        )
    return nodes


def _used(node: ir.Node) -> Iterable[ir.Value | None]:
    """Yield the values that a node uses, including those in its subgraphs."""
    yield from node.inputs
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            yield from attribute.as_graph().outputs
            for inner in attribute.as_graph().all_nodes():
                yield from inner.inputs


def _like(value: ir.Value | None, name: str, without: int | None = None) -> ir.Value:
    """Make a value with the same type and shape, optionally without an axis."""
    assert value is not None  # noqa: S101 - the markers take tensors only
    shape = value.shape
    if shape is not None and without is not None:
        shape = ir.Shape([size for axis, size in enumerate(shape) if axis != without])
    return ir.Value(name=name, type=value.type, shape=shape)


def _results(
    of_step: Sequence[ir.Value | None], body: Sequence[ir.Node], name: str
) -> tuple[list[ir.Value], list[ir.Node]]:
    """Return the body's outputs, each the result of a different node in the body, and the copy nodes needed for it."""
    made = {value for node in body for value in node.outputs}
    results: list[ir.Value] = []
    copies = []
    for position, value in enumerate(of_step):
        assert value is not None  # noqa: S101 - the markers take tensors only
        if value not in made or value in results:
            copy = _like(value, f"{name}/result_{position}")
            copies.append(ir.node("Identity", [value], outputs=[copy]))
            results.append(copy)
        else:
            results.append(value)
    return results, copies
