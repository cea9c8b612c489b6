"""Whether a sequence may be cut into parts that continue from one another's states: tried when a model is loaded.

It may not where an answer depends on steps that come later (a bidirectional layer), or on all steps at once in another
way than through the states (a mean over the sequence). The description of a model does not tell; its answers do.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Signature
from rnnserve.server.repository.trial_requests import TrialRequests, as_request

__all__ = ["is_continuable"]

_STEPS = 8
"""Steps of the sequence that is cut."""

_TOLERANCE, _ROUNDINGS = 1e-3, 64
"""Largest difference between floats of the whole and of the parts, as a part of the largest value, or of 1: so much, or
so many steps of the dtype. Rounding is far below it, and another direction far above."""

_Run = Callable[[Sequence[CheckedRequest]], list[dict[str, Array]]]


def is_continuable(run: _Run, signature: Signature, trials: TrialRequests) -> bool:
    """Run a sequence as a whole and in two parts, and compare the answers.

    Without a sequence axis there is nothing to cut: a model that has states is continued step by step. Along several
    sequence axes, it is not said where a sequence goes on.

    Args:
        run: Runs requests as one batch.
        signature: The model's.
        trials: Draws its requests.

    Returns:
        False, too, for a model without states, with states that have a sequence axis, or with sequences so short that
        none can be cut.
    """
    if not signature.states or len(signature.sequence_axes) > 1:
        return False
    for name, final in signature.states.items():
        initial = signature.inputs.get(name)
        if initial is None or (initial.datatype, initial.sizes) != (final.datatype, final.sizes) or final.sequence_axes:
            return False
    if not signature.sequence_axes:
        return True
    (axis,) = signature.sequence_axes
    least = trials.sizes(1)[axis]
    size = trials.sizes(max(_STEPS, 2 * least))[axis]
    first = max(size // 2 - 1, least)
    if size - first < least:
        return False
    whole = trials.draw(trials.rows(2), {axis: size})
    (expected,) = run([whole])
    (before,) = run([_part(whole, signature, axis, 0, first)])
    states = {initial: before[final.name] for initial, final in signature.states.items()}
    rest = _part(whole, signature, axis, first, size)
    (after,) = run([as_request(signature, {**rest.inputs, **states})])
    return all(
        _agree(_joined(before[name], after[name], spec.sequence_axes.get(axis)), expected[name])
        for name, spec in signature.outputs.items()
        if spec.is_float or spec.continues_as  # rounding may turn an argmax
    )


def _part(whole: CheckedRequest, signature: Signature, axis: str, start: int, stop: int) -> CheckedRequest:
    """A request for some steps of another's, from its own initial states."""
    inputs: dict[str, Array] = {}
    for name, array in whole.inputs.items():
        spec = signature.inputs[name]
        if spec.lengths_of:
            inputs[name] = np.full_like(array, stop - start)
        elif axis in spec.sequence_axes:
            inputs[name] = np.ascontiguousarray(array.take(range(start, stop), spec.sequence_axes[axis]))
        else:
            inputs[name] = array
    return as_request(signature, inputs)


def _joined(before: Array, after: Array, at: int | None) -> Array:
    return after if at is None else np.concatenate([before, after], at)


def _agree(found: Array, expected: Array) -> bool:
    if found.dtype.kind != "f":
        return np.array_equal(found, expected)
    wide = expected.astype(np.float64)
    most = float(np.abs(wide[np.isfinite(wide)]).max(initial=1.0))
    limit = most * max(_TOLERANCE, _ROUNDINGS * float(np.finfo(found.dtype).eps))
    return bool(np.isclose(found.astype(np.float64), wide, rtol=0, atol=limit, equal_nan=True).all())
