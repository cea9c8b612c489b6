"""What a captured program knows of sizes, and at which sizes the module may compute otherwise than the program.

A capture follows the sample's path through the module's Python code. A condition on sizes (`if input.shape[1] > 3`)
becomes a guard, which ONNX cannot express; and some operators behave differently where an axis is 1 (`squeeze()`),
without a guard. So the module is run, on tensors without values, at sizes that break a guard of the user's own code;
where it is said which sizes the module takes, at those only. Where eager refuses a size, the program need not be right.
Where eager accepts it but takes another path, the module is refused; at one size of all, and at usual sizes,
`value_trials` compares values.
"""

import contextlib
import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators import MayBeEmpty
from rnnserve.export.recurrence.capture import fake_arguments
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes, resize
from rnnserve.export.recurrence.layer_operators import TRIM
from rnnserve.export.recurrence.scan import END, is_marker
from rnnserve.export.recurrence.value_trials import Trial
from rnnserve.export.source_lines import is_users_code, line_of, source_line
from rnnserve.export.torch_adapter import expressions_of, least_of

__all__ = [
    "ANY_SIZES",
    "Limits",
    "expression_of",
    "fixes_sizes",
    "inputs_of",
    "other_sizes",
    "outputs_of",
    "sizes_by",
    "sizes_that_may_be_empty",
    "symbols_of",
    "within",
]

Limits = Mapping[str, tuple[int, int | None]]
"""The smallest and the largest size of axes that the module takes, by name; None for no largest, no entry for any."""

_ATEN = torch.ops.aten

_LARGE = (67, 300)
"""Sizes beyond those of parts, as of `x.split(16, 1)`."""

ANY_SIZES: Limits = MappingProxyType({})


def symbols_of(program: torch.export.ExportedProgram, axes: DynamicAxes) -> dict[sympy.Symbol, str]:
    """Give the symbols of the captured sizes, each with the name of its axis (the first, where it has several)."""
    symbols: dict[sympy.Symbol, str] = {}
    for value, names in zip(inputs_of(program), axes.names, strict=True):
        for axis, name in names.items():
            size = value.shape[axis]
            for expression in expressions_of(size):
                if isinstance(expression, sympy.Symbol):
                    symbols.setdefault(expression, name)
    return symbols


def inputs_of(program: torch.export.ExportedProgram) -> list[Tensor]:
    """Give the inputs of a program, as tensors without values."""
    wanted = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    return [values[name] for name in wanted if isinstance(values.get(name), Tensor)]


def other_sizes(
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    program: torch.export.ExportedProgram,
    limits: Limits = ANY_SIZES,
) -> list[Trial]:
    """Give sizes at which a module may compute otherwise than the program that was captured of it.

    Operators treat some sizes as special cases without a condition in the user's code: tensor_split makes parts of
    other lengths where a size does not divide, squeeze() drops an axis of 1.
    """
    if not axes.sizes:
        return []
    symbols = symbols_of(program, axes)
    trials = []
    for guard, at in _guards(program):
        breaking = _breaking(guard, symbols, axes, limits)
        if breaking is not None and _takes(module, args, axes, breaking):
            kept_out = _kept_out(breaking, axes, guard, symbols)
            refusal = UnsupportedModule(
                f"the module's code has a condition on sizes (at {at}), and takes another path at {_listed(breaking)} "
                "than at the sample's sizes. An exported program has one path for all sizes. Make "
                f"the axis static, or write the forward without the condition{kept_out}."
            )
            if not _holds_but_at_one(guard):
                raise refusal  # a path that many sizes take may have conditions of its own
            trials.append(Trial(breaking, refusal))
    usual = _usual_sizes(axes, limits)
    return trials + [Trial(at, _other_values(program, at, axes), may_fail=True, is_usual=True) for at in usual]


def _kept_out(
    breaking: Mapping[str, int], axes: DynamicAxes, guard: sympy.Basic, symbols: Mapping[sympy.Symbol, str]
) -> str:
    """Explain how to keep out sizes that are special to the module, where they are the smallest or the largest."""
    (name, size), *more = [each for each in breaking.items() if each[1] != axes.sizes[each[0]]] or [("", 0)]
    if more or not name:
        return ""
    low, high = (1, size - 1) if size > axes.sizes[name] else (size + 1, None)
    if _breaking(guard, symbols, axes, {name: (low, high)}) is not None:
        return ""  # others break it, too, as every fourth size breaks `n % 4 != 0`
    said = "more" if high is None else "at most so many"
    return f', or say that requests have {said}: sizes={{"{name}": ({low}, {high})}}'


def fixes_sizes(program: torch.export.ExportedProgram) -> bool:
    """Whether the user's code makes a plain number of what it computes of sizes: `int(math.ceil(n / 4))`."""
    return any(isinstance(guard, sympy.Eq) and guard.rhs.is_Integer for guard, _ in _guards(program))


def _usual_sizes(axes: DynamicAxes, limits: Limits = ANY_SIZES) -> Iterator[dict[str, int]]:
    for name in axes.sizes:
        yield {**axes.sizes, name: within(1, name, limits)}
    for name, large in itertools.product(axes.sizes, _LARGE):
        yield {**axes.sizes, name: within(large, name, limits)}
    for more in (1, 2):  # an odd size and an even one of each axis, at least
        yield {
            name: within(2 * size + more + number, name, limits)
            for number, (name, size) in enumerate(axes.sizes.items())
        }


def within(size: int, name: str, limits: Limits) -> int:
    """The nearest size that the module takes."""
    low, high = limits.get(name, (1, None))
    return max(size, low) if high is None else min(max(size, low), high)


def _guards(program: torch.export.ExportedProgram) -> Iterator[tuple[sympy.Basic, str]]:
    """Give the conditions on sizes in the user's own code, and where they are."""
    values = inputs_of(program)
    environment = getattr(getattr(values[0], "fake_mode", None), "shape_env", None) if values else None
    for guard in environment.guards if environment is not None else ():
        frame = guard.sloc.framework_loc
        if frame is not None and not isinstance(frame, str) and is_users_code(frame.filename):
            yield guard.expr, source_line(frame.filename, frame.lineno)


def _breaking(
    guard: sympy.Basic, symbols: Mapping[sympy.Symbol, str], axes: DynamicAxes, limits: Limits = ANY_SIZES
) -> dict[str, int] | None:
    """Find sizes at which the guard does not hold, among those near the numbers in it; None if there are none."""
    asked = [symbol for symbol in guard.free_symbols if symbol in symbols]
    if not asked or len(asked) != len(guard.free_symbols):
        return None
    names = sorted({symbols[symbol] for symbol in asked})
    constants = {int(number) for number in guard.atoms(sympy.Integer)}
    near = {1, 2, 3, 4, 5, *(constant + d for constant in constants for d in (-1, 0, 1, constant))}
    near |= {bound for name in names for bound in limits.get(name, ()) if bound is not None}
    candidates = [
        sorted(size for size in near if 1 <= size <= 1 << 20 and within(size, name, limits) == size) for name in names
    ]
    for combination in itertools.islice(itertools.product(*candidates), 4096):
        sizes = dict(zip(names, combination, strict=True))
        if guard.subs({symbol: sizes[symbols[symbol]] for symbol in asked}) == sympy.false:
            return {**axes.sizes, **sizes}
    return None


def _holds_but_at_one(guard: sympy.Basic) -> bool:
    """Whether a condition holds for all sizes of one axis but one, as `s != 1` does."""
    if not isinstance(guard, sympy.Ne) or len(guard.free_symbols) != 1:
        return False
    (symbol,) = guard.free_symbols
    difference = guard.lhs - guard.rhs
    return bool(difference.is_polynomial(symbol)) and sympy.degree(difference, symbol) == 1


def _takes(module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Mapping[str, int]) -> bool:
    """Whether the module runs at some sizes. Any error means that it refuses them."""
    with contextlib.suppress(Exception), fake_arguments(module, resize(args, axes, sizes)) as fakes:
        module(*fakes)
        return True
    return False


_SPECIAL = {
    **dict.fromkeys(
        (_ATEN.squeeze.default, _ATEN.squeeze.dim, _ATEN.squeeze.dims),
        "Name an axis that is always 1, squeeze(0), or index one that is not, x[0]",
    ),
    **dict.fromkeys(
        (_ATEN.tensor_split.sections, _ATEN.chunk.default, _ATEN.unsafe_chunk.default, _ATEN.split.Tensor),
        "Compute the sizes of parts from .size(), x[:, : x.size(1) // 2]",
    ),
}
"""Operators that compute otherwise at some sizes, each with what to write instead."""

_EQUAL_STEPS = (
    " Exported, all steps of scan are equal: if its Python code counts calls, or keeps something from call to call, "
    "make that a part of the state, or a tensor among xs, such as torch.arange(input.size(1)) with dim=0."
)


def _other_values(
    program: torch.export.ExportedProgram, sizes: Mapping[str, int], axes: DynamicAxes
) -> UnsupportedModule:
    """Explain that a size is a special case, where that may be, and what to write."""
    special = [node for node in program.graph.nodes if node.target in _SPECIAL]
    where = ", ".join(dict.fromkeys(f"{node.target}{line_of(node)}" for node in special)) or "the module's code"
    advice = "".join(f" {each}." for each in dict.fromkeys(_SPECIAL[node.target] for node in special))
    if any(is_marker(node, END) for node in program.graph.nodes):
        advice += _EQUAL_STEPS
    unlike = [name for name, size in sizes.items() if size != axes.sizes[name]]
    bounds = "(2, None)" if [sizes[name] for name in unlike] == [1] else "(…, …)"
    named = ", ".join(f'"{name}": {bounds}' for name in unlike or sizes)
    return UnsupportedModule(
        f"at {_listed(sizes)} the module gives other results than the program that was captured at the sample's sizes: "
        f"{where} treats some sizes as special cases, and an exported program has one path for all.{advice} If the "
        f"module does not take this size, name the smallest and the largest that it takes: sizes={{{named}}}."
    )


def outputs_of(program: torch.export.ExportedProgram) -> list[Tensor]:
    """Give the results of a program, as tensors without values."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    specs = program.graph_signature.output_specs
    results = [values.get(spec.arg.name) for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
    return [value for value in results if isinstance(value, Tensor)]


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f'"{name}" {size}' for name, size in sizes.items())


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
"""torch's functions of sizes, of arrays of them."""


def expression_of(size: int | torch.SymInt) -> sympy.Expr:
    """Give the expression of a size of a captured program."""
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


def sizes_by(
    expression: sympy.Expr, symbol: sympy.Symbol, low: int, high: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Compute an expression at many values of its symbol: all up to some thousands, then further and further apart."""
    far = np.unique(np.geomspace(_DENSE, _FARTHEST, _DENSE).astype(np.int64))
    sizes = low + np.concatenate([np.arange(_DENSE), far])
    sizes = sizes if high is None else sizes[sizes <= high]
    try:
        found = np.asarray(sympy.lambdify(symbol, expression, modules=[_FUNCTIONS])(sizes))
    except (NameError, TypeError, ValueError, ArithmeticError):
        return None
    return (sizes, np.broadcast_to(found, sizes.shape)) if found.dtype.kind == "i" else None


def sizes_that_may_be_empty(
    captured: torch.export.ExportedProgram, decomposed: torch.export.ExportedProgram, axes: DynamicAxes, limits: Limits
) -> MayBeEmpty | None:
    """Look at every size of a program.

    That an axis has values is for torch a condition, as `x.amax(1)` makes one, which no graph checks. So only this is
    taken for granted: an axis of a request is as long as the module takes, and rows are trimmed to one step or more,
    so that packed ones have values.
    """
    least = {str(symbol): limits.get(name, (1, None))[0] for symbol, name in symbols_of(captured, axes).items()}
    expressions: dict[str, sympy.Expr] = {}
    for node in decomposed.graph.nodes:
        value = node.meta.get("val")
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, torch.Tensor):
                sizes: list[Any] = [size for size in tensor.shape if hasattr(size, "node")]  # SymInt
                expressions |= {str(size.node): size.node.expr for size in sizes}
                if node.target is TRIM:
                    least.setdefault(str(sizes[0].node), 1)
    known = {name: least_of(expression, least) for name, expression in expressions.items()}
    if all(size > 0 for size in known.values()):
        return None
    return lambda size: size == 0 if isinstance(size, int) else known.get(str(size.value), 0) <= 0
