"""Trials at other sizes than the sample's, to find sizes at which a module and its captured program differ.

A capture follows the sample's path through the module's Python code. A condition on sizes (`if input.shape[1] > 3`)
becomes a guard, which ONNX can't express. Some operators behave differently for an axis of size 1 (`squeeze()`),
without a guard. The program may be wrong at sizes that eager refuses. If eager accepts sizes but takes another path for
them, the module is refused. But if it takes the other path at one size only, the values at this size are compared
instead. Values are also compared at usual sizes.
"""

import contextlib
import copy
import dataclasses
import itertools
import linecache
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.recurrence.capture import prepared
from rnnserve.export.recurrence.dynamic_axes import (
    Arguments,
    DynamicAxes,
    Limits,
    inputs_of,
    resize,
    symbols_of,
    within,
)
from rnnserve.export.recurrence.refusals import PARTS, OtherPath
from rnnserve.export.recurrence.scan import END, is_marker
from rnnserve.export.source_lines import first_line, is_users_code, line_of, source_line
from rnnserve.export.torch_adapter import in_float64, tree_leaves, tree_map_only
from rnnserve.export.trees import flatten_results

__all__ = ["Trial", "fixes_sizes", "other_sizes", "run_trials", "special_operators"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """Sizes at which an exported model must return its module's values."""

    sizes: Mapping[str, int]  # by name of the dynamic axis
    refusal: UnsupportedModule  # raised if the values differ
    unusual: Sequence[bool] = (False, True)  # for each run, whether values are unusual: large, with many zeros
    along: str = ""  # the axis of a loop, if any
    is_long: bool = False  # whether rounding accumulates over many steps; a single such trial is enough for a loop


_LARGE = (67, 300)
"""Sizes larger than typical parts, such as those of `x.split(16, 1)`."""


def other_sizes(
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    program: torch.export.ExportedProgram,
    limits: Limits,
    special: Mapping[str, str],
) -> list[Trial]:
    """Return trials at sizes where a module may differ from its program, which uses the operators in `special`."""
    if not axes.sizes:
        return []
    symbols = symbols_of(program, axes)
    trials = []
    for guard, at, code in _guards(program):
        breaking = _breaking(guard, symbols, axes, limits)
        if breaking is not None and _takes(module, args, axes, breaking):
            by_loop = code.startswith(("for ", "while "))
            remedy = "write the loop with rnnserve.export.scan, over a tensor with an axis for the iterations"
            if not by_loop:  # a loop takes another path at every size
                remedy = "write the forward without the condition (for example, x[:, : n // 2 * 2] instead of if n % 2)"
                remedy += _kept_out(breaking, axes, guard, symbols)
            refusal = OtherPath(
                f"the module's code has a condition on sizes (at {at}) and takes another path at {_listed(breaking)} "
                "than at the sample's sizes. An exported program has one path for all sizes. Make the axis static, "
                f"or {remedy}.",
                by_loop=by_loop,
            )
            if not _holds_but_at_one(guard):
                raise refusal  # a path for many sizes may have further conditions
            trials.append(Trial(breaking, refusal))
    usual = _usual_sizes(axes, limits)
    return trials + [Trial(at, _other_values(special, at, axes), unusual=(False,)) for at in usual]


def fixes_sizes(program: torch.export.ExportedProgram) -> bool:
    """Whether user code makes a plain number from a computation with sizes: `int(math.ceil(n / 4))`."""
    return any(isinstance(guard, sympy.Eq) and guard.rhs.is_Integer for guard, *_ in _guards(program))


def _usual_sizes(axes: DynamicAxes, limits: Limits) -> Iterator[dict[str, int]]:
    for name in axes.sizes:
        yield {**axes.sizes, name: within(1, name, limits)}
    for name, large in itertools.product(axes.sizes, _LARGE):
        yield {**axes.sizes, name: within(large, name, limits)}
    for more in (1, 2):  # at least one odd and one even size for each axis
        yield {
            name: within(2 * size + more + number, name, limits)
            for number, (name, size) in enumerate(axes.sizes.items())
        }


def _guards(program: torch.export.ExportedProgram) -> Iterator[tuple[sympy.Basic, str, str]]:
    """Yield the conditions on sizes in user code, and their places and lines of code."""
    values = inputs_of(program)
    environment = getattr(getattr(values[0], "fake_mode", None), "shape_env", None) if values else None
    for guard in environment.guards if environment is not None else ():
        frame = guard.sloc.framework_loc
        if frame is not None and not isinstance(frame, str) and is_users_code(frame.filename):
            code = linecache.getline(frame.filename, frame.lineno or 0).strip()
            yield guard.expr, source_line(frame.filename, frame.lineno), code


def _breaking(
    guard: sympy.Basic, symbols: Mapping[sympy.Symbol, str], axes: DynamicAxes, limits: Limits
) -> dict[str, int] | None:
    """Find sizes near the guard's numbers at which the guard fails, or return None if there are none."""
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
    """Whether a condition on a single axis holds for all sizes except one, as `s != 1` does."""
    if not isinstance(guard, sympy.Ne) or len(guard.free_symbols) != 1:
        return False
    (symbol,) = guard.free_symbols
    difference = guard.lhs - guard.rhs
    return bool(difference.is_polynomial(symbol)) and sympy.degree(difference, symbol) == 1


def _takes(module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Mapping[str, int]) -> bool:
    """Whether the module runs at some sizes, without values. Any error counts as a refusal of the sizes."""
    with contextlib.suppress(Exception), prepared(module):
        torch.export.export(module, resize(args, axes, sizes), strict=False)
        return True
    return False


def _kept_out(
    breaking: Mapping[str, int], axes: DynamicAxes, guard: sympy.Basic, symbols: Mapping[sympy.Symbol, str]
) -> str:
    """Explain how to exclude sizes that the module treats specially, if these are the smallest or the largest."""
    (name, size), *more = [each for each in breaking.items() if each[1] != axes.sizes[each[0]]] or [("", 0)]
    if more or not name:
        return ""
    low, high = (1, size - 1) if size > axes.sizes[name] else (size + 1, None)
    if _breaking(guard, symbols, axes, {name: (low, high)}) is not None:
        return ""  # other sizes also fail, as every fourth size fails `n % 4 != 0`
    bound = "more" if high is None else f"at most {high}"
    return f', or declare that requests have {bound}: sizes={{"{name}": ({low}, {high or "…"})}}'


_ATEN = torch.ops.aten
_SPECIAL = {
    **dict.fromkeys(
        (_ATEN.squeeze.default, _ATEN.squeeze.dim, _ATEN.squeeze.dims),
        "Name an axis that always has size 1, squeeze(0), or use an index for any other axis, x[0]",
    ),
    **dict.fromkeys(
        (_ATEN.tensor_split.sections, _ATEN.chunk.default, _ATEN.unsafe_chunk.default),
        f"Compute the sizes of parts from .size(), x[:, : x.size(1) // 2]. {PARTS}",
    ),
    _ATEN.split.Tensor: f"The number of parts depends on the size. {PARTS}. If parts are independent, make each a "
    "row: F.pad(x, (0, 0, 0, -x.size(1) % 16)).unflatten(1, (-1, 16)).flatten(0, 1)",
}
"""Operators that compute differently at some sizes, with advice."""

_EQUAL_STEPS = (
    " In an exported scan, all steps perform the same computation. If its Python code counts calls or keeps something "
    "between calls, "
    "make this part of the state, or add a tensor to xs, such as torch.arange(input.size(1)) with dim=0."
)


def special_operators(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Return the operators of a captured program that treat some sizes as special cases, with advice."""
    nodes = program.graph.nodes
    special = {
        f"{node.target}{line_of(node)}": f" {_SPECIAL[node.target]}." for node in nodes if node.target in _SPECIAL
    }
    return special | ({"": _EQUAL_STEPS} if any(is_marker(node, END) for node in nodes) else {})


def _other_values(special: Mapping[str, str], sizes: Mapping[str, int], axes: DynamicAxes) -> OtherPath:
    """Return a refusal that names the size, the operators that may treat it as a special case, and advice."""
    where = ", ".join(filter(None, special)) or "the module's code"
    advice = "".join(dict.fromkeys(special.values()))
    unlike = [name for name, size in sizes.items() if size != axes.sizes[name]]
    bounds = "(2, …)" if [sizes[name] for name in unlike] == [1] else "(…, …)"
    named = ", ".join(f'"{name}": {bounds}' for name in unlike or sizes)
    return OtherPath(
        f"at {_listed(sizes)} the module returns other results than the program captured at the sample's sizes: "
        f"{where} treats some sizes as special cases, but an exported program has one path for all sizes.{advice} If "
        f"the module does not accept this size, name the smallest and the largest accepted size: sizes={{{named}}}."
    )


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f'"{name}" {size}' for name, size in sizes.items())


_TOLERANCES = {np.dtype("float64"): 1e-5, np.dtype("float32"): 1e-4, np.dtype("float16"): 2e-2}
_ULP = 2.0**-23  # of float32, relative
_AGAIN = ((torch.float64, 1.0), (None, 1 + _ULP), (None, 1 - _ULP))  # dtypes and input factors of further eager runs
_AS_FAR = 10  # allowed distance from float64, as a multiple of eager's
_MOST_CALLS = 150_000  # calls of torch's functions in a long trial, which take about two seconds
_ELEMENTS = 20  # elements of a result that take as long as a call


def run_trials(
    trials: Sequence[Trial],
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    input_names: Sequence[str],
    program: torch.onnx.ONNXProgram,
) -> None:
    """Compare an exported model with its module at the sizes of all trials."""
    if not trials:
        return
    model = program.model_proto
    try:
        runner = OnnxRunner(model.SerializeToString())
    except RuntimeError as error:
        if not any(any(trial.unusual) for trial in trials):
            return  # the verification runs the model anyway, and reports missing kernels of onnxruntime
        raise UnsupportedModule(f"onnxruntime cannot load the exported model: {first_line(str(error))}") from error
    declared = [[dim.dim_value for dim in output.type.tensor_type.shape.dim] for output in model.graph.output]
    calls: dict[str, dict[int, float]] = {}  # axis of a loop -> size -> number of calls
    for trial, is_unusual in ((each, unusual) for each in trials for unusual in each.unusual):
        counted = calls.setdefault(trial.along, {})
        size = trial.sizes.get(trial.along, 0)
        if trial.is_long and (max(counted) >= size or _calls_at(size, counted) > _MOST_CALLS):
            continue  # the first long trial that takes little time is enough
        calling = _Calls()
        with contextlib.nullcontext() if trial.is_long else calling:
            run = _run_eager(trial.sizes, module, args, axes, is_unusual=is_unusual)
        counted.setdefault(size, calling.number)
        if run is None:
            continue
        given, expected = run
        arrays = [leaf.numpy() for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        try:
            found = list(runner(dict(zip(input_names, arrays, strict=True))).values())
        except RuntimeError as error:
            raise trial.refusal from error
        shaped = all(_is_shaped(*each) for each in zip(found, expected, declared, strict=True))
        tolerance = 10 if trial.is_long else 1
        near = shaped and all(_is_near(*each, tolerance) for each in zip(found, expected, strict=True))
        if not shaped or not (near or _differ_by_rounding(module, given, found, expected)):
            raise trial.refusal


class _Calls(TorchFunctionMode):
    """Counts calls of torch's functions, large ones as several, as a measure of work that is equal on all machines."""

    number = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run `func` and count the call."""
        del types
        result = func(*args, **(kwargs or {}))
        given = result[0] if isinstance(result, tuple) and result else result
        self.number += 1 + (given.numel() / _ELEMENTS if isinstance(given, Tensor) else 0)
        return result


def _calls_at(size: int, counted: Mapping[int, float]) -> float:
    """Estimate the number of calls at a size from smaller sizes. Nested loops grow quadratically."""
    growth = np.polyfit(list(counted), list(counted.values()), min(2, len(counted) - 1))
    return float(np.polyval(growth, size))


def _run_eager(
    sizes: Mapping[str, int], module: nn.Module, args: Arguments, axes: DynamicAxes, *, is_unusual: bool
) -> tuple[Arguments, list[np.ndarray]] | None:
    """Draw arguments with these sizes and run the module on them, or return None if the module refuses the sizes."""
    resized = resize(args, axes, sizes)
    # The sample's lengths may be too large for fewer steps, and the module may only accept floats like the sample's.
    drawn = (_drawn(resized, is_unusual=is_unusual, most=most) for most in (None, min(sizes.values()), 1))
    for given in (*drawn, resized):
        kept: Arguments = tree_map_only(Tensor, torch.clone, given)
        with contextlib.suppress(Exception):  # the module may raise anything
            return kept, _results(module, given)
    return None


def _differ_by_rounding(
    module: nn.Module, given: Arguments, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> bool:
    """Whether results differ only by rounding that the module amplifies.

    In this case, eager differs about as much from float64. Integers may differ only if eager itself returns other
    integers in float64, or for inputs moved by an ulp.
    """
    exact, *moved = (_eager_again(module, given, to, factor) for to, factor in _AGAIN)
    for at, (one, eager) in enumerate(zip(found, expected, strict=True)):
        if eager.dtype.kind == "f":
            if exact is None or _distance(one, exact[at]) > _AS_FAR * _distance(eager, exact[at]):
                return False
        else:
            others = [each[at] for each in (exact, *moved) if each is not None and each[at].shape == eager.shape]
            undecided = np.logical_or.reduce([np.zeros(eager.shape, bool), *(each != eager for each in others)])
            if np.any((one != eager) & ~undecided):
                return False
    return True


def _eager_again(module: nn.Module, given: Arguments, to: torch.dtype | None, factor: float) -> list[np.ndarray] | None:
    """Run the module in float64 or on moved inputs, or return None if it can't."""

    def moved(each: Tensor) -> Tensor:
        return (each * factor).to(to or each.dtype) if each.is_floating_point() else each.clone()

    try:
        copied, moved_inputs = copy.deepcopy(module).to(to), tree_map_only(Tensor, moved, given)
        with contextlib.nullcontext() if to is None else in_float64():
            return _results(copied, moved_inputs)
    except Exception:  # noqa: BLE001 - the module may not support float64 or copies
        return None


def _results(module: nn.Module, args: Arguments) -> list[np.ndarray]:
    with torch.no_grad():
        return [each.numpy(force=True) for each in flatten_results(module(*args))]


def _drawn(args: Arguments, *, is_unusual: bool, most: int | None) -> Arguments:
    """Draw the floats among the arguments. Integers keep their values, cut at `most` if given."""
    generator = torch.Generator().manual_seed(int(is_unusual))

    def draw(each: Tensor) -> Tensor:
        if not each.is_floating_point():
            if most is None or each.dtype is torch.bool or each.is_complex():
                return each
            return each.clamp(max=min(most, torch.iinfo(each.dtype).max))  # an int8 can't hold a size of 200
        drawn = torch.randn(each.shape, generator=generator, dtype=torch.float32)
        if is_unusual:
            drawn = (drawn * 30).masked_fill(torch.rand(each.shape, generator=generator) < 0.3, 0.0)
        return drawn.to(each.dtype)

    drawn: Arguments = tree_map_only(Tensor, draw, args)
    return drawn


def _is_shaped(found: np.ndarray, expected: np.ndarray, declared: Sequence[int]) -> bool:
    """Whether a result has eager's shape and dtype, and the graph declares that shape."""
    if found.shape != expected.shape or found.dtype != expected.dtype or len(declared) != expected.ndim:
        return False
    return all(not size or size == other for size, other in zip(declared, expected.shape, strict=True))


def _is_near(found: np.ndarray, expected: np.ndarray, factor: float) -> bool:
    tolerance = _TOLERANCES.get(expected.dtype)
    if tolerance is None:
        return bool(np.array_equal(found, expected))
    finite = np.isfinite(expected)
    if not finite.any():
        return True
    found, expected = found[finite].astype(np.float64), expected[finite].astype(np.float64)
    near = factor * tolerance * (np.abs(expected) + max(1.0, np.abs(expected).max()) / 10)
    return bool((np.abs(found - expected) <= near).all())


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    both = np.isfinite(one) & np.isfinite(other)
    return float(np.abs(one[both].astype(np.float64) - other[both]).max(initial=0.0))
