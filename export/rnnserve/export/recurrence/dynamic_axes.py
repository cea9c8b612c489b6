"""Dynamic axes, checked against the sample arguments, and the sizes that a captured program uses."""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from rnnserve.export.errors import WrongArguments
from rnnserve.export.operators import MayBeEmpty
from rnnserve.export.recurrence.layer_operators import TRIM
from rnnserve.export.torch_adapter import expressions_of, tree_flatten, tree_unflatten

__all__ = [
    "ANY_SIZES",
    "Argument",
    "Arguments",
    "DynamicAxes",
    "Limits",
    "Shapes",
    "expression_of",
    "inputs_of",
    "outputs_of",
    "resize",
    "sizes_by",
    "sizes_that_may_be_empty",
    "symbols_of",
    "within",
]

Argument: TypeAlias = Any
"""An argument of a function that the user's module calls."""

Arguments: TypeAlias = tuple[Any, ...]
"""The arguments of a forward: tensors, nested tuples, lists and dicts of tensors, None, plain numbers."""

Shapes: TypeAlias = Any
"""Dynamic shapes as torch.export takes them: nested like the arguments, with None or axis -> name for each tensor."""

Limits = Mapping[str, tuple[int, int | None]]
"""Smallest and largest size of an axis that the module accepts, by name. A largest size of None means no limit."""

ANY_SIZES: Limits = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class DynamicAxes:
    """The dynamic axes of a module's inputs."""

    names: tuple[Mapping[int, str], ...]  # for each tensor among the arguments, in order: axis -> requested name
    sizes: Mapping[str, int]  # name -> size in the sample arguments
    labels: tuple[str, ...]  # each tensor's name in messages
    shapes: tuple[Shapes, ...]  # `dynamic_shapes` for torch.export

    @classmethod
    def of(
        cls, parameters: Sequence[str], args: Arguments, dynamic_shapes: Shapes, input_names: Sequence[str]
    ) -> "DynamicAxes":
        """Check the requested names and axes against the sample."""
        walk = _Walk(list(input_names))
        specs = _by_position(parameters, args, dynamic_shapes)
        shapes = tuple(walk(arg, spec, name) for arg, spec, name in zip(args, specs, parameters, strict=True))
        variadic = sum(name.startswith("*") for name in parameters)
        if variadic:  # torch.export takes the arguments of a variadic parameter as one tuple
            shapes = (*shapes[:-variadic], shapes[-variadic:])
        if len(walk.names) != len(input_names):
            raise WrongArguments(
                f"input_names has {len(input_names)} names, {list(input_names)}, for {len(walk.names)} tensors among "
                f"the arguments, {walk.paths}; expected one name for each tensor, in that order (None and plain "
                "numbers have no names)"
            )
        if len(set(input_names)) != len(input_names):
            raise WrongArguments(f"input_names must be unique, got {list(input_names)}")
        return cls(tuple(walk.names), walk.sizes, tuple(input_names), shapes)

    def of_variadic(self, args: Arguments) -> "DynamicAxes":
        """Return the same axes for a module with one variadic parameter for all arguments."""
        leaves, spec = tree_flatten(args)
        names = iter(self.names)
        shapes = [_dynamic(next(names)) if isinstance(each, Tensor) else None for each in leaves]
        return dataclasses.replace(self, shapes=(tree_unflatten(shapes, spec),))


def _dynamic(names: Mapping[int, str]) -> dict[int, Any] | None:
    return dict.fromkeys(names, Dim.DYNAMIC) or None


def _by_position(parameters: Sequence[str], args: Arguments, dynamic_shapes: Shapes) -> list[Any]:
    if dynamic_shapes is None:
        return [None] * len(args)
    if isinstance(dynamic_shapes, Mapping):
        unknown = [name for name in dynamic_shapes if name not in parameters]
        if unknown:
            raise WrongArguments(
                f"dynamic_shapes names {unknown}; the forward's parameters are {list(parameters)}, and the keys of "
                "dynamic_shapes must be parameter names"
            )
        return [dynamic_shapes.get(name) for name in parameters]
    if not isinstance(dynamic_shapes, tuple | list) or len(dynamic_shapes) != len(args):
        got = len(dynamic_shapes) if isinstance(dynamic_shapes, tuple | list) else type(dynamic_shapes).__name__
        raise WrongArguments(
            f"dynamic_shapes has {got} entries for {len(args)} arguments; expected one for each argument: None, or "
            'axis -> name, such as {0: "batch", 1: "sequence"}'
        )
    return list(dynamic_shapes)


class _Walk:
    """Visits the arguments together with their dynamic shapes, and collects names and sizes."""

    def __init__(self, input_names: list[str]) -> None:
        self.input_names = input_names
        self.names: list[Mapping[int, str]] = []
        self.paths: list[str] = []
        self.sizes: dict[str, int] = {}
        self.seen_at: dict[str, str] = {}

    def __call__(self, arg: Argument, spec: Shapes, path: str) -> Shapes:
        if isinstance(arg, Tensor):
            return self._tensor(arg, spec, path)
        if isinstance(arg, tuple | list):
            specs = [None] * len(arg) if spec is None else spec
            if not isinstance(specs, tuple | list) or len(specs) != len(arg):
                self._mismatch(path, f"a {type(arg).__name__} of {len(arg)}", spec)
            return type(arg)(self(a, s, f"{path}[{i}]") for i, (a, s) in enumerate(zip(arg, specs, strict=True)))
        if isinstance(arg, Mapping):
            specs = {} if spec is None else spec
            if not isinstance(specs, Mapping) or not set(specs) <= set(arg):
                self._mismatch(path, f"a dict of {list(arg)}", spec)
            return {key: self(value, specs.get(key), f"{path}[{key!r}]") for key, value in arg.items()}
        if spec:
            self._mismatch(path, repr(arg), spec)
        return None

    def _mismatch(self, path: str, what: str, spec: Shapes) -> NoReturn:
        raise WrongArguments(f"dynamic_shapes has {spec!r} for the argument {path}, which is {what}")

    def _tensor(self, tensor: Tensor, spec: Shapes, path: str) -> dict[int, Any] | None:
        number = len(self.names)
        label = f"`{self.input_names[number]}`" if number < len(self.input_names) else path
        self.paths.append(path)
        shape = tuple(tensor.shape)
        if isinstance(spec, tuple | list):
            if len(spec) != len(shape):
                self._mismatch(path, f"a tensor of {len(shape)} axes, {shape}", spec)
            spec = dict(enumerate(spec))
        if spec is not None and not isinstance(spec, Mapping):
            self._mismatch(path, f"a tensor of shape {shape}", spec)
        names: dict[int, str] = {}
        for axis, value in (spec or {}).items():
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                raise WrongArguments(
                    f"dynamic_shapes names axis {axis!r} of {label}, which has {len(shape)} axes, {shape}"
                )
            if value is None or (isinstance(value, int) and not isinstance(value, bool)):
                continue
            name = value if isinstance(value, str) else getattr(value, "__name__", None)
            if not isinstance(name, str) or not name:
                raise WrongArguments(
                    f'dynamic_shapes has {value!r} for axis {axis} of {label}; expected a name such as "batch" or '
                    '"sequence", because batching and padding use axis names'
                )
            names[axis % len(shape)] = name
            self._remember(name, shape[axis], f"axis {axis % len(shape)} of {label}")
        self.names.append(names)
        return _dynamic(names)

    def _remember(self, name: str, size: int, where: str) -> None:
        if size == 0:
            raise WrongArguments(
                f"the sample is empty: {where} ({name}) has size 0. Give at least one row and one step"
            )
        if self.sizes.setdefault(name, size) != size:
            raise WrongArguments(
                f'the axis "{name}" is {self.sizes[name]} at {self.seen_at[name]} and {size} at {where}, but axes '
                "with the same name must have the same size. Is an axis in the wrong place, or does it need another "
                "name?"
            )
        self.seen_at.setdefault(name, where)


def resize(args: Arguments, axes: DynamicAxes, sizes: Mapping[str, int]) -> Arguments:
    """Copy the arguments with each named axis at another size, repeating or cutting entries.

    Every argument becomes a separate tensor. Otherwise a tensor that is passed twice (zeros for h_0 and c_0) would
    become one input of the captured program.
    """
    leaves, spec = tree_flatten(args)
    names = iter(axes.names)
    resized = [_resize(leaf, next(names), sizes) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    again: Arguments = tree_unflatten(resized, spec)
    return again


def _resize(tensor: Tensor, names: Mapping[int, str], sizes: Mapping[str, int]) -> Tensor:
    tensor = tensor.detach().clone()
    for axis, name in names.items():
        size = tensor.shape[axis]
        if (wanted := sizes.get(name, size)) != size:
            tensor = tensor.index_select(axis, torch.arange(wanted, device=tensor.device) % size)
    return tensor


def within(size: int, name: str, limits: Limits) -> int:
    """Return the nearest size that the module accepts."""
    low, high = limits.get(name, (1, None))
    return max(size, low) if high is None else min(max(size, low), high)


def inputs_of(program: ExportedProgram) -> list[Tensor]:
    """Return the inputs of a program, as tensors without values."""
    specs = program.graph_signature.input_specs
    return _tensors(program, [spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT])


def outputs_of(program: ExportedProgram) -> list[Tensor]:
    """Return the results of a program, as tensors without values."""
    specs = program.graph_signature.output_specs
    return _tensors(program, [spec.arg.name for spec in specs if spec.kind is OutputKind.USER_OUTPUT])


def _tensors(program: ExportedProgram, names: Sequence[str]) -> list[Tensor]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return [value for name in names if isinstance(value := values.get(name), Tensor)]


def symbols_of(program: ExportedProgram, axes: DynamicAxes) -> dict[sympy.Symbol, str]:
    """Map the symbols of the captured sizes to axis names (the first name if a symbol has several)."""
    symbols: dict[sympy.Symbol, str] = {}
    for value, names in zip(inputs_of(program), axes.names, strict=True):
        for axis, name in names.items():
            for expression in expressions_of(value.shape[axis]):
                if isinstance(expression, sympy.Symbol):
                    symbols.setdefault(expression, name)
    return symbols


def expression_of(size: int | torch.SymInt) -> sympy.Expr:
    """Return the symbolic expression of a size in a captured program."""
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


_DENSE, _FARTHEST = 1 << 13, 1 << 20

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": lambda *each: functools.reduce(np.minimum, each),
    "max": lambda *each: functools.reduce(np.maximum, each),
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "CeilDiv": lambda size, by: -(-size // by),
    "PythonMod": operator.mod,
    "Mod": operator.mod,
    "ModularIndexing": lambda size, by, modulus: size // by % modulus,
    "ToFloat": lambda size: size * 1.0,
    "IntTrueDiv": operator.truediv,
    "FloatTrueDiv": operator.truediv,
    "TruncToInt": lambda number: np.trunc(number).astype(np.int64),
    "FloorToInt": lambda number: np.floor(number).astype(np.int64),
    "CeilToInt": lambda number: np.ceil(number).astype(np.int64),
    "Where": np.where,
}
"""NumPy versions of the functions in torch's size expressions."""


def sizes_by(
    expression: sympy.Expr, symbol: sympy.Symbol, low: int, high: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Compute an expression at many values of its symbol: all up to some thousands, then with growing distances."""
    far = np.unique(np.geomspace(_DENSE, _FARTHEST, _DENSE).astype(np.int64))
    sizes = low + np.concatenate([np.arange(_DENSE), far])
    sizes = sizes if high is None else sizes[sizes <= high]
    found = _computed(expression, {symbol: sizes})
    return None if found is None else (sizes, np.broadcast_to(found, sizes.shape))


def _computed(expression: sympy.Expr, at: Mapping[sympy.Symbol, npt.NDArray[np.int64]]) -> npt.NDArray[np.int64] | None:
    try:
        found = np.asarray(sympy.lambdify(list(at), expression, modules=[_FUNCTIONS])(*at.values()))
    except (NameError, TypeError, ValueError, ArithmeticError):
        return None
    return found if found.dtype.kind == "i" else None


_FEW = 40  # sizes of each of several axes


def sizes_that_may_be_empty(
    captured: ExportedProgram, decomposed: ExportedProgram, axes: DynamicAxes, limits: Limits
) -> MayBeEmpty | None:
    """Return a function that reports whether a size of the program may be 0, or None if no size may be.

    The function takes sizes with their names in torch.onnx's graph. If code such as `x.amax(1)` needs values along an
    axis, torch assumes that there are some, but no graph checks this. So only two facts are assumed here: the axes of a
    request have sizes that the module accepts, and trimming leaves at least one step of packed sequences.
    """
    least = {str(symbol): limits.get(name, (1, None))[0] for symbol, name in symbols_of(captured, axes).items()}
    expressions: dict[str, sympy.Expr] = {}
    for node in decomposed.graph.nodes:
        value = node.meta.get("val")
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, Tensor):
                sizes: list[Any] = [size for size in tensor.shape if hasattr(size, "node")]  # SymInt
                expressions |= {str(size.node): size.node.expr for size in sizes}
                if node.target is TRIM:
                    least.setdefault(str(sizes[0].node), 1)
    never = {name for name, expression in expressions.items() if not _may_be_empty(expression, least)}
    if len(never) == len(expressions):
        return None
    return lambda size: size == 0 if isinstance(size, int) else str(size.value) not in never


_POINTS = 20_000  # number of points at which a size of several axes is computed


def _may_be_empty(expression: sympy.Expr, least: Mapping[str, int]) -> bool:
    """Whether a size is 0 or less for some sizes of its axes. Symbols that belong to no input are at least 0."""
    free = sorted(expression.free_symbols, key=str)
    lowest = [least.get(str(symbol), 0) for symbol in free]
    if expression.is_Symbol or not free:
        return bool((lowest or [int(expression)])[0] <= 0)
    if len(free) == 1:
        table = sizes_by(expression, free[0], lowest[0], None)
        found = None if table is None else table[1]
    else:
        most = int(_POINTS ** (1 / len(free)))
        grid = np.array(list(itertools.product(*(range(low, low + most) for low in lowest))), np.int64).T
        found = _computed(expression, dict(zip(free, grid, strict=True)))
    return found is None or bool((found <= 0).any())
