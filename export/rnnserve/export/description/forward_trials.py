"""Runs of a module at the sizes and lengths of the proof, before anything is exported.

Many modules run at the sizes of their training only: a table of positions has an end, a convolution needs some steps,
packing wants sorted rows. What they raise elsewhere is told with the sizes, and with what to change.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from rnnserve.export.errors import WrongArguments
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.export.tensor_shapes import lengths_inputs, sequence_axes, shape_of, size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = [
    "LONGEST",
    "VALUES_DECIDE",
    "bounds_in_words",
    "describe_arrays",
    "sizes_taken",
    "try_forward",
    "unsorted_lengths",
]

Tensors = Sequence[manifest_pb2.Tensor]
_Compute = Callable[[Arrays], Arrays]

VALUES_DECIDE = (
    "Values decide its size: give as many steps for all values, and the number of steps of each row, (batch,), as "
    "another output"
)
"""What to do about an output whose size is another one for other values."""

LONGEST = 3000
"""Steps of the longest sequences of a proof, where the description bounds them no closer."""

_SHORTER = (1000, 300)
"""Steps of the longest sequences of modules whose loops over steps run very many operators."""

_MOST_OPERATORS = 400_000  # in a run over a long sequence: PyTorch takes some 5 µs for one, a loop of Python more
_COUNTED = (8, 24)  # steps of the runs that tell how many operators a longer one has

_ROWS, _STEPS = 3, 6  # of the trial of lengths, as far as the module takes them

_FOR_ONE_ROW = (
    "It takes two rows, and a request may have one. Does it normalise over the batch? BatchNorm in evaluation mode "
    "uses its running statistics, unless it has track_running_stats=False. If one row is too few, say so: "
    'sizes={"batch": (2, …)}'
)


def describe_arrays(arrays: Arrays) -> str:
    """Name inputs with their shapes and dtypes."""
    return ", ".join(f"{name} {list(array.shape)} {array.dtype}" for name, array in arrays.items())


def bounds_in_words(arrays: Arrays) -> str:
    """Say which integers were drawn, after an IndexError: a table may have fewer entries, or positions."""
    drawn = [f'"{name}" up to {array.max()}' for name, array in arrays.items() if array.dtype.kind in "iu"]
    return (
        f"; it got {', '.join(drawn) or 'no integers'}: is high more than an embedding has entries? Or does the module "
        'take fewer steps: sizes={"sequence": (1, …)}?'
    )


def try_forward(compute: _Compute, inputs: Tensors, outputs: Tensors, sizes: Mapping[str, tuple[int, int]]) -> int:
    """Run a module at its smallest and largest sizes, on long sequences, and on rows of any lengths.

    Args:
        compute: The module.
        inputs: Inputs, described.
        outputs: Outputs, described.
        sizes: The smallest and the largest size of each dynamic axis.

    Returns:
        How many steps the longest sequences of the proof are to have, where the description bounds them no closer.

    Raises:
        WrongArguments: If it raises, or gives fewer steps than its inputs have; the message says what to change.
    """
    _try_sizes(compute, inputs, sizes)
    longest = _longest(compute, inputs, sizes)
    _try_long(compute, inputs, sizes, longest)
    _try_lengths(compute, inputs, outputs, sizes)
    return longest


def _try_sizes(compute: _Compute, inputs: Tensors, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Run a module at the smallest sizes, and with each dynamic axis at its largest."""
    smallest = {axis: low for axis, (low, _) in sizes.items()}
    error = _error(compute, inputs, smallest)
    if error is not None:
        alone = sizes[BATCH][0] == 1 < sizes[BATCH][1] and _error(compute, inputs, smallest | {BATCH: 2}) is None
        raise _raised(error, inputs, smallest, _FOR_ONE_ROW if alone else _named(sizes, "(…, {high})")) from error
    for axis, (low, high) in sizes.items():
        error = _error(compute, inputs, smallest | {axis: high})
        if error is not None:
            advice = _named({axis: (low, high)}, "({low}, …)")
            raise _raised(error, inputs, smallest | {axis: high}, advice) from error


class _OperatorCount(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Counts the operators that run in the context."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - as torch calls it
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operator and count it."""
        del types
        self.count += 1
        return func(*args, **(kwargs or {}))


def _longest(compute: _Compute, inputs: Tensors, sizes: Mapping[str, tuple[int, int]]) -> int:
    """Choose how many steps are tried by how many operators so many take: the same for each publication of a module."""
    smallest = {axis: low for axis, (low, _) in sizes.items()}
    longest = LONGEST
    for axis in sequence_axes(inputs):
        few, more = (min(max(steps, sizes[axis][0]), sizes[axis][1]) for steps in _COUNTED)
        counts = []
        for steps in (few, more):
            with _OperatorCount() as counter:
                compute(draw_inputs(inputs, np.random.default_rng(0), smallest | {axis: steps}))
            counts.append(counter.count)
        a_step = (counts[1] - counts[0]) / max(more - few, 1)
        taken = (steps for steps in (LONGEST, *_SHORTER) if counts[1] + steps * a_step <= _MOST_OPERATORS)
        longest = min(longest, next(taken, _SHORTER[-1]))
    return longest


def _try_long(compute: _Compute, inputs: Tensors, sizes: Mapping[str, tuple[int, int]], longest: int = LONGEST) -> None:
    """Run a module on long sequences, along each axis for which the description names no largest size.

    A server would take them: a table of 512 positions has to be told to it.
    """
    smallest = {axis: low for axis, (low, _) in sizes.items()}
    for axis in sequence_axes(inputs):
        if size_limits(inputs)[axis][1] is not None:
            continue
        taken, refused = sizes[axis][1], longest + 1
        if taken >= longest or _error(compute, inputs, smallest | {axis: longest}) is None:
            continue
        while refused - taken > 1:
            middle = (taken + refused) // 2
            if _error(compute, inputs, smallest | {axis: middle}) is None:
                taken = middle
            else:
                refused = middle
        error = _error(compute, inputs, smallest | {axis: refused})
        assert error is not None  # noqa: S101 - the size was found by its error
        advice = f'It takes {taken} at most. Say so: sizes={{"{axis}": ({sizes[axis][0]}, {taken})}}'
        raise _raised(error, inputs, smallest | {axis: refused}, advice) from error


def sizes_taken(compute: _Compute, inputs: Tensors, refused: Mapping[str, int]) -> str:
    """Say from which size on a module runs that raises for small ones, as a window of 400 samples does; else nothing.

    Args:
        compute: The module.
        inputs: Inputs, described.
        refused: The size of each dynamic axis, for which it raises.
    """
    for axis in sequence_axes(inputs):
        few, enough = refused[axis], size_limits(inputs)[axis][1] or LONGEST
        if enough <= few or _error(compute, inputs, {**refused, axis: enough}) is not None:
            continue
        while enough - few > 1:
            middle = (few + enough) // 2
            if _error(compute, inputs, {**refused, axis: middle}) is None:
                enough = middle
            else:
                few = middle
        return f'It takes {enough} of "{axis}" at least. Say so: sizes={{"{axis}": ({enough}, …)}}'
    return ""


def _named(sizes: Mapping[str, tuple[int, int]], bounds: str) -> str:
    named = ", ".join(
        f'"{axis}": {bounds.format(low=low, high=high)}'
        for axis, (low, high) in sizes.items()
        if axis != BATCH or len(sizes) == 1
    )
    return f"If it takes fewer sizes than the proof uses, name those that it takes: sizes={{{named}}}"


def _error(compute: _Compute, inputs: Tensors, sizes: Mapping[str, int]) -> Exception | None:
    try:
        compute(draw_inputs(inputs, np.random.default_rng(0), sizes))
    except Exception as error:  # noqa: BLE001 - whatever the user's module raises
        return error
    return None


def _raised(error: Exception, inputs: Tensors, sizes: Mapping[str, int], advice: str) -> WrongArguments:
    shown = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    arrays = draw_inputs(inputs, np.random.default_rng(0), sizes)
    if isinstance(error, IndexError) and list(sizes) == [BATCH]:  # no table has an entry for each row
        advice = bounds_in_words(arrays).removeprefix("; ")
    return WrongArguments(
        f"forward raises for the sizes {shown}: {type(error).__name__}: {str(error).rstrip('.')}. It got "
        f"{describe_arrays(arrays)}. "
        f"{advice}"
    )


def _try_lengths(compute: _Compute, inputs: Tensors, outputs: Tensors, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Run a module on rows that are not sorted by their lengths, and all shorter than the sequence axis."""
    trial, arrays = _trial_sizes(sizes), unsorted_lengths(inputs, sizes)
    try:
        found = compute(arrays)
    except Exception as error:  # whatever the user's module raises
        lengths = ", ".join(f'"{name}" {arrays[name].tolist()}' for name in lengths_inputs(inputs).values())
        raise WrongArguments(
            f"forward raises for the lengths {lengths}: {type(error).__name__}: {error}{_sorting(error)}"
        ) from error
    for tensor in outputs:
        expected, shape = shape_of(tensor, trial), found[tensor.name].shape
        if shape != expected:
            raise WrongArguments(
                f'output "{tensor.name}" has shape {list(shape)} where all rows are shorter than the input; expected '
                f"{list(expected)}, ({', '.join(axis.name for axis in tensor.axes)}). "
                f"{_steps_advice(tensor, shape, trial)}"
            )


def _steps_advice(tensor: manifest_pb2.Tensor, shape: Sequence[int], trial: Mapping[str, int]) -> str:
    """Say what to do about an output that has fewer steps than it should."""
    fewer = [axis for axis, size in zip(tensor.axes, shape, strict=False) if size < trial.get(axis.name, axis.size)]
    if len(shape) == len(tensor.axes) and not any(axis.name in trial for axis in fewer):
        return VALUES_DECIDE
    return (
        "It has as many steps as the longest row, and needs those of the input: let a loop run over all of them, "
        "x.size(1), and where pad_packed_sequence gives it, pass total_length=x.size(1)"
    )


def unsorted_lengths(inputs: Tensors, sizes: Mapping[str, tuple[int, int]]) -> Arrays:
    """Draw rows that are not sorted by their lengths, and are all shorter than the sequence axis.

    Args:
        inputs: Inputs, described.
        sizes: The smallest and the largest size of each dynamic axis.
    """
    trial = _trial_sizes(sizes)
    arrays = draw_inputs(inputs, np.random.default_rng(0), trial)
    for axis, name in lengths_inputs(inputs).items():
        low = sizes[axis][0]
        ascending = np.linspace(low, max(low, trial[axis] - 1), trial[BATCH])
        arrays[name] = ascending.astype(arrays[name].dtype)
    return arrays


def _trial_sizes(sizes: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    return {axis: min(max(low, _ROWS if axis == BATCH else _STEPS), high) for axis, (low, high) in sizes.items()}


def _sorting(error: Exception) -> str:
    if "sorted" not in str(error):
        return ""
    return " Rows of a request come in any order: pass enforce_sorted=False to pack_padded_sequence, which is exported"
