"""Whether a model may be served a part of a sequence at a time, with its states kept: tried by cutting sequences.

However a sequence is cut into requests, its answers have to be the same, bit for bit. That holds for a recurrence that
reads forwards, whose states are all declared; not for a bidirectional one, which reads from the end, too, nor for an
output that needs all steps at once, such as their mean.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.server.repository.trial_requests import TrialRequests, as_request
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.signature import Signature, TensorSpec

__all__ = ["Parts", "try_parts"]

_STEPS = (2, 3, 7, 12)
_ROWS = (1, 2, 5)

_TOLERANCE, _ROUNDINGS = 1e-3, 64
"""Largest difference between floats of the whole and of the parts that is rounding, as a part of the largest value, or
of 1: so much, or so many steps of the dtype. Another direction differs by far more."""

_Run = Callable[[Sequence[CheckedRequest]], list[dict[str, Array]]]


class Parts(NamedTuple):
    """What is found of a model whose sequences are cut.

    Attributes:
        reason: Why they may not be cut into requests whose states the server keeps; empty where they may: then all
            answers are the same bits.
        continues: Whether the answers are the same but for rounding.
    """

    reason: str
    continues: bool


def try_parts(run: _Run, signature: Signature, trials: TrialRequests) -> Parts:
    """Run sequences whole, and cut into parts that continue from one another, and compare the answers.

    Args:
        run: A function that runs requests as one batch.
        signature: Signature of the model.
        trials: The source of its requests.
    """
    if not signature.states:
        return Parts("no output is declared as the state that an input continues from (states= of publish)", False)
    for name, final in signature.states.items():
        initial = signature.inputs.get(name)
        if initial is None or (initial.datatype, initial.sizes) != (final.datatype, final.sizes):
            return Parts(f'its output "{final.name}" does not fit the input "{name}", as which it continues', False)
        if final.sequence_axes:
            return Parts(f'the state "{name}" grows with the sequence: it is {initial}', False)
    related = next((spec for spec in signature.outputs.values() if spec.relates_steps), None)
    if related is not None:
        return Parts(f'its output "{related.name}" is not made a step at a time: it is {related}', False)
    if not signature.sequence_axes:
        return Parts("", True)  # a step at a time, and no other way
    if len(signature.sequence_axes) > 1:
        return Parts(f"it has more than one sequence axis: {', '.join(signature.sequence_axes)}", False)
    ((axis, spec),) = signature.sequence_axes.items()
    if axis in spec.limits and spec.limits[axis][1] < 2 * spec.limits[axis][0]:
        return Parts("", True)  # no sequence that it takes can be cut: a request is a part, and there is no whole
    smallest = trials.sizes(1)[axis]
    reason, was_cut = "", False
    for rows in _ROWS:
        for steps in _STEPS:
            size = trials.sizes(steps)[axis]
            cuts = [[1] * size, [size // 2, size - size // 2], [1, size - 1], [size - 1, 1]]
            possible = [parts for parts in cuts if len(parts) > 1 and min(parts) >= smallest]
            whole = trials.draw(trials.rows(rows), {axis: size})
            wanted = run([whole])[0] if possible else {}
            for parts in possible:
                was_cut = True
                found = _run_in_parts(run, signature, whole, axis, parts)
                differs, is_rounding = _difference(signature, wanted, found)
                if differs and not is_rounding:
                    return Parts(differs, False)
                reason = reason or differs
    return Parts(reason, True) if was_cut else Parts("its sequences are too short to be cut", False)


def _run_in_parts(
    run: _Run, signature: Signature, whole: CheckedRequest, axis: str, parts: Iterable[int]
) -> dict[str, Array]:
    """Run a request in parts of its sequence, each from the states after the one before.

    Returns:
        Outputs with a sequence axis put together along it, all others as the last part gives them.
    """
    collected: dict[str, list[Array]] = {name: [] for name in signature.outputs}
    inputs = dict(whole.inputs)
    at = 0
    for steps in parts:
        part = {name: _steps_of(signature.inputs[name], array, axis, at, steps) for name, array in inputs.items()}
        (outputs,) = run([as_request(signature, part)])
        for name, array in outputs.items():
            collected[name].append(array)
        inputs |= {state: outputs[final.name] for state, final in signature.states.items()}
        at += steps
    together: dict[str, Array] = {}
    for name, arrays in collected.items():
        place = signature.outputs[name].sequence_axes.get(axis)
        together[name] = arrays[-1] if place is None else np.concatenate(arrays, axis=place)
    return together


def _steps_of(spec: TensorSpec, array: Array, axis: str, start: int, steps: int) -> Array:
    """The part of an input for some of the steps; lengths are all of these steps."""
    if spec.lengths_of:
        return np.full_like(array, steps)
    place = spec.sequence_axes.get(axis)
    if place is None:
        return array
    index = [slice(None)] * array.ndim
    index[place] = slice(start, start + steps)
    return np.ascontiguousarray(array[tuple(index)])


def _difference(signature: Signature, whole: dict[str, Array], parts: dict[str, Array]) -> tuple[str, bool]:
    """Say which output differs, empty for none, and whether by rounding only."""
    said = ""
    for name, array in whole.items():
        other = parts[name]
        if array.tobytes() == other.tobytes():
            continue
        told = f'cutting a sequence changes its output "{name}"'
        spec = signature.outputs[name]
        if not spec.is_float and not spec.continues_as:
            said = said or told  # rounding may turn an argmax
            continue
        if not spec.is_float or array.shape != other.shape:
            return told, False
        distance = float(np.abs(array - other).max())
        largest = max(1.0, float(np.abs(array).max()))
        limit = max(_TOLERANCE, _ROUNDINGS * float(np.finfo(array.dtype).eps)) * largest
        if not distance <= limit:
            why = "as where a bidirectional layer reads from the end, or an output needs all steps at once"
            return f"{told}, by {distance:.2g} in one trial, {why}", False
        said = said or f"{told} in its last bits, by {distance:.2g} in one trial"
    return said, True
