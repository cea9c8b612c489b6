"""Requests for load checks of a model: sizes and values are such as its golden cases have."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rnnserve.protos.artifact import GOLDEN, ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.validation.checking import check_lengths, wrong_shape
from rnnserve.server.validation.signature import Array, CheckedRequest, Signature, TensorSpec

__all__ = ["TrialRequests", "as_request"]


def as_request(signature: Signature, inputs: Mapping[str, Array], outputs: Iterable[str] = ()) -> CheckedRequest:
    """Turn inputs by name, whose shapes are the model's, into a request for some outputs, all by default."""
    names = tuple(outputs) or tuple(signature.outputs)
    shapes = {name: array.shape for name, array in inputs.items()}
    sizes = signature.sizes_of(shapes)
    longest = signature.longest(sizes, inputs, names)
    batch = signature.batch_of(shapes)
    return CheckedRequest(batch, sizes, longest, signature.steps_of(longest), inputs, names)


class TrialRequests:
    """Draws requests of sizes and values that golden cases have. `shortest` is by name of an input of lengths."""

    def __init__(self, signature: Signature, cases: Sequence[Case], seed: int = 0, *, compared_steps: int = 0) -> None:
        """Read the golden cases. Raise ArtifactError if a case's inputs don't match the signature.

        Sequences may also have `compared_steps`, the longest length that was compared with eager, or 0 for none.
        """
        for number, case in enumerate(cases):
            _check_inputs(f"{GOLDEN}: case {number}", signature, case.inputs)
        self._signature, self._cases, self._seed, self._compared_steps = signature, cases, seed, compared_steps
        self._numbers = np.random.default_rng(seed)
        sizes = [signature.sizes_of({name: a.shape for name, a in case.inputs.items()}) for case in cases]
        self._range = {}
        for axis, spec in signature.sequence_axes.items():
            known = [size[axis] for size in sizes]
            # A model must take every size its manifest allows, even sizes below all golden cases.
            low, high = spec.limits.get(axis, (min(known), compared_steps))
            self._range[axis] = min(low, *known), max(min(compared_steps, high), *known)
        self.shortest = {
            spec.name: min(int(case.inputs[spec.name].min()) for case in cases if spec.name in case.inputs)
            for spec in signature.lengths.values()
        }
        self._values = {
            spec.name: np.concatenate([case.inputs[spec.name].ravel() for case in cases if spec.name in case.inputs])
            for spec in signature.inputs.values()
        }

    def of(self, signature: Signature) -> "TrialRequests":
        """Draw again, by the same cases, for another signature of the same tensors."""
        return TrialRequests(signature, self._cases, self._seed, compared_steps=self._compared_steps)

    def sizes(self, steps: int) -> dict[str, int]:
        """Return sizes of the sequence axes: as many steps, or as near to it as a golden case, or the proof, was."""
        return {axis: min(max(steps, low), high) for axis, (low, high) in self._range.items()}

    def rows(self, count: int) -> int:
        """Return as many rows, or as near to it as the model takes."""
        low, high = self._signature.main.limits.get(BATCH, (count, count))
        return min(max(count, low), high)

    def draw(
        self, batch: int, sizes: Mapping[str, int], *, lengths: int | str = "", outputs: Iterable[str] = ()
    ) -> CheckedRequest:
        """Draw a request of `batch` rows without optional inputs except lengths and states.

        `lengths` is "" for none, "drawn" for lengths from the shortest golden one on, "one long" for the shortest one
        in all rows but the first, or one number for all rows.
        """
        inputs: dict[str, Array] = {}
        for spec in self._signature.inputs.values():
            if spec.lengths_of:
                if lengths != "" or not spec.optional:
                    inputs[spec.name] = self._lengths(spec, batch, sizes[spec.lengths_of], lengths)
            else:
                inputs[spec.name] = self._draw(spec, spec.shape(batch, sizes))
        return as_request(self._signature, inputs, outputs)

    def _lengths(self, spec: TensorSpec, batch: int, size: int, lengths: int | str) -> Array:
        low = min(self.shortest[spec.name], size)
        if isinstance(lengths, int):
            return np.full(batch, min(max(lengths, low), size), spec.dtype)
        if lengths == "drawn":
            return self._numbers.integers(low, size, batch, endpoint=True).astype(spec.dtype)
        full = np.full(batch, size, spec.dtype)
        if lengths == "one long":
            full[1:] = low
        return full

    def _draw(self, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
        if spec.is_float and spec.low is not None and spec.high is not None:
            return self._numbers.uniform(spec.low, spec.high, shape).astype(spec.dtype)
        if spec.is_float:
            return self._numbers.normal(size=shape).astype(spec.dtype)
        if spec.bounds is not None:
            return self._numbers.integers(*spec.bounds, shape, dtype=spec.dtype)
        return self._numbers.choice(self._values[spec.name], shape)


def _check_inputs(where: str, signature: Signature, inputs: Mapping[str, Array]) -> None:
    """Refuse inputs that request validation would refuse for their names, dtypes, shapes or lengths."""
    specs = [spec for spec in signature.inputs.values() if spec.name in inputs]
    # Golden cases leave out optional inputs only if some inputs have recorded defaults.
    leave_out = any(spec.default is not None or spec.left_out_with for spec in signature.inputs.values())
    missing = [spec for spec in signature.inputs.values() if spec.name not in inputs]
    if len(specs) != len(inputs) or any(not (spec.optional and leave_out) for spec in missing):
        raise ArtifactError(f"{where} has the inputs {', '.join(inputs)}, but the model takes {signature}")
    shapes = {name: array.shape for name, array in inputs.items()}
    for spec in specs:
        if said := wrong_shape(spec, shapes[spec.name]):
            raise ArtifactError(f"{where}: {said}")
        if inputs[spec.name].dtype != spec.dtype:
            raise ArtifactError(f'{where}: input "{spec.name}" is {inputs[spec.name].dtype}; expected {spec}')
    batch, sizes = signature.batch_of(shapes), signature.sizes_of(shapes)
    for spec in specs:
        found, expected = list(shapes[spec.name]), list(spec.shape(batch, sizes))
        if found != expected:
            raise ArtifactError(
                f'{where}: input "{spec.name}" has shape {found}; expected {expected}, the shape in the other cases'
            )
    try:
        for axis, spec in signature.lengths.items():
            check_lengths(inputs[spec.name], spec, sizes[axis], signature.sequence_axes[axis])
    except InvalidRequest as error:
        raise ArtifactError(f"{where}: {error}") from error
