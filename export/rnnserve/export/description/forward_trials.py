"""Run a module at the sizes and lengths used in verification, before anything is exported.

Many modules run only at the sizes of their training: a table of positions ends, a convolution needs a minimum number of
steps, packing expects sorted rows. If the module raises at other sizes, the error is reported with the sizes and with
advice.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.publication import InputDescription
from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import FlatModule
from rnnserve.export.tensors import (
    Arrays,
    draw_inputs,
    lengths_inputs,
    sequence_axes,
    shape_of,
    size_limits,
    sizes_near,
)
from rnnserve.export.torch_adapter import OperatorsSeen
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import coarseness, scale
from rnnserve.protos.protocol_words import BATCH

Tensors = Sequence[manifest_pb2.Tensor]
_Sizes = Mapping[str, int]

LONGEST = 3000
"""Steps of the longest sequences in verification, unless the description sets a smaller limit."""

_SHORTER = (1000, 300)
"""Steps of the longest sequences for modules whose loops over steps run very many operators."""

_MOST_OPERATORS = 400_000  # per run over a long sequence; PyTorch takes about 5 µs per operator, a Python loop more
_COUNTED = (8, 24)  # steps of the runs from which the operators of a longer run are estimated

_ROUNDING = 64 * 2.0**-23  # relative: reordering the same operations over a few steps changes results by less

_ROWS, _STEPS = 3, 6  # of the trial of lengths, as far as the module takes them

_FOR_ONE_ROW = (
    "It accepts two rows, but a request may have one. Does it normalize over the batch? BatchNorm in evaluation mode "
    "uses its running statistics, except with track_running_stats=False. If the module needs several rows, add "
    'sizes={"batch": (2, …)}'
)
_AS_LONGEST = (
    "It has as many steps as the longest row, but needs as many as the input. Let loops run over all steps, "
    "x.size(1), and pass total_length=x.size(1) to pad_packed_sequence"
)
_UNSORTED = " The rows of a request can come in any order. Pass enforce_sorted=False to pack_padded_sequence"
_VALUES_DECIDE = (
    "Its size depends on values. Return the same number of steps for all values, and the number of valid steps of "
    "each row, (batch,), as another output"
)


@dataclasses.dataclass(frozen=True)
class Trial:
    """Runs of a model on random inputs at some sizes of its axes. The inputs are the same each time."""

    compute: Callable[[Arrays], Arrays]
    inputs: Tensors
    sizes: Mapping[str, tuple[int, int]]  # the smallest and largest size of each dynamic axis

    @property
    def smallest(self) -> dict[str, int]:
        """The smallest size of each dynamic axis."""
        return {axis: low for axis, (low, _) in self.sizes.items()}

    def drawn(self, sizes: _Sizes) -> Arrays:
        """Draw random inputs of some sizes."""
        return draw_inputs(self.inputs, np.random.default_rng(0), sizes)

    def run(self, sizes: _Sizes) -> Arrays:
        """Run the model at some sizes."""
        return self.compute(self.drawn(sizes))

    def error(self, sizes: _Sizes) -> Exception | None:
        """Run the model at some sizes and return its exception, if it raises."""
        try:
            self.run(sizes)
        except Exception as error:  # noqa: BLE001 - the user's module may raise anything
            return error
        return None

    def results(self, arrays: Arrays) -> Arrays | None:
        """Run the model on arrays. None if it raises."""
        try:
            return self.compute(arrays)
        except Exception:  # noqa: BLE001 - the user's module may raise anything
            return None

    def unsorted_lengths(self) -> tuple[dict[str, int], Arrays]:
        """Draw rows that aren't sorted by length, up to about half of the sequence axis. Returns sizes and inputs."""
        sizes = sizes_near(self.sizes, _STEPS, _ROWS)
        arrays = self.drawn(sizes)
        for axis, name in lengths_inputs(self.inputs).items():
            low = self.sizes[axis][0]
            ascending = np.linspace(low, max(low, sizes[axis] // 2), sizes[BATCH])
            arrays[name] = ascending.astype(arrays[name].dtype)
        return sizes, arrays


def describe_arrays(arrays: Arrays) -> str:
    """List inputs with their shapes and dtypes."""
    return ", ".join(f"{name} {list(array.shape)} {array.dtype}" for name, array in arrays.items())


def bounds_in_words(arrays: Arrays) -> str:
    """Return advice after an IndexError, with the drawn integers: a table may have fewer entries or positions."""
    drawn = [f'"{name}" up to {array.max()}' for name, array in arrays.items() if array.dtype.kind in "iu"]
    return (
        f"; it got {', '.join(drawn) or 'no integers'}. Is high more than the number of embeddings? Or does the "
        'module accept only fewer steps? Then bound them: sizes={"sequence": (1, …)}'
    )


def try_forward(trial: Trial, outputs: Tensors) -> int:
    """Run a module at its size limits and on rows of mixed lengths. Returns the number of steps of the longest runs."""
    smallest = trial.smallest
    if (error := trial.error(smallest)) is not None:
        advice = sizes_taken(trial, smallest)
        if smallest[BATCH] == 1 < trial.sizes[BATCH][1] and trial.error({**smallest, BATCH: 2}) is None:
            advice = _FOR_ONE_ROW
        advice = advice or "Name the sizes that it accepts: sizes={axis: (smallest, largest)}"
        raise _raised(error, trial, smallest, advice) from error
    for axis, (_, high) in trial.sizes.items():
        _try_largest(trial, axis, high)
    longest = _longest(trial)
    for axis in sequence_axes(trial.inputs):
        if size_limits(trial.inputs)[axis][1] is None:  # servers would accept any size
            _try_largest(trial, axis, max(longest, trial.sizes[axis][1]))
    _try_lengths(trial, outputs)
    return longest


def _try_largest(trial: Trial, axis: str, largest: int) -> None:
    """Run a module with an axis at its largest size. If it fails, find the largest size that it takes."""
    smallest = trial.smallest
    if trial.error({**smallest, axis: largest}) is None:
        return
    taken, refused = _limit(trial, smallest, axis, smallest[axis], largest)
    error = trial.error({**smallest, axis: refused})
    advice = f'It accepts at most {taken}. Add sizes={{"{axis}": ({smallest[axis]}, {taken})}}'
    raise _raised(error, trial, {**smallest, axis: refused}, advice) from error


def _longest(trial: Trial) -> int:
    """Choose the longest sequence by its number of operators, so that each publication of a module chooses the same."""
    longest = LONGEST
    for axis in sequence_axes(trial.inputs):
        low, high = trial.sizes[axis]
        few, more = (min(max(steps, low), high) for steps in _COUNTED)
        counts = []
        for steps in (few, more):
            seen: list[object] = []
            with OperatorsSeen(lambda func, *_, seen=seen: lambda _: seen.append(func)):
                trial.run(trial.smallest | {axis: steps})
            counts.append(len(seen))
        a_step = (counts[1] - counts[0]) / max(more - few, 1)
        taken = (steps for steps in (LONGEST, *_SHORTER) if counts[1] + steps * a_step <= _MOST_OPERATORS)
        longest = min(longest, next(taken, _SHORTER[-1]))
    return longest


def _limit(trial: Trial, sizes: _Sizes, axis: str, taken: int, refused: int) -> tuple[int, int]:
    """Find two neighboring sizes of an axis of which the module takes one and refuses the other."""
    while abs(refused - taken) > 1:
        middle = (taken + refused) // 2
        if trial.error({**sizes, axis: middle}) is None:
            taken = middle
        else:
            refused = middle
    return taken, refused


def sizes_taken(trial: Trial, refused: _Sizes) -> str:
    """If a module fails at small sizes, for example because of a window, advise its smallest size. Otherwise empty."""
    for axis in sequence_axes(trial.inputs):
        most = size_limits(trial.inputs)[axis][1]
        if trial.error({**refused, axis: most or LONGEST}) is None:
            enough, _ = _limit(trial, refused, axis, most or LONGEST, refused[axis])
            return f'It needs at least {enough} of "{axis}". Add sizes={{"{axis}": ({enough}, {most or "…"})}}'
    return ""


def _raised(error: Exception | None, trial: Trial, sizes: _Sizes, advice: str) -> WrongArguments:
    shown = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    arrays = trial.drawn(sizes)
    if isinstance(error, IndexError) and list(sizes) == [BATCH]:  # tables don't have an entry for each row
        advice = bounds_in_words(arrays).removeprefix("; ")
    return WrongArguments(
        f"forward raises for the sizes {shown}: {type(error).__name__}: {str(error).rstrip('.')}. It got "
        f"{describe_arrays(arrays)}. {advice}"
    )


def _try_lengths(trial: Trial, outputs: Tensors) -> None:
    """Run a module on rows that aren't sorted by length, all shorter than the sequence axis."""
    sizes, arrays = trial.unsorted_lengths()
    try:
        full, found = trial.run(sizes), trial.compute(arrays)
    except Exception as error:  # the user's module may raise anything
        lengths = ", ".join(f'"{name}" {arrays[name].tolist()}' for name in lengths_inputs(trial.inputs).values())
        raise WrongArguments(
            f"forward raises for the lengths {lengths}: {type(error).__name__}: {error}"
            + (_UNSORTED if "sorted" in str(error) else "")
        ) from error
    for tensor in outputs:
        # Axes derived from the steps don't have a rule yet.
        expected = full[tensor.name].shape if tensor.derived_axes else shape_of(tensor, sizes)
        shape = found[tensor.name].shape
        if shape == expected:
            continue
        fewer = [axis for axis, size in zip(tensor.axes, shape, strict=False) if size < sizes.get(axis.name, axis.size)]
        is_of_values = len(shape) == len(tensor.axes) and not any(axis.name in sizes for axis in fewer)
        raise WrongArguments(
            f'output "{tensor.name}" has shape {list(shape)} if all rows are shorter than the input; expected '
            f"{list(expected)}, ({', '.join(axis.name for axis in tensor.axes)}). "
            f"{_VALUES_DECIDE if is_of_values else _AS_LONGEST}"
        )


def refuse_padding_alone(trial: Trial, described: Mapping[str, InputDescription]) -> None:
    """Exclude padding ids from the bounds of inputs, in place, if the module fails on rows of padding alone.

    A packed sequence without steps raises, and a mean over no steps is NaN. Servers refuse ids out of bounds, so
    clients can't send such a row. The model itself still writes padding after each row's length. An id within the
    bounds stays.
    """
    for tensor in trial.inputs:
        padding, bounds = described[tensor.name].padding, tensor.integers
        if padding is None or padding not in (bounds.low, bounds.high - 1) or bounds.high - bounds.low < 2:
            continue
        arrays = trial.drawn(trial.smallest)
        arrays[tensor.name] = np.full_like(arrays[tensor.name], padding)
        results = trial.results(arrays)
        if results is not None and all(each.dtype.kind != "f" or np.isfinite(each).all() for each in results.values()):
            continue
        if padding == bounds.low:
            bounds.low += 1
        else:
            bounds.high -= 1


def made_lenient(module: FlatModule, trial: Trial) -> FlatModule:
    """Make a module that takes rows in any order, and lengths below the number of steps, if its results are the same.

    Returns the module unchanged if it takes such rows already and never converts a row's length to a number, or if the
    lenient module's results differ. They are compared on sorted rows, which the original module accepts as well.
    """
    lengths = lengths_inputs(trial.inputs)
    if not lengths:
        return module
    sizes, unsorted = trial.unsorted_lengths()
    full = {**unsorted, **{name: np.full_like(unsorted[name], sizes[axis]) for axis, name in lengths.items()}}
    ordered = {**unsorted, **{name: unsorted[name][::-1].copy() for name in lengths.values()}}
    of_full, of_unsorted = trial.results(full), trial.results(unsorted)
    if of_full is None:
        return module
    optional = {name for names in module.call.optional for name in names}
    places: dict[str, tuple[str, int]] = {}  # position of each axis, preferably in an input that requests can't omit
    for tensor in sorted(trial.inputs, key=lambda each: each.name in optional):
        for at, axis in enumerate(tensor.axes):
            places.setdefault(axis.name, (tensor.name, at))
    rows = [(name, *places[axis]) for axis, name in lengths.items()]
    if _shapes(of_unsorted) == _shapes(of_full) and not module.asks_for_rows(rows, unsorted):
        return module
    lenient = module.with_rows(rows)
    again = dataclasses.replace(trial, compute=lenient.run)
    found = again.results(unsorted)
    pairs = (of_full, again.results(full)), (of_unsorted, found), (trial.results(ordered), again.results(ordered))
    is_same = _shapes(found) == _shapes(of_full) and all(_agree_as_far(*pair) for pair in pairs)
    return lenient if is_same else module


def _shapes(results: Arrays | None) -> dict[str, tuple[int, ...]] | None:
    return None if results is None else {name: array.shape for name, array in results.items()}


def _agree_as_far(plain: Arrays | None, found: Arrays | None) -> bool:
    """Whether a lenient module matches the original one, as far as the original one's results go."""
    for name, array in (plain or {}).items():
        if found is None or array.ndim != found[name].ndim:
            return False
        if not is_near(found[name][tuple(slice(size) for size in array.shape)], array):
            return False
    return True


def is_near(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> bool:
    """Whether two results differ by no more than rounding can explain."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if wanted.dtype.kind != "f":
        return np.array_equal(found, wanted)
    limit = _ROUNDING * coarseness(wanted.dtype) * scale(wanted)
    return np.allclose(found, wanted, rtol=0, atol=limit, equal_nan=True)
