"""Running an exported model beside its module at sizes where the two might differ, and comparing values.

A captured program has the path of the sizes that it was captured at. Modules have others for one step, for a batch that
an attribute names, for more steps than some number.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments, DynamicAxes, resize
from rnnserve.export.source_lines import first_line
from rnnserve.export.torch_adapter import tree_flatten, tree_leaves, tree_map_only, tree_unflatten
from rnnserve.export.trees import flatten_results

__all__ = ["Trial", "run_trials"]

_TOLERANCES = {np.dtype("float64"): 1e-5, np.dtype("float32"): 1e-4, np.dtype("float16"): 2e-2}
_ULP = 2.0**-23  # of float32, relative
_AS_FAR = 10  # times as far from float64 as eager
_ELEMENTS = 40  # of a result, that take as long as a call
_MOST_CALLS = 200_000
"""Calls of torch's functions in a long trial: some two seconds."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Sizes at which an exported model has to give its module's values.

    Attributes:
        sizes: Sizes of the dynamic axes, by name.
        refusal: What is raised if the values are others there.
        may_fail: Whether the module may raise, so that it doesn't take these sizes.
        steps: Size of the axis that the module loops over; 0 if it loops over none.
        is_usual: Whether nothing tells that the values differ there: only usual ones are compared.
        is_long: Whether it may take long: of these trials, only the longest that is expected not to is run.
    """

    sizes: Mapping[str, int]
    refusal: UnsupportedModule
    may_fail: bool = False
    steps: int = 0
    is_usual: bool = False
    is_long: bool = False


def run_trials(
    trials: Sequence[Trial],
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    input_names: Sequence[str],
    program: torch.onnx.ONNXProgram,
) -> None:
    """Compare an exported model with its module, with usual values and with large ones beside zeros.

    Args:
        trials: Sizes, each with a refusal, small ones first.
        module: The module.
        args: Sample arguments.
        axes: Dynamic axes of the arguments.
        input_names: One name per tensor among them.
        program: The model, as it is exported.

    Raises:
        UnsupportedModule: If values differ in one of them, or the module raises though it may not.
    """
    if not trials:
        return
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has no class for all of its errors
        if all(each.is_usual for each in trials):
            return  # whether onnxruntime has kernels for it is said by the proof, which runs the model anyway
        raise UnsupportedModule(f"onnxruntime cannot load the exported model: {first_line(str(error))}") from error
    calls: dict[int, float] = {}
    for trial in trials:
        if not trial.is_long:
            _try(trial, module, args, axes, input_names, session, calls)
    long = [each for each in trials if each.is_long]
    for trial in reversed(long):
        expected = _expected_calls(calls, trial.steps)
        if expected < (_MOST_CALLS if trial is not long[0] else 10 * _MOST_CALLS):
            _try(trial, module, args, axes, input_names, session, calls)
            break


def _try(
    trial: Trial,
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    input_names: Sequence[str],
    session: ort.InferenceSession,
    calls: dict[int, float],
) -> None:
    taken = {value.name for value in session.get_inputs()}
    for is_unusual in (False,) if trial.is_long or trial.is_usual else (False, True):
        with _Calls() as counted:
            run = _run(trial, module, args, axes, is_unusual=is_unusual)
        if run is None:
            continue
        given, expected = run
        calls[trial.steps] = counted.number
        feeds = {name: each for name, each in zip(input_names, given, strict=True) if name in taken}
        try:
            found = session.run(None, feeds)
        except Exception as error:  # onnxruntime has no class for all of its errors
            raise trial.refusal from error
        factor = 10 if trial.is_long else 1
        declared = [each.shape for each in session.get_outputs()]
        if not all(_is_shaped(*each) for each in zip(found, expected, declared, strict=True)):
            raise trial.refusal
        same = all(_same(*each, factor) for each in zip(found, expected, strict=True))
        if not same and not _are_rounded(module, resize(args, axes, trial.sizes), given, found, expected):
            raise trial.refusal


def _are_rounded(
    module: nn.Module,
    args: Arguments,
    given: Sequence[np.ndarray],
    found: Sequence[Argument],
    expected: Sequence[np.ndarray],
) -> bool:
    """Whether results differ by rounding alone, which the module amplifies.

    Eager is as far from float64 then, and integers differ only where eager in float64, or of inputs that are moved by
    an ulp, gives others, too.
    """
    exact, *moved = (_eager(module, args, given, to, factor) for to, factor in _AGAIN)
    for at, (one, eager) in enumerate(zip(found, expected, strict=True)):
        if eager.dtype.kind == "f":
            if exact is None or _distance(one, exact[at]) > _AS_FAR * _distance(eager, exact[at]):
                return False
        elif np.any((one != eager) & ~_changing(eager, [each[at] for each in (exact, *moved) if each is not None])):
            return False
    return True


_AGAIN = ((torch.float64, 1.0), (None, 1 + _ULP), (None, 1 - _ULP))
"""Dtypes and factors of the floats with which eager runs again."""


def _eager(
    module: nn.Module, args: Arguments, given: Sequence[np.ndarray], to: torch.dtype | None, factor: float
) -> list[np.ndarray] | None:
    """Run the module on inputs that are moved, or in float64; None if it can't."""
    leaves, structure = tree_flatten(args)
    rest = iter(given)
    tensors = [torch.from_numpy(next(rest)) if isinstance(each, Tensor) else each for each in leaves]
    moved = [
        (each * factor).to(to or each.dtype) if isinstance(each, Tensor) and each.is_floating_point() else each
        for each in tensors
    ]
    try:
        with torch.no_grad():
            run = copy.deepcopy(module) if to is None else copy.deepcopy(module).to(to)
            results = flatten_results(run(*tree_unflatten(moved, structure)))
            return [each.numpy(force=True) for each in results]
    except Exception:  # noqa: BLE001 - a module that is no module of float64, or can't be copied
        return None


def _changing(eager: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Where one of the other results is another one."""
    changing = np.zeros(eager.shape, bool)
    for other in others:
        changing |= other != eager if other.shape == eager.shape else False
    return changing


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return float("inf")
    both = np.isfinite(one) & np.isfinite(other)
    return float(np.abs(one[both].astype(np.float64) - other[both]).max(initial=0.0))


class _Calls(TorchFunctionMode):
    """Counts calls of torch's functions, large ones as several: what a module takes, the same on every machine."""

    number = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run `func`."""
        del types
        result = func(*args, **(kwargs or {}))
        given = result[0] if isinstance(result, tuple) and result else result
        self.number += 1 + (given.numel() / _ELEMENTS if isinstance(given, Tensor) else 0)
        return result


def _expected_calls(calls: Mapping[int, float], steps: int) -> float:
    """Estimate the calls for a number of steps from those for fewer: with their growth, at least in proportion."""
    known = sorted(calls.items())[-3:]
    if len(known) < 3:
        return 0.0
    (one, few), (two, more), (three, most) = known
    slope, growth = (most - more) / (three - two), (more - few) / (two - one)
    bend = max((slope - growth) / (three - one), 0.0)
    return float(most + (steps - three) * max(slope, most / three) + (steps - three) * (steps - two) * bend)


def _run(
    trial: Trial, module: nn.Module, args: Arguments, axes: DynamicAxes, *, is_unusual: bool
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Give arguments and results of the module; None if it doesn't take them."""
    resized = resize(args, axes, trial.sizes)
    failure: Exception | None = None
    # Lengths of the sample may be too many for fewer steps, and floats may have to be like those of the sample.
    drawn = (_drawn(resized, is_unusual=is_unusual, most=most) for most in (None, min(trial.sizes.values()), 1))
    for given in (*drawn, resized):
        kept = tree_map_only(Tensor, torch.clone, given)
        try:
            with torch.no_grad():
                expected = [each.numpy(force=True) for each in flatten_results(module(*given))]
        except Exception as error:  # noqa: BLE001 - whatever the module raises
            failure = failure or error
            continue
        return [each.numpy() for each in tree_leaves(kept) if isinstance(each, Tensor)], expected
    if not trial.may_fail:
        raise trial.refusal from failure
    return None


def _drawn(args: Arguments, *, is_unusual: bool, most: int | None) -> Arguments:
    """Draw the floats among arguments; integers stay, which are within their bounds, or are cut at `most`."""
    generator = torch.Generator().manual_seed(int(is_unusual))

    def draw(each: Tensor) -> Tensor:
        if not each.is_floating_point():
            is_number = most is not None and each.dtype is not torch.bool and not each.is_complex()
            return each.clamp(max=most) if is_number else each
        drawn = torch.randn(each.shape, generator=generator, dtype=torch.float32)
        if is_unusual:
            drawn = (drawn * 30).masked_fill(torch.rand(each.shape, generator=generator) < 0.3, 0.0)
        return drawn.to(each.dtype)

    drawn: Arguments = tree_map_only(Tensor, draw, args)
    return drawn


def _is_shaped(found: Argument, expected: np.ndarray, declared: Sequence[object]) -> bool:
    """Whether a result has eager's shape and dtype, and the graph declares that shape."""
    if found.shape != expected.shape or found.dtype != expected.dtype or len(declared) != expected.ndim:
        return False
    return all(size == other for size, other in zip(declared, expected.shape, strict=True) if isinstance(size, int))


def _same(found: Argument, expected: np.ndarray, factor: float) -> bool:
    tolerance = _TOLERANCES.get(expected.dtype)
    if tolerance is None:
        return bool(np.array_equal(found, expected))
    finite = np.isfinite(expected)
    if not finite.any():
        return True
    found, expected = found[finite].astype(np.float64), expected[finite].astype(np.float64)
    near = factor * tolerance * (np.abs(expected) + max(1.0, np.abs(expected).max()) / 10)
    return bool((np.abs(found - expected) <= near).all())
