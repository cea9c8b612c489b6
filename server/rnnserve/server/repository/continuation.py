"""Whether a model may be served a part of a sequence at a time, with its states kept: tried by cutting sequences.

However a sequence is cut into requests, its answers have to be the same, bit for bit. That holds for a recurrence that
reads forwards, whose states are all declared; not for a bidirectional one, which reads from the end, too, nor for an
output that needs all steps at once, such as their mean.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Signature, TensorSpec
from rnnserve.server.repository.trial_requests import TrialRequests, as_request

__all__ = ["why_not_in_parts"]

_STEPS = (2, 3, 7, 12)
_ROWS = (1, 2, 5)

_Run = Callable[[Sequence[CheckedRequest]], list[dict[str, Array]]]


def why_not_in_parts(run: _Run, signature: Signature, trials: TrialRequests) -> str:
    """Say why a model's sequences may not be cut into requests; empty where they may.

    Args:
        run: Runs requests as one batch.
        signature: The model's.
        trials: Draws its requests.
    """
    if not signature.states:
        return "no output is declared as the state that an input continues from (states= of publish)"
    for name, output in signature.states.items():
        spec = signature.inputs[name]
        if not spec.optional:
            return f'the state "{name}" may not be left out, so that none is known to start with'
        if spec.sequence_axes or signature.outputs[output].sequence_axes:
            return f'the state "{name}" grows with the sequence: it is {spec}'
    if not signature.sequence_axes:
        return ""  # a step at a time, and no other way
    if len(signature.sequence_axes) > 1:
        return f"it has more than one sequence axis: {', '.join(signature.sequence_axes)}"
    (axis,) = signature.sequence_axes
    smallest = signature.sequence_axes[axis].limits.get(axis, (1, 0))[0]
    for rows in _ROWS:
        for steps in _STEPS:
            size = trials.sizes(steps)[axis]
            cuts = [[1] * size, [size // 2, size - size // 2], [1, size - 1], [size - 1, 1]]
            possible = [parts for parts in cuts if min(parts) >= smallest]
            whole = trials.draw(trials.rows(rows), {axis: size})
            wanted = run([whole])[0] if possible else {}
            for parts in possible:
                differs = _difference(signature, wanted, _run_in_parts(run, signature, whole, axis, parts))
                if differs:
                    return differs
    return ""


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
        inputs |= {state: outputs[output] for state, output in signature.states.items()}
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


def _difference(signature: Signature, whole: dict[str, Array], parts: dict[str, Array]) -> str:
    for name, array in whole.items():
        if array.tobytes() == parts[name].tobytes():
            continue
        said = f'cutting a sequence changes its output "{name}"'
        if signature.outputs[name].is_float and array.shape == parts[name].shape:
            said += f", by {np.abs(array - parts[name]).max():.2g} in one trial"
        return f"{said}, as where a bidirectional layer reads from the end, or an output needs all steps at once"
    return ""
