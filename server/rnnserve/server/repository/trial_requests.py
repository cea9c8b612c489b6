"""Requests for trials of a model that has just been loaded: sizes and values are such as its golden cases have."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rnnserve.protos.artifact import GOLDEN, ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.shapes import wrong_shape, wrong_size
from rnnserve.server.validation.signature import Signature, TensorSpec
from rnnserve.server.validation.values import check_lengths

__all__ = ["TrialRequests", "as_request"]


def as_request(signature: Signature, inputs: Mapping[str, Array], outputs: Iterable[str] = ()) -> CheckedRequest:
    """Turn arrays of inputs, whose shapes are the model's, into a request.

    Args:
        signature: Signature of the model.
        inputs: Inputs by name.
        outputs: Names of the outputs to ask for; all where there are none.
    """
    names = tuple(outputs) or tuple(signature.outputs)
    shapes = {name: array.shape for name, array in inputs.items()}
    sizes = signature.sizes_of(shapes)
    longest = signature.longest(sizes, inputs, names)
    batch = signature.batch_of(shapes)
    return CheckedRequest(batch, sizes, longest, signature.steps_of(longest), inputs, names)


class TrialRequests:
    """Draws requests that a model takes: of sizes of its golden cases or of its proof, and of values of these cases.

    Attributes:
        shortest: By input that holds lengths, the shortest of the golden cases.
    """

    def __init__(self, signature: Signature, cases: Sequence[Case], seed: int = 0, *, compared_steps: int = 0) -> None:
        """Look at the golden cases.

        Args:
            signature: Signature of the model.
            cases: Golden cases of the version. A model that amplifies rounding has short ones only.
            seed: Seed of the values.
            compared_steps: Steps of the longest sequences that its proof compared with eager; 0 for none.

        Raises:
            ArtifactError: If a case's inputs are not those of the signature.
        """
        for number, case in enumerate(cases):
            _check_inputs(f"{GOLDEN}: case {number}", signature, case.inputs)
        self._signature, self._cases, self._seed, self._compared_steps = signature, cases, seed, compared_steps
        self._numbers = np.random.default_rng(seed)
        sizes = [signature.sizes_of({name: a.shape for name, a in case.inputs.items()}) for case in cases]
        self._range = {}
        for axis, spec in signature.sequence_axes.items():
            known = [size[axis] for size in sizes]
            # What a model says that it takes it is asked for, also where no golden case is as short.
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
        """Draw anew, by the same cases, for another signature of the same tensors."""
        return TrialRequests(signature, self._cases, self._seed, compared_steps=self._compared_steps)

    def sizes(self, steps: int) -> dict[str, int]:
        """Sizes of the sequence axes: as many steps, or as near to it as a golden case, or the proof, has been."""
        return {axis: min(max(steps, low), high) for axis, (low, high) in self._range.items()}

    def rows(self, count: int) -> int:
        """As many rows, or as near to it as the model takes."""
        low, high = self._signature.main.limits.get(BATCH, (count, count))
        return min(max(count, low), high)

    def draw(
        self, batch: int, sizes: Mapping[str, int], *, lengths: int | str = "", outputs: Iterable[str] = ()
    ) -> CheckedRequest:
        """Draw a request without optional inputs but lengths and states.

        Args:
            batch: Number of its rows.
            sizes: Sizes of its sequence axes.
            lengths: "" for none, "drawn" for one from the shortest golden length on each, "one long" for the
                shortest on all but the first, or one number for all.
            outputs: Names of the outputs to ask for; all where there are none.
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
    """Refuse inputs that validation would refuse for their names, dtypes, shapes or lengths."""
    specs = [spec for spec in signature.inputs.values() if spec.name in inputs]
    # Cases leave out what a request may, but only where inputs have defaults of their own.
    leave_out = any(spec.default is not None or spec.left_out_with for spec in signature.inputs.values())
    missing = [spec for spec in signature.inputs.values() if spec.name not in inputs]
    if len(specs) != len(inputs) or any(not (spec.optional and leave_out) for spec in missing):
        raise ArtifactError(f"{where} has the inputs {', '.join(inputs)}; the model takes {signature}")
    main = signature.main if signature.main.name in inputs else specs[0]
    wrong = [wrong_shape(spec, inputs[spec.name].shape) for spec in specs]
    wrong += [
        wrong_size(spec, inputs[spec.name].shape, axis, sets, inputs[sets.name].shape)
        for spec in specs
        for axis, sets in ((BATCH, main), *((axis, signature.sequence_axes[axis]) for axis in spec.sequence_axes))
        if not any(wrong)
    ]
    for spec in specs:
        if inputs[spec.name].dtype != spec.dtype:
            wrong.append(f'input "{spec.name}" is {inputs[spec.name].dtype}; it is {spec}')
    said = next((one for one in wrong if one), None)
    if said:
        raise ArtifactError(f"{where}: {said}")
    sizes = signature.sizes_of({name: array.shape for name, array in inputs.items()})
    try:
        for axis, spec in signature.lengths.items():
            check_lengths(inputs[spec.name], spec, sizes[axis], signature.sequence_axes[axis])
    except InvalidRequest as error:
        raise ArtifactError(f"{where}: {error}") from error
