"""Checks by runs, before a model serves, which guarantees for a response's bits hold on this device.

`trial_requests` draws the requests. They are batched as the server does: requests of equal sizes if rows must not be
padded, or else of any sizes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.server.batching.batch_arrays import join, rows_of_run
from rnnserve.server.batching.execution import PendingRequest
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.batching.step_run import StepRun
from rnnserve.server.clock import now
from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Origin
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.trial_requests import TrialRequests, as_request
from rnnserve.server.validation.signature import Array, Batching, CheckedRequest, Signature, TensorSpec

__all__ = ["Parts", "goes_by_steps", "is_batch_invariant", "trims_outputs", "try_parts"]

Run = Callable[[Sequence[CheckedRequest]], list[dict[str, Array]]]
"""Runs requests as one batch."""

_STEPS = (1, 2, 3, 5, 8, 13, 21, 33)
_BATCHES = (1, 1, 2, 3, 1, 5)

_CUT_STEPS = (2, 3, 7, 12)
_CUT_ROWS = (1, 2, 5)

_TOLERANCE, _ROUNDINGS = 1e-3, 64
"""Limits for differences by rounding between a whole sequence and its parts: a fraction of the largest value (or of 1),
or this many steps of the dtype. A bidirectional layer differs by far more."""

_JOINING = (5, 1, 0, 3, 0, 2, 7)  # how many requests join before a chunk, in turns
_JOINING_ROWS = (1, 1, 2, 1, 3)
_JOINING_REQUESTS = 24


def is_batch_invariant(run: Run, signature: Signature, trials: TrialRequests) -> bool:
    """Run requests alone and in batches, and return whether all outputs are the same, byte for byte."""
    if signature.batching is Batching.ALONE:
        return True
    if not signature.is_padded:
        sizes = {tuple(trials.sizes(steps).items()) for steps in _STEPS}
        return all(
            _agree_in_company(run, [trials.draw(batch, dict(size)) for batch in _BATCHES]) for size in sorted(sizes)
        )
    requests = [
        trials.draw(batch, trials.sizes(steps), lengths="drawn" if number % 2 else "")
        for number, steps in enumerate(_STEPS)
        for batch in _BATCHES[number % 3 :: 3]
    ]
    return _agree_in_company(run, requests) and _agree_in_padding(run, signature, trials)


def _agree_in_company(run: Run, requests: list[CheckedRequest]) -> bool:
    """Run requests alone, two by two, and all together."""
    alone = [run([request])[0] for request in requests]
    in_pairs = [run(list(pair))[0] for pair in zip(requests, requests[1:] + requests[:1], strict=True)]
    return all(_same(alone, others) for others in (run(requests), run(requests[::-1])[::-1], in_pairs))


def _agree_in_padding(run: Run, signature: Signature, trials: TrialRequests) -> bool:
    """Run padded requests alone and with a longer request, and also with the padding removed."""
    short = tuple(spec.name for spec in signature.outputs.values() if not spec.sized_by)
    for steps in _STEPS:
        sizes = trials.sizes(steps)
        padded = trials.draw(3, sizes, lengths=(steps + 1) // 2)
        longer = trials.draw(2, trials.sizes(2 * steps + 3))
        (alone,) = run([padded])
        if not _same([alone], run([padded, longer])[:1]):
            return False
        if short:
            whole = CheckedRequest(3, sizes, sizes, signature.steps_of(sizes), padded.inputs, short)
            longest = signature.longest(sizes, padded.inputs, short)
            cut = CheckedRequest(3, sizes, longest, signature.steps_of(longest), padded.inputs, short)
            if not _same(run([whole]), run([cut])):
                return False
    return True


def _same(some: list[dict[str, Array]], others: list[dict[str, Array]]) -> bool:
    return all(
        array.tobytes() == other[name].tobytes()
        for one, other in zip(some, others, strict=True)
        for name, array in one.items()
    )


def trims_outputs(model: Model, trials: TrialRequests) -> bool:
    """Whether an output has fewer steps than the inputs if every length is smaller than its axis."""
    signature = model.signature
    sizes, rows = trials.sizes(64), trials.rows(2)
    request = trials.draw(rows, sizes, lengths=1)
    request.longest = sizes  # as in a template run
    arrays = model.run_arrays(list(signature.outputs), join([request], signature))
    return any(
        array.shape != spec.shape(rows_of_run(signature, rows), sizes)
        for spec, array in zip(signature.outputs.values(), arrays, strict=True)
    )


class Parts(NamedTuple):
    """The findings for sequences cut into parts, in which each part continues from the previous states."""

    reason: str  # why the server can't keep their states. Empty if all bits agree
    continues: bool  # whether the answers are the same except for rounding


def try_parts(run: Run, signature: Signature, trials: TrialRequests) -> Parts:
    """Run sequences whole and in parts, and compare: they agree for recurrences forwards, all states declared."""
    if not signature.states:
        return Parts("no output is declared as the state that an input continues from (states= of publish)", False)
    for name, final in signature.states.items():
        initial = signature.inputs[name]
        if (initial.datatype, initial.sizes) != (final.datatype, final.sizes):
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
        return Parts("", True)  # every sequence it takes is too short to be cut
    smallest = trials.sizes(1)[axis]
    reason, was_cut = "", False
    for rows in _CUT_ROWS:
        for steps in _CUT_STEPS:
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
    run: Run, signature: Signature, whole: CheckedRequest, axis: str, parts: Iterable[int]
) -> dict[str, Array]:
    """Run a request in parts, each from the previous part's states, and join outputs along the sequence axis."""
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
    """Return an input's part for some steps. Lengths become the number of these steps."""
    if spec.lengths_of:
        return np.full_like(array, steps)
    place = spec.sequence_axes.get(axis)
    if place is None:
        return array
    index = [slice(None)] * array.ndim
    index[place] = slice(start, start + steps)
    return np.ascontiguousarray(array[tuple(index)])


def _difference(signature: Signature, whole: dict[str, Array], parts: dict[str, Array]) -> tuple[str, bool]:
    """Name the output that differs, empty for none, and return whether it differs by rounding only."""
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
            why = (
                "for example because a bidirectional layer reads from the end, or because an output needs all steps "
                "at once"
            )
            return f"{told}, by {distance:.2g} in one trial, {why}", False
        said = said or f"{told} in its last bits, by {distance:.2g} in one trial"
    return said, True


def goes_by_steps(model: Model, trials: TrialRequests) -> bool:
    """Run requests with step-level batching, and return whether all have the bits of whole runs."""
    signature = model.signature
    axes = signature.sequence_axes
    if model.why_not_in_parts or not model.batch_invariant or signature.batching is Batching.ALONE:
        return False
    if len(axes) != 1 or any(axis in spec.limits for axis, spec in axes.items()):
        return False  # a chunk might be of a size that it does not take
    requests = [
        trials.draw(
            _JOINING_ROWS[at % len(_JOINING_ROWS)],
            trials.sizes(_STEPS[at % len(_STEPS)]),
            lengths="drawn" if at % 3 else "",
        )
        for at in range(_JOINING_REQUESTS)
    ]
    waiting = [_PendingTrial(request) for request in requests]
    steps, at = StepRun(model, Statistics()), 0
    for turn in range(len(requests) * max(_STEPS)):
        count = _JOINING[turn % len(_JOINING)]
        steps.go_on(waiting[at : at + count])
        at += count
        if at >= len(waiting) and not steps.is_busy:
            break
    return [one.answered for one in waiting] == [_bytes_of(model.run([request])[0]) for request in requests]


def _bytes_of(outputs: Mapping[str, Array]) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(array).tobytes() for name, array in outputs.items()}


class _PendingTrial(PendingRequest):
    """A request that keeps the bytes of its response, or None if it is refused."""

    connection = ""

    __slots__ = ("_request", "answered")

    def __init__(self, request: CheckedRequest) -> None:
        super().__init__(request.batch, request.steps, math.inf, now())
        self._request = request
        self.answered: dict[str, bytes] | None = None

    def check(self) -> CheckedRequest:
        return self._request

    def answer(self, outputs: Mapping[str, Array]) -> None:
        self.answered = _bytes_of(outputs)

    def refuse(self, error: ServeError) -> None:
        """Keep none."""

    def origin(self) -> Origin:
        return Origin(peer="", request_id="")
