"""Running an exported model beside its module at sizes where the two might differ, and comparing values.

A captured program has the path of the sizes that it was captured at. Modules have others for one step, for a batch that
an attribute names, for more steps than some number.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes, resize
from rnnserve.export.source_lines import first_line
from rnnserve.export.torch_adapter import tree_leaves, tree_map_only
from rnnserve.export.trees import flatten_results

__all__ = ["Trial", "run_trials"]

_TOLERANCES = {np.dtype("float64"): 1e-5, np.dtype("float32"): 1e-4, np.dtype("float16"): 2e-2}
_ULP = 2.0**-23  # of float32, relative
_AS_FAR = 10  # times as far from float64 as eager
_ELEMENTS = 40  # of a result, that take as long as a call
_TIMES_AS_MANY = 10  # calls for three times as many steps, if they grow with the square
_MOST_CALLS = 150_000  # of torch's functions, in a long trial: some two seconds


@dataclasses.dataclass(frozen=True)
class Trial:
    """Sizes at which an exported model has to give its module's values.

    Attributes:
        is_long: Whether rounding adds up over many steps: usual values are compared, with ten times the tolerance, if
            it takes little time, by the calls of the long one before.
    """

    sizes: Mapping[str, int]  # sizes of the dynamic axes, by name
    refusal: UnsupportedModule  # what is raised if the values are others there
    may_fail: bool = False  # whether the module may raise, so that it doesn't take these sizes
    is_usual: bool = False  # whether nothing suggests that the values differ there: only usual ones are compared
    is_long: bool = False


def run_trials(
    trials: Sequence[Trial],
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    input_names: Sequence[str],
    program: torch.onnx.ONNXProgram,
) -> None:
    """Compare an exported model with its module, with usual values and with large ones beside zeros."""
    if not trials:
        return
    model = program.model_proto
    try:
        runner = OnnxRunner(model.SerializeToString())
    except RuntimeError as error:
        if all(each.is_usual for each in trials):
            return  # whether onnxruntime has kernels for it is said by the proof, which runs the model anyway
        raise UnsupportedModule(f"onnxruntime cannot load the exported model: {first_line(str(error))}") from error
    declared = [[dim.dim_value for dim in output.type.tensor_type.shape.dim] for output in model.graph.output]
    running = _Trials(module, args, axes, input_names, runner, declared)
    most = 0.0
    for trial in trials:
        if not trial.is_long or most < _MOST_CALLS:
            with _Calls() as counted:
                running.run(trial)
            most = counted.number * _TIMES_AS_MANY if trial.is_long else 0.0


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


@dataclasses.dataclass(frozen=True)
class _Trials:
    """A module and its exported model."""

    module: nn.Module
    args: Arguments
    axes: DynamicAxes
    input_names: Sequence[str]
    runner: OnnxRunner
    declared: Sequence[Sequence[int]]  # sizes of each output's axes that the graph fixes; 0 for the others

    def run(self, trial: Trial) -> None:
        """Compare values at the sizes of a trial; raise its refusal if they differ."""
        for is_unusual in (False,) if trial.is_long or trial.is_usual else (False, True):
            given, expected = self._eager_results(trial, is_unusual=is_unusual)
            if expected is None:
                continue
            arrays = [leaf.numpy() for leaf in _tensors(given)]
            try:
                results = self.runner(dict(zip(self.input_names, arrays, strict=True)))
            except RuntimeError as error:
                raise trial.refusal from error
            found = list(results.values())
            if not all(_is_shaped(*each) for each in zip(found, expected, self.declared, strict=True)):
                raise trial.refusal
            tolerance = 10 if trial.is_long else 1
            same = all(_is_near(*each, tolerance) for each in zip(found, expected, strict=True))
            if not same and not self._differ_by_rounding(given, found, expected):
                raise trial.refusal

    def _eager_results(self, trial: Trial, *, is_unusual: bool) -> tuple[Arguments, list[np.ndarray] | None]:
        """Draw arguments, and run the module on them; no results if it doesn't take the sizes."""
        resized = resize(self.args, self.axes, trial.sizes)
        failure: Exception | None = None
        # Lengths of the sample may be too many for fewer steps, and floats may have to be like those of the sample.
        drawn = (_drawn(resized, is_unusual=is_unusual, most=most) for most in (None, min(trial.sizes.values()), 1))
        for given in (*drawn, resized):
            kept: Arguments = tree_map_only(Tensor, torch.clone, given)
            try:
                return kept, _results(self.module, given)
            except Exception as error:  # noqa: BLE001 - whatever the module raises
                failure = failure or error
        if not trial.may_fail:
            raise trial.refusal from failure
        return resized, None

    def _differ_by_rounding(
        self, given: Arguments, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]
    ) -> bool:
        """Whether results differ by rounding alone, which the module amplifies.

        Eager is as far from float64 then, and integers differ only if eager in float64, or of inputs that are moved by
        an ulp, gives others, too.
        """
        exact, *moved = (self._eager_again(given, to, factor) for to, factor in _AGAIN)
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

    def _eager_again(self, given: Arguments, to: torch.dtype | None, factor: float) -> list[np.ndarray] | None:
        """Run the module on inputs that are moved, or in float64; None if it can't."""

        def moved(each: Tensor) -> Tensor:
            return (each * factor).to(to or each.dtype) if each.is_floating_point() else each.clone()

        try:
            module = copy.deepcopy(self.module) if to is None else copy.deepcopy(self.module).to(to)
            return _results(module, tree_map_only(Tensor, moved, given))
        except Exception:  # noqa: BLE001 - a module that is no module of float64, or can't be copied
            return None


_AGAIN = ((torch.float64, 1.0), (None, 1 + _ULP), (None, 1 - _ULP))
"""Dtypes and factors of the floats with which eager runs again."""


def _results(module: nn.Module, args: Arguments) -> list[np.ndarray]:
    with torch.no_grad():
        return [each.numpy(force=True) for each in flatten_results(module(*args))]


def _tensors(args: Arguments) -> list[Tensor]:
    return [each for each in tree_leaves(args) if isinstance(each, Tensor)]


def _drawn(args: Arguments, *, is_unusual: bool, most: int | None) -> Arguments:
    """Draw the floats among arguments; integers stay, which are within their bounds, or are cut at `most`."""
    generator = torch.Generator().manual_seed(int(is_unusual))

    def draw(each: Tensor) -> Tensor:
        if not each.is_floating_point():
            if most is None or each.dtype is torch.bool or each.is_complex():
                return each
            return each.clamp(max=min(most, torch.iinfo(each.dtype).max))  # an int8 holds no size of 200
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
