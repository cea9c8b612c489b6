"""`scan`: a loop over the steps of a sequence that can be exported, whatever the step computes; and its capture.

The step is captured once, between the markers `ScanBegin` and `ScanEnd`, two operators of our own, with the program
around it. `translate_scans` makes one ONNX Scan (https://onnx.ai/onnx/operators/onnx__Scan.html) of what is between
them. Its body holds the nodes that depend on the step; what they use of the rest (weights, the module's other inputs)
they take from the graph around it.

Both markers have the attribute `number`, which tells scans of one program apart and keeps the exporter from merging two
that begin with the same tensors. ScanBegin(states, sequences) gives the states before a step, and the step.
ScanEnd(states after the step, outputs of the step, states, sequences) gives the states after the last step, and the
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
from rnnserve.export.held_modules import path_of_the_users
from rnnserve.export.operators import MayBeEmpty, refuse_empty
from rnnserve.export.recurrence.dynamic_axes import Argument
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
    """The capture of a module, known to the exporting thread only: other threads use PyTorch's own code."""

    def __init__(self, root: nn.Module) -> None:
        own = root.get_submodule(path_of_the_users(root))
        self._names = {id(module): f"`{name}`" if name else "the module itself" for name, module in own.named_modules()}
        self.scans = itertools.count()  # gives each `scan` of the captured program a number

    def name(self, module: nn.Module) -> str:
        """Name a module for messages: its (first) qualified name and its class."""
        known = self._names.get(id(module), "a module that the exported one does not register")
        return f"{known} ({type(module).__name__})"

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make it this thread's session in the context."""
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
    """Give this thread's session; only for code that runs while there is one."""
    session: CaptureSession = _thread.session
    return session


DOMAIN, BEGIN, END = "rnnserve", "ScanBegin", "ScanEnd"
MARKER = MULTI_OUT


def is_marker(node: fx.Node, name: str) -> bool:
    """Whether a node of the captured program is the marker `name`, BEGIN or END."""
    return node.target is MARKER and node.args[1] == name and node.kwargs.get("domain") == DOMAIN


def numbers_of(marker: fx.Node) -> list[int]:
    """Give the number of the scan that a marker is of; for END its numbers of states and outputs, too, and more."""
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

    In eager it is a loop. `export_onnx` makes one ONNX Scan of it, which is right for every number of steps, where a
    Python loop would be right for the sample's number only. Signature and results are those of torch's prototype
    `torch._higher_order_ops.scan`. With a cell, and `input` (batch, sequence, features)::

        def step(h, x):  # (batch, hidden), (batch, features)
            h = cell(x, h)
            return h, h

        h_n, output = scan(step, input.new_zeros(input.size(0), hidden), input, dim=1)

    An export calls `combine_fn` for one step, so all steps have to compute the same: a number that changes from step to
    step has to be a tensor among `xs`, such as `torch.arange(input.size(1))` with `dim=0`. It may use parameters and
    tensors from outside, but may write only to tensors that it has made.

    Args:
        combine_fn: (state before the step, one step of `xs`) -> (state after the step, the step's output).
        init: The state before the first step: a tensor, or nested tuples, lists and dicts of tensors. The state after
            each step has the same structure, shapes and dtypes.
        xs: The sequence: a tensor or a nest of tensors, all with as many steps along the axis `dim`. One step of it
            has the same structure without that axis.
        dim: The axis of the steps in `xs`, and in the outputs.
        reverse: Whether to start at the last step. Outputs stay in the order of `xs`.

    Returns:
        The state after the last step, structured like `init`, and the outputs, stacked along a new axis `dim`.

    Raises:
        UnsupportedModule: If there is no step, if sizes along `dim` differ, or if a step changes the state's structure,
            shapes or dtypes. In eager, too, so that it is seen before the export.
    """
    states, state_spec = tree_flatten(init)
    sequences, step_spec = tree_flatten(xs)
    axis, count = _axis_of_steps(states, sequences, dim)

    def step(before: list[Tensor], of_step: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Argument]:
        """Call `combine_fn` with flat lists; the last result is the structure of the output."""
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
    """Put a marker into the captured program, whose results have the types of other tensors."""
    dtypes = [each.dtype for each in like]
    return list(torch.onnx.ops.symbolic_multi_out(f"{DOMAIN}::{name}", inputs, numbers, dtypes=dtypes, shapes=shapes))


def _axis_of_steps(
    states: Sequence[Argument], sequences: Sequence[Argument], dim: int
) -> tuple[int, int | torch.SymInt]:
    """Check the arguments of a scan; give the axis of the steps, 0 or more, and their number."""
    for name, leaves in (("init", states), ("xs", sequences)):
        other = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)]
        if other or not leaves:
            raise UnsupportedModule(
                f"scan got {name} with {', '.join(other) or 'no tensor'}; expected tensors only. A state that is "
                "None before the first step has to be zeros instead."
            )
    axis = dim + sequences[0].dim() if dim < 0 else dim
    if not all(0 <= axis < sequence.dim() for sequence in sequences):
        shapes = [tuple(sequence.shape) for sequence in sequences]
        raise UnsupportedModule(f"scan got dim={dim} for xs of shapes {shapes}; all need that axis")
    sizes = [sequence.shape[axis] for sequence in sequences]
    if any(size != sizes[0] for size in sizes[1:]):
        raise UnsupportedModule(f"scan got xs of {sizes} steps along axis {axis}; all need the same number")
    if isinstance(sizes[0], int) and sizes[0] == 0:
        raise UnsupportedModule("scan got a sequence without a step")
    return axis, sizes[0]


def _check_states(before: Sequence[Tensor], after: Sequence[Argument]) -> None:
    """Refuse a step that changes shapes or dtypes of the state."""
    for old, new in zip(before, after, strict=True):
        if not isinstance(new, Tensor):
            raise UnsupportedModule(f"a step of scan gives the state {type(new).__name__}; expected a tensor")
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
                f"a step of scan gives the output {got}; expected a tensor of {axis} axes or more, to be stacked along "
                f"axis {axis}. combine_fn returns the pair (state after the step, output of the step)."
            )


def refuse_empty_scans(model: ir.Model, may_be_empty: MayBeEmpty) -> None:
    """Let a node fail before what a scan is over has no steps, as in eager, or no rows, which ends onnxruntime."""
    for end in [node for node in model.graph if node.domain == DOMAIN and node.op_type == END]:
        for at in range(end.attributes["states"].as_int() + end.attributes["outputs"].as_int(), len(end.inputs)):
            value = end.inputs[at]
            if value is not None and value.shape is not None:
                refused = np.array([may_be_empty(size) for size in value.shape], np.bool_)
                if refused.any():
                    refuse_empty(model.graph, end, at, refused, "a scan over no steps, or of no rows")


def translate_scans(model: ir.Model) -> None:
    """Replace the markers and the nodes between them by Scan, in place."""
    graph = model.graph
    # A scan within the step of another one ends first, and is a node of that step when the outer one is translated.
    for end in [node for node in graph if node.domain == DOMAIN and node.op_type == END]:
        number = end.attributes["number"].as_int()
        begins = (node for node in graph if node.domain == DOMAIN and node.op_type == BEGIN)
        begin = next((node for node in begins if node.attributes["number"].as_int() == number), None)
        _translate(graph, begin, end, f"scan_{number}")
    model.opset_imports.pop(DOMAIN, None)


def _translate(graph: ir.Graph, begin: ir.Node | None, end: ir.Node, name: str) -> None:
    """Replace one pair of markers."""
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
    """Give the nodes that depend on the step, in order."""
    made = set(begin.outputs)
    nodes = []
    for node in graph:
        if node is not end and any(value in made for value in _used(node)):
            nodes.append(node)
            made.update(node.outputs)
    # Whatever a step's value is used for outside the step ends in a result of the module.
    if any(value.is_graph_output() for value in made):
        raise UnsupportedModule(
            "a value of a single step of scan is used outside the step. Let combine_fn return it, as a part of the "
            "state or of the step's output, and use what scan returns."
        )
    return nodes


def _used(node: ir.Node) -> Iterable[ir.Value | None]:
    """Give the values that a node uses, also within its graphs."""
    yield from node.inputs
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            yield from attribute.as_graph().outputs
            for inner in attribute.as_graph().all_nodes():
                yield from inner.inputs


def _like(value: ir.Value | None, name: str, without: int | None = None) -> ir.Value:
    """Make a value of the same type and shape, without the axis given."""
    assert value is not None  # noqa: S101 - the markers take tensors only
    shape = value.shape
    if shape is not None and without is not None:
        shape = ir.Shape([size for axis, size in enumerate(shape) if axis != without])
    return ir.Value(name=name, type=value.type, shape=shape)


def _results(
    of_step: Sequence[ir.Value | None], body: Sequence[ir.Node], name: str
) -> tuple[list[ir.Value], list[ir.Node]]:
    """Make the body's outputs, each the result of another node of the body, and the nodes that copy for this."""
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
