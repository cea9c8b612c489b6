# ruff: noqa: SLF001 - this file is the adapter for torch's private parts
"""The private parts of torch that the export uses. Only `recurrence/program_passes` uses further ones.

The file checks at import that they exist. If one is missing, the import fails with a one-line error that lists the
versions in `TESTED`.
"""

import contextlib
import copy
import operator
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
import torch.fx.traceback
from onnxscript.values import TracedOnnxFunction
from torch import Tensor, fx, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.overrides import TorchFunctionMode

TESTED = ("2.13", "2.15")
"""The torch versions that the export was tested with."""

try:
    import torch._dynamo
    import torch.export._trace
    import torch.fx.experimental._config
    from torch._dispatch.python import enable_python_dispatcher
    from torch._ops import OpOverload
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
    from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
    from torch.onnx._internal.exporter._registration import OnnxDecompMeta, ONNXRegistry
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_map_only, tree_unflatten
    from torch.utils.weak import WeakTensorKeyDictionary

    MULTI_OUT = torch.ops.onnx_symbolic._symbolic_multi_out.default
    """The operator that torch.onnx.ops.symbolic_multi_out leaves in a program."""

    packed_fields = torch.nn.utils.rnn._packed_sequence_init_args
    """The function that the constructor of PackedSequence calls."""

    is_of_a_transform: Callable[[Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor
    """Whether a tensor has values only inside a transform, such as torch.vmap."""

    _LAYERS = frozenset(
        getattr(torch._VF, name)
        for layer in ("lstm", "gru", "rnn_tanh", "rnn_relu")
        for name in (layer, f"{layer}_cell")
    )

    _composite = torch._C.DispatchKey.CompositeImplicitAutograd
    _read_registry = ONNXRegistry.from_torchlib
    _replace_size = ShapeEnv._set_replacement
    for _owner, _name in (
        (torch.fx.experimental._config, "backed_size_oblivious"),
        (torch._dynamo.config, "error_on_nested_fx_trace"),
        (torch._C, "_DisableTorchDispatch"),
        (torch.ops.aten.add.Tensor, "_schema"),
        (torch.zeros(0), "_version"),
    ):
        getattr(_owner, _name)
except (ImportError, AttributeError) as missing:
    raise ImportError(
        f"rnnserve.export uses parts of torch that torch {torch.__version__} doesn't have ({missing}); it was tested "
        f"with torch {' and '.join(TESTED)}"
    ) from missing

__all__ = [
    "MULTI_OUT",
    "TESTED",
    "FakeTensor",
    "OpOverload",
    "OperatorsSeen",
    "Recorder",
    "TreeSpec",
    "asks_for_values",
    "backed_sizes_of_any_value",
    "compiled_as_written",
    "computed_in",
    "expressions_of",
    "in_float64",
    "internal",
    "is_composite",
    "is_of_a_transform",
    "lacks_an_operator",
    "lines_of",
    "node_in_translation",
    "outside_of_modes",
    "packed_fields",
    "registry_read_once",
    "replacements_seen",
    "schema_of",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_map_only",
    "tree_unflatten",
    "version_of",
    "without_printed_graphs",
    "without_writes",
    "written_module",
]

T = TypeVar("T")


class OperatorsSeen(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no type for its subclassing
    """Within the context, calls `see` before each operator. `see` returns a function, which gets the result."""

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


class _InFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]  # as above
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operator."""
        del types
        wide = {name: torch.float64 if value is torch.float32 else value for name, value in (kwargs or {}).items()}
        result = func(*args, **wide)
        if isinstance(result, Tensor):  # most operators: `tree_map_only` takes longer than a step of a layer
            return result.double() if result.dtype is torch.float32 else result
        return tree_map_only(Tensor, lambda x: x.double() if x.dtype is torch.float32 else x, result)


class Recorder(ProxyTorchDispatchMode):
    """Records operators as nodes of `graph`, on tensors without values. Composite operators aren't decomposed.

    For tensors of known sizes, the result is the same as from `make_fx(…, pre_dispatch=True)`, in a third of the time.
    """

    def __init__(self, given: Sequence[Tensor], line: Callable[[], str]) -> None:
        super().__init__(None, "fake", pre_dispatch=True)  # type: ignore[arg-type]  # only make_fx needs the tracer
        modes = (each.fake_mode for each in given if isinstance(each, FakeTensor))
        self._tensors = next(modes, None) or FakeTensorMode(
            allow_fallback_kernels=True, allow_non_fake_inputs=True, shape_env=ShapeEnv(), static_shapes=True
        )
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}  # tensors from outside the recording, by node target
        self._line = line
        self._nodes = WeakTensorKeyDictionary()  # type: ignore[no-untyped-call]
        self._sizes: dict[str, fx.Node] = {}  # for sizes that depend on values
        self.inputs = [self._tensors.from_tensor(each, static_shapes=True) for each in given]
        for number, each in enumerate(self.inputs):
            self._bind(each, self.graph.placeholder(f"input_{number}"))

    def record(self, function: Callable[[Sequence[Tensor]], Any]) -> None:
        """Record a function's computation on the tensors. The function returns a list."""
        with self._tensors, enable_python_dispatcher(), self:
            results = function(self.inputs)
        self.graph.output(fx.map_arg(fx.node.map_aggregate(results, self._node_of), lambda each: each))

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch declares it
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operator and record it."""
        del types
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        given, named = fx.node.map_aggregate((args, kwargs), self._node_of)
        result = func(*args, **kwargs)
        lifts = func is torch.ops.aten.lift_fresh.default
        self._call(torch.ops.aten.lift_fresh_copy.default if lifts else func, given, named, result)
        return result

    def __sym_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """Compute with sizes and record the computation."""
        del types
        result = func(*args, **kwargs)
        if isinstance(result, torch.SymInt | torch.SymFloat | torch.SymBool):
            self._call(func, *fx.node.map_aggregate((args, kwargs), self._node_of), result)
        return result

    def _call(self, func: Any, args: Any, kwargs: Any, result: object) -> None:  # noqa: ANN401
        self._bind(result, self.graph.call_function(func, args, dict(kwargs)))

    def _bind(self, value: object, node: fx.Node) -> None:
        line = torch.fx.traceback.get_current_meta().get("stack_trace") or self._line()
        node.meta |= {"val": value, "stack_trace": line}
        if isinstance(value, Tensor):
            self._nodes[value] = node
            if node.op == "call_function":
                # Keep an alias: later writes may change the shape, and torch copies new tensors if they are referenced.
                node.meta["val"] = value.detach()
            sizes: list[Any] = list(value.shape)
            for axis, size in enumerate(sizes):
                if isinstance(size, torch.SymInt) and str(size) not in self._sizes:
                    self._call(torch.ops.aten.sym_size.int, (node, axis), {}, size)
        elif isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            self._sizes[str(value)] = node
        elif isinstance(value, list | tuple):
            for number, each in enumerate(value):
                self._call(operator.getitem, (node, number), {}, each)

    def _node_of(self, value: Any) -> Any:  # noqa: ANN401 - an argument of an operator
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            return self._sizes.get(str(value), value)
        if not isinstance(value, Tensor):
            return value
        if value in self._nodes:
            return self._nodes[value]
        name = next((name for name, each in self.constants.items() if each is value), "")
        if not name:
            kind = "param" if isinstance(value, nn.Parameter) else "tensor"
            name = f"_{kind}_constant{sum(each.startswith(f'_{kind}') for each in self.constants)}"
            self.constants[name] = value
        node = self.graph.get_attr(name)  # one node per use, so that every step of a loop has its own
        node.meta["val"] = value
        return node


class _LayersAsOne(TorchFunctionMode):
    """Runs recurrent layers and cells on float64 without dispatch modes, which would see every operator of each step.

    With tensors in float64 only, these functions compute in float64 only.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Call a function of torch."""
        del types
        if func in _LAYERS and not kwargs and all(map(_is_wide, tree_leaves(args))):
            with torch._C._DisableTorchDispatch():
                return func(*args)
        return func(*args, **(kwargs or {}))


def _is_wide(value: object) -> bool:
    """Whether an argument is an ordinary tensor that isn't in float32, or no tensor."""
    return not isinstance(value, Tensor) or (type(value) in (Tensor, nn.Parameter) and value.dtype is not torch.float32)


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Compute in float64 whatever would be float32, also if code asks for float32: `x.float()`."""
    with _InFloat64(), _LayersAsOne():  # type: ignore[no-untyped-call]
        yield


def written_module(module: nn.Module) -> nn.Module:
    """Return the original module of a torch.compile result, or the module itself."""
    written: nn.Module = getattr(module, "_orig_mod", module)
    return written


def compiled_as_written() -> contextlib.AbstractContextManager[None]:
    """During capture, run the original Python code of functions that torch.compile has compiled."""
    context: contextlib.AbstractContextManager[None] = torch._dynamo.config.patch(error_on_nested_fx_trace=False)
    return context


def backed_sizes_of_any_value() -> contextlib.AbstractContextManager[None]:
    """Keep torch.export from assuming that dynamic sizes are at least 2. torch.onnx does the same."""
    context: contextlib.AbstractContextManager[None] = torch.fx.experimental._config.patch(  # type: ignore[attr-defined]
        backed_size_oblivious=True
    )
    return context


@contextlib.contextmanager
def without_printed_graphs() -> Iterator[None]:
    """Silence `print` in torch.export's capture module. It prints graphs only, and has no option to turn that off."""
    names = vars(torch.export._trace)
    names["print"] = lambda *_, **__: None
    try:
        yield
    finally:
        del names["print"]


@contextlib.contextmanager
def replacements_seen(see: Callable[[ShapeEnv, sympy.Symbol, sympy.Expr], None]) -> Iterator[None]:
    """Within the context, call a function before a capture replaces the symbol of a size by an expression."""

    def replaces(self: ShapeEnv, symbol: sympy.Symbol, target: sympy.Expr, *rest: Any, **named: Any) -> None:  # noqa: ANN401
        see(self, symbol, target)
        _replace_size(self, symbol, target, *rest, **named)

    ShapeEnv._set_replacement = replaces  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ShapeEnv._set_replacement = _replace_size  # type: ignore[method-assign]


def asks_for_values(error: BaseException) -> bool:
    """Whether torch raised the error because code read the values of a tensor without values."""
    tags = getattr(getattr(error, "func", None), "tags", ())
    of_values = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
    return isinstance(error, GuardOnDataDependentSymNode) or any(tag in tags for tag in of_values)


def lacks_an_operator(error: BaseException) -> bool:
    """Whether torch raised the error because an operator doesn't support tensors without values."""
    return type(error).__module__ == FakeTensor.__module__ and isinstance(getattr(error, "func", None), OpOverload)


def expressions_of(size: object) -> tuple[Any, ...]:
    """Return the expressions of a size before and after symbols were unified. Empty for a number. Call it in a pass."""
    return (size.node._expr, size.node.expr) if isinstance(size, torch.SymInt) else ()


def outside_of_modes(compute: Callable[[], T]) -> T:
    """Compute with real values during a capture, in another thread, because the capture's modes are per thread."""

    def without_gradients() -> T:
        with torch.no_grad():
            return compute()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(without_gradients).result()


def version_of(tensor: Tensor) -> int | None:
    """Return the number of writes to a tensor or its base. None in inference mode, which doesn't count writes."""
    return None if tensor.is_inference() else tensor._version


def schema_of(operator: Any) -> Any:  # noqa: ANN401 - an operator
    """Return an operator's schema, which lists its parameters."""
    return operator._schema


def is_composite(operator: OpOverload) -> bool:
    """Whether an operator is implemented with other operators."""
    return operator.has_kernel_for_dispatch_key(_composite)


def internal(name: str, overload: str = "default") -> Any:  # noqa: ANN401 - an operator
    """Return an operator of aten without a public name. Captured and decomposed programs contain such operators."""
    return getattr(getattr(torch.ops.aten, name), overload)


def without_writes(program: fx.GraphModule) -> Callable[..., Any]:
    """Return an equivalent function without operators that write to tensors. It keeps the lines of the user's code."""

    def run(*given: Any) -> Any:  # noqa: ANN401 - the program's arguments and result
        with torch.fx.traceback.preserve_node_meta():
            return fx.Interpreter(program).run(*tree_leaves(given))

    return dispatch_functionalize(run, FunctionalTensorMode(pre_dispatch=True, export=True))


@contextlib.contextmanager
def lines_of(meta: Mapping[str, Any]) -> Iterator[None]:
    """Within the context, attribute captured operators to a line of the user's code."""
    with torch.fx.traceback.preserve_node_meta():
        torch.fx.traceback.current_meta.update(meta)
        yield


def computed_in(node: fx.Node) -> Any:  # noqa: ANN401 - a value of a graph
    """Compute a node's value from its arguments' values. Tensors have values only if all arguments are constants."""
    given, named = fx.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
    modes = (getattr(each.meta["val"], "fake_mode", None) for each in node.all_input_nodes)
    with next(filter(None, modes), contextlib.nullcontext()), torch.no_grad():
        return node.target(*given, **named)  # type: ignore[operator] # an operator


_registry: list[ONNXRegistry] = []


@contextlib.contextmanager
def registry_read_once() -> Iterator[None]:
    """Make `torch.onnx.export` list its translations once per process, without parsing their sources.

    By default, it parses all of them at every call to read their signatures. That isn't needed: it reads a
    translation's signature again when it calls it, and of a traced function's ONNX form it reads only the domain. The
    parsing takes a third of the time to publish an ordinary module.
    """

    def read(*args: Any, **named: Any) -> ONNXRegistry:  # noqa: ANN401 - torch's own
        if not _registry:
            unparsed = property(lambda traced: SimpleNamespace(domain=traced.opset.domain))
            with (
                patch.object(OnnxDecompMeta, "__post_init__", lambda _: None),
                patch.object(TracedOnnxFunction, "function_ir", unparsed),
            ):
                _registry.append(_read_registry(*args, **named))
        copied = copy.copy(_registry[0])  # each export adds its own translations
        copied.functions = {target: list(found) for target, found in copied.functions.items()}
        return copied

    ONNXRegistry.from_torchlib = staticmethod(read)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = _read_registry  # type: ignore[method-assign]


def node_in_translation(error: BaseException | None) -> fx.Node | None:
    """Find the node that torch.onnx was translating when it raised an error, from the variables in the traceback."""
    found = None
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            node = frame.f_locals.get("node")
            found = node if isinstance(node, fx.Node) else found
        error = error.__cause__
    return found
