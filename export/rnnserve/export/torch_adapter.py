# ruff: noqa: SLF001 - private parts of torch are what it is about
"""What the export uses of torch that is not public. Only `quick_decomposition` uses more, which saves time alone.

It was tested with the versions in `TESTED`, which the message of a pass that fails shows.
"""

import contextlib
import copy
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
import torch._dynamo
import torch.export._trace
import torch.fx.experimental._config
import torch.fx.traceback
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.onnx._internal.exporter._errors import DispatchError
from torch.onnx._internal.exporter._registration import ONNXRegistry
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_map_only, tree_unflatten
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

__all__ = [
    "MULTI_OUT",
    "TESTED",
    "DataDependentOutputException",
    "DispatchError",
    "DynamicOutputShapeException",
    "FakeTensor",
    "FakeTensorMode",
    "OpOverload",
    "OperatorsSeen",
    "OptimizedModule",
    "TorchDispatchMode",
    "TreeSpec",
    "UnsupportedOperatorException",
    "argument_checks",
    "backed_sizes_of_any_value",
    "compiled_as_written",
    "computed_in",
    "enable_python_dispatcher",
    "expressions_of",
    "function_modes",
    "internal",
    "is_of_a_transform",
    "least_of",
    "lines_of",
    "node_in_translation",
    "outside_of_modes",
    "packed_fields",
    "registry_read_once",
    "replacements_seen",
    "schema_of",
    "set_argument_checks",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_map_only",
    "tree_unflatten",
    "version_of",
    "weight_names",
    "without_printed_graphs",
    "without_writes",
    "written_module",
]

TESTED = ("2.13", "2.15")
"""The versions of torch that the export was tested with."""

OpOverload = torch._ops.OpOverload
OptimizedModule = torch._dynamo.OptimizedModule
"""The class of what torch.compile gives."""

MULTI_OUT = torch.ops.onnx_symbolic._symbolic_multi_out.default
"""The operator that torch.onnx.ops.symbolic_multi_out leaves in a program."""


class OperatorsSeen(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no type for its subclassing
    """Calls `see` before each operator in the context, with its arguments; what that returns gets the result."""

    def __init__(self, see: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Callable[[Any], object]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor for this
        self._see = see

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch declares it
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operator."""
        del types
        see_result = self._see(func, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        see_result(result)
        return result


def written_module(module: Any) -> nn.Module:  # noqa: ANN401 - an OptimizedModule
    """Return the module that torch.compile was given."""
    written: nn.Module = module._orig_mod
    return written


def compiled_as_written() -> contextlib.AbstractContextManager[None]:
    """Let functions that torch.compile has made run as they are written while they are captured."""
    context: contextlib.AbstractContextManager[None] = torch._dynamo.config.patch(error_on_nested_fx_trace=False)
    return context


def backed_sizes_of_any_value() -> contextlib.AbstractContextManager[None]:
    """Make torch.export not assume that dynamic sizes are 2 or more, as torch.onnx does."""
    context: contextlib.AbstractContextManager[None] = torch.fx.experimental._config.patch(  # type: ignore[attr-defined]
        backed_size_oblivious=True
    )
    return context


@contextlib.contextmanager
def without_printed_graphs() -> Iterator[None]:
    """Let `print` of torch.export's module of captures print nothing: it has no other use there, and no switch."""
    names = vars(torch.export._trace)
    names["print"] = lambda *_, **__: None
    try:
        yield
    finally:
        del names["print"]


@contextlib.contextmanager
def replacements_seen(see: Callable[[ShapeEnv, sympy.Symbol, sympy.Expr], None]) -> Iterator[None]:
    """Call a function, in the context, before a capture replaces a symbol of a size by an expression."""
    before = ShapeEnv._set_replacement

    def replaces(self: ShapeEnv, symbol: sympy.Symbol, target: sympy.Expr, *rest: Any, **named: Any) -> None:  # noqa: ANN401
        see(self, symbol, target)
        before(self, symbol, target, *rest, **named)

    ShapeEnv._set_replacement = replaces  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ShapeEnv._set_replacement = before  # type: ignore[method-assign]


def expressions_of(size: object) -> tuple[Any, ...]:
    """Return what a size is, before and after symbols were unified; nothing for a number."""
    node = getattr(size, "node", None)
    return (node._expr, node.expr) if isinstance(node, torch.fx.experimental.sym_node.SymNode) else ()


def least_of(expression: sympy.Expr, least: Mapping[str, int]) -> int:
    """Return a bound below which a size is not, from those of its symbols, by name; others are 0 or more."""
    ranges = {symbol: ValueRanges(least.get(str(symbol), 0), int_oo) for symbol in expression.free_symbols}
    lower = bound_sympy(expression, ranges).lower
    return 0 if lower in (-int_oo, -sympy.oo) else int(lower)  # is_finite holds for -int_oo


@contextlib.contextmanager
def outside_of_modes() -> Iterator[None]:
    """Compute on tensors with values, outside of a capture in progress."""
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
        yield


def function_modes() -> list[Any]:
    """Return this thread's modes of torch functions, the innermost last."""
    modes: list[Any] = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return modes


def version_of(tensor: Tensor) -> int | None:
    """Count the writes to a tensor, and to those that it is a view of; None in inference mode, which does not."""
    return None if tensor.is_inference() else tensor._version


def schema_of(operator: Any) -> Any:  # noqa: ANN401 - an operator
    """Return an operator's schema."""
    return operator._schema


def internal(name: str, overload: str = "default") -> Any:  # noqa: ANN401 - an operator
    """Return an operator of aten that has no public name, as captured and decomposed programs have them."""
    return getattr(getattr(torch.ops.aten, name), overload)


def without_writes(program: fx.GraphModule) -> Callable[..., Any]:
    """Return what computes the same by operators that write to no tensor, at the same lines of the user's code."""

    def run(*given: Any) -> Any:  # noqa: ANN401 - the program's
        with torch.fx.traceback.preserve_node_meta():
            return fx.Interpreter(program).run(*tree_leaves(given))

    return dispatch_functionalize(run, FunctionalTensorMode(pre_dispatch=True, export=True))


def weight_names(module: nn.RNNBase) -> list[str]:
    """Name a recurrent module's weights, in the order in which torch passes them on."""
    names: list[str] = module._flat_weights_names
    return names


packed_fields = torch.nn.utils.rnn._packed_sequence_init_args
"""What the constructor of PackedSequence calls."""


def argument_checks() -> Any:  # noqa: ANN401 - a bool, or what stands for one
    """Read whether distributions check their arguments, as `Distribution.set_default_validate_args` sets it."""
    return vars(torch.distributions.Distribution)["_validate_args"]


def set_argument_checks(default: Any) -> None:  # noqa: ANN401 - a bool, or what stands for one
    """Set it, or a descriptor in its place."""
    torch.distributions.Distribution._validate_args = default


@contextlib.contextmanager
def lines_of(meta: Mapping[str, Any]) -> Iterator[None]:
    """Have what is captured in the context come from a line of the user's code."""
    with torch.fx.traceback.preserve_node_meta():
        torch.fx.traceback.current_meta.update(meta)
        yield


def is_of_a_transform(tensor: Tensor) -> bool:
    """Whether a tensor has values in a transform only, such as torch.vmap."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def computed_in(node: fx.Node) -> Any:  # noqa: ANN401 - a value of a graph
    """Compute a node's value, without values, from those of its arguments; with values, of constants alone."""
    given, named = fx.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
    modes = (getattr(each.meta["val"], "fake_mode", None) for each in node.all_input_nodes)
    with next(filter(None, modes), contextlib.nullcontext()), torch.no_grad():
        return node.target(*given, **named)  # type: ignore[operator] # an operator


_registry: list[ONNXRegistry] = []
_read_registry = ONNXRegistry.from_torchlib


@contextlib.contextmanager
def registry_read_once() -> Iterator[None]:
    """Let `torch.onnx.export` read its translations once in a process: it parses the source of each at every call."""

    def read(*args: Any, **named: Any) -> ONNXRegistry:  # noqa: ANN401 - torch's own
        if not _registry:
            _registry.append(_read_registry(*args, **named))
        copied = copy.copy(_registry[0])  # an export adds translations of its own
        copied.functions = {target: list(found) for target, found in copied.functions.items()}
        return copied

    ONNXRegistry.from_torchlib = staticmethod(read)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = _read_registry  # type: ignore[method-assign]


def node_in_translation(error: BaseException | None) -> fx.Node | None:
    """Find the node that torch.onnx translated when it raised an error: a variable of the frames it has passed."""
    found = None
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            node = frame.f_locals.get("node")
            found = node if isinstance(node, fx.Node) else found
        error = error.__cause__
    return found
