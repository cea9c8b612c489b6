"""Golden cases of a model: inputs, with eager PyTorch's results in float32 and in float64.

Every server computes the cases again before it serves the model. Among the kinds of cases (see
`rnnserve.protos.golden`), whole sequences need care. A trained recurrence amplifies rounding on some sequences,
especially on random ones, and then no tight limit holds. So the cases use only calm rows if possible: rows whose
rounding errors stay small. Besides ordinary values, there are rows of extreme values such as zeros, constants and
silence.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.errors import ExportError
from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.parity.batches import EXTREMES
from rnnserve.export.parity.reference import MOVED, Reference, Truth
from rnnserve.export.parity.tolerances import CALM, ULP, limits_for, replay_limits
from rnnserve.export.tensors import (
    Arrays,
    Tensors,
    axis_of,
    draw_inputs,
    mask_before_lengths,
    sizes_of,
    stack_rows,
    take_row,
)
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL
from rnnserve.protos.differences import coarseness, distances, scale
from rnnserve.protos.golden import Case, Inference, replay
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import fill_left_out

_Array = npt.NDArray[Any]
_Inputs = Mapping[str, _Array]

_STEPS = (1, 2, 5, 8)
_RANDOM = ((1, 16), (2, 64), (5, 33), (4, 48))
_SAMPLES = (1, 2, 4, 3)
"""Batch sizes of steps and samples, and (batch, sequence) sizes. They cover one row, and even and odd numbers."""

_EXTREME_ROWS, _EXTREME_STEPS = 4, 16
"""Candidate rows of extreme values, and their length in steps."""

_LEFT_OUT = 2
"""Number of cases of each kind that are repeated without the optional inputs."""

_CANDIDATES, _AT_ONCE = 64, 8
"""Most candidate rows, and how many to run at once before counting the calm ones."""

_NEARLY = 4.0
"""Factor within which a larger size counts as nearly as calm, if no size has calm rows."""

_MOVES = 4
"""Number of float64 runs on slightly moved inputs."""

_LIMIT = CALM * limits_for("cpu").sequence_largest
"""The most that rounding may move any value of a calm row."""


@dataclasses.dataclass(frozen=True)
class GoldenCases:
    """Golden cases, and the most that rounding moves a value in them, in the unit of limits."""

    cases: Sequence[Case]
    step: float  # for single steps
    sequence: float  # for whole sequences

    def failures(self, model: ModelDescription, compute: Inference) -> list[str]:
        """Compute the cases on the CPU as servers do, with omitted inputs filled in. Returns the differences."""
        limits = next(at for at in replay_limits(step=self.step, sequence=self.sequence) if at.device == "cpu")
        return replay(self.cases, filling(model.inputs, model.defaults, compute), limits)


def filling(inputs: Tensors, defaults: _Inputs, compute: Inference) -> Inference:
    """Return a function that fills in omitted inputs as servers do, and then computes."""
    return lambda given: compute(fill_left_out(inputs, given, defaults, sizes_of(inputs, given)))


class Rounding:
    """Measures how much rounding changes a model's results.

    The results of eager PyTorch and of another runtime are two samples, but a row's rounding error may be small in both
    by luck. Further samples are float64 results on inputs moved by as much as float32 rounds.
    """

    def __init__(
        self,
        model: ModelDescription,
        reference: Truth,
        compute: Inference,
        random: np.random.Generator,
        *,
        rows_apart: bool = False,
    ) -> None:
        self._model, self._reference, self._compute, self._random = model, reference, compute, random
        self._rows_apart = rows_apart  # whether a row's results depend on no other row of its batch

    def distances(self, inputs: _Inputs) -> npt.NDArray[np.float64]:
        """Measure the largest change of any value in each row: (2, batch), in the unit of limits.

        `[0]` is for choosing rows. It also counts the ONNX model's results as a sample. If an integer differs, the
        distance is infinite: the position of a maximum among values that differ only by rounding can't be a golden
        result. `[1]` is for setting limits. It excludes the ONNX model's results, because a limit must not widen with
        the results that it judges.
        """
        exact, eager = self._reference.exact(inputs), self._reference.eager(inputs)
        samples = [eager, *self._moved(inputs)]
        first = self._model.outputs[0]
        furthest = np.zeros((2, exact[first.name].shape[axis_of(first, BATCH) or 0]))
        for number, sample in enumerate((*samples, self._compute(inputs))):
            for tensor in self._model.outputs:
                found, expected = sample[tensor.name], exact[tensor.name]
                if found.shape == expected.shape:
                    by_row = self._by_row(tensor, inputs, _distance(found, expected, eager[tensor.name]))
                    counts = 2 if expected.dtype.kind == "f" and number < len(samples) else 1
                    furthest[:counts] = np.maximum(furthest[:counts], by_row)
        return furthest

    def of_eager(self, case: Case) -> float:
        """Measure the distance of a case's eager floats from float64: a row's bits depend on the rest of its batch."""
        pairs = ((tensor, case.eager[tensor.name], case.float64[tensor.name]) for tensor in self._model.outputs)
        floats = ((tensor, _distance(eager, exact, eager)) for tensor, eager, exact in pairs if exact.dtype.kind == "f")
        return max((float(self._by_row(tensor, case.inputs, each).max()) for tensor, each in floats), default=0.0)

    def _by_row(self, tensor: manifest_pb2.Tensor, inputs: _Inputs, distance: _Array) -> _Array:
        mask = mask_before_lengths(tensor, distance.shape, inputs, self._model.lengths)
        distance = distance if mask is None else np.where(mask, distance, 0)
        at = axis_of(tensor, BATCH) or 0
        by_row: _Array = np.moveaxis(distance, at, 0).reshape(distance.shape[at], -1).max(axis=1)
        return by_row

    def _moved(self, inputs: _Inputs) -> list[Arrays]:
        """Compute in float64 on copies of a batch, moved randomly by up to one float32 step near 1.

        If rows are apart, all copies share one call, which takes little longer than one copy. Without float64, the
        samples are the reference's own.
        """
        if self._reference.exact_by == MOVED:
            return list(self._reference.moved(inputs))
        random, exact = self._random, self._reference.exact
        copies = [
            {
                name: array + ULP * random.uniform(-1, 1, array.shape) if array.dtype.kind == "f" else array
                for name, array in inputs.items()
            }
            for _ in range(_MOVES)
        ]
        if not self._rows_apart:
            return list(map(exact, copies))
        at = {tensor.name: axis_of(tensor, BATCH) or 0 for tensor in (*self._model.inputs, *self._model.outputs)}
        found = exact({name: np.concatenate([copy[name] for copy in copies], at[name]) for name in inputs})
        parts = {name: np.split(array, _MOVES, at[name]) for name, array in found.items()}
        return [{name: part[number] for name, part in parts.items()} for number in range(_MOVES)]


def _distance(found: _Array, expected: _Array, eager: _Array) -> _Array:
    """Return the distances from float64 in the unit of limits. An integer that differs from eager's is at infinity."""
    if expected.dtype.kind != "f":
        return np.where(found == eager, 0.0, np.inf)
    coarse = coarseness(found.dtype) if found.dtype.kind == "f" else 1
    unit: _Array = distances(found, expected) / (scale(expected) * coarse)
    return unit


def make_cases(
    model: ModelDescription, reference: Truth, compute: Inference, *, seed: int = 0, rows_apart: bool = False
) -> GoldenCases:
    """Make the golden cases. The same model and seed lead to the same cases.

    The verified ONNX model is used only to find calm rows. `rows_apart` means that a row's results depend on no other
    row of its batch.
    """
    random = np.random.default_rng(seed)
    rounding = Rounding(model, reference, compute, random, rows_apart=rows_apart)
    drawing = _Drawing(model, reference, rounding, random)
    drawn = [("step", *each) for each in drawing.steps()]
    drawn += [("sample", *each) for each in drawing.samples()]
    # Extreme rows have the kind "random", so that older servers can read them.
    drawn += [("random", *each) for each in (*drawing.sequences(), *drawing.extremes())]
    cases, furthest = [], {True: 0.0, False: 0.0}
    for kind, inputs, moved in drawn:
        cases.append(Case(kind, inputs, eager=reference.eager(inputs), float64=reference.exact(inputs)))
        furthest[kind == "step"] = max(furthest[kind == "step"], moved, rounding.of_eager(cases[-1]))
    return GoldenCases(cases, step=furthest[True], sequence=furthest[False])


def verify_cases(model: DescribedModel, runner: OnnxRunner, reference: Reference, *, rows_apart: bool) -> GoldenCases:
    """Make a model's golden cases, some without optional inputs, and check them on its ONNX model as servers do."""
    with evaluating(model.module):
        golden = make_cases(model, reference, runner, rows_apart=rows_apart)
        golden = _with_left_out(golden, model, reference, runner)
    failures = golden.failures(model, runner)
    if failures:
        raise ExportError(
            f"{MODEL} does not reproduce the golden results, so nothing was published: {'; '.join(failures)}"
        )
    return golden


def _with_left_out(golden: GoldenCases, model: DescribedModel, reference: Reference, compute: Inference) -> GoldenCases:
    """Add cases without the inputs that have recorded defaults. Eager's results come from forward's own defaults."""
    own = {
        tensor.name
        for tensor in model.inputs
        if tensor.default == manifest_pb2.DEFAULT_RECORDED or tensor.left_out_with
    }
    by_forward = {name for tensors in reference.module.call.optional if own.intersection(tensors) for name in tensors}
    names = by_forward | model.defaults.keys()  # plus initial states from the description
    if not names:
        return golden
    rounding = Rounding(model, reference, compute, np.random.default_rng(0))
    furthest = {"step": golden.step, "random": golden.sequence}
    cases = list(golden.cases)
    for kind in furthest:
        for case in [case for case in golden.cases if case.kind == kind][:_LEFT_OUT]:
            inputs = {name: array for name, array in case.inputs.items() if name not in names}
            if not inputs:  # the number of rows would be unknown
                continue
            filled = fill_left_out(model.inputs, inputs, model.defaults, sizes_of(model.inputs, inputs))
            furthest[kind] = max(furthest[kind], float(rounding.distances(filled)[1].max()))
            given = {name: array for name, array in filled.items() if name not in by_forward}
            cases.append(Case(kind, inputs, eager=reference.eager(given), float64=reference.exact(filled)))
    return GoldenCases(cases, step=furthest["step"], sequence=furthest["random"])


class _Row(NamedTuple):
    arrays: Arrays  # batch of 1
    chosen_by: float
    moved: float  # change by rounding, for the limits


def _calm(rows: Sequence[_Row], count: int) -> list[_Row]:
    """Take the first calm rows, at most `count`. If no row is calm, take the calmest."""
    calm = [row for row in rows if row.chosen_by <= _LIMIT]
    return calm[:count] or [min(rows, key=lambda row: row.chosen_by)]


class _Drawing:
    """Draws inputs, from calm rows except for single steps. Each comes with the most that rounding moves a value."""

    def __init__(
        self, model: ModelDescription, reference: Truth, rounding: Rounding, random: np.random.Generator
    ) -> None:
        self._model, self._reference, self._rounding, self._random = model, reference, rounding, random
        self._least, self._most = model.sizes[BATCH]
        self._axes = model.sequence_axes

    def steps(self) -> Iterator[tuple[Arrays, float]]:
        """Draw single steps, if the model accepts them."""
        if all(self._model.sizes[axis][0] <= 1 for axis in self._axes):
            for batch in sorted({min(max(size, self._least), self._most) for size in _STEPS}):
                inputs = self._draw({**dict.fromkeys(self._axes, 1), BATCH: batch})
                yield inputs, float(self._rounding.distances(inputs)[1].max())

    def samples(self) -> Iterator[tuple[Arrays, float]]:
        """Take calm rows from the user's samples. Each case uses one sample, and the cases spread over all samples."""
        samples = self._model.samples
        chosen = dict.fromkeys(int(at) for at in np.linspace(0, len(samples) - 1, len(_SAMPLES))) if samples else {}
        for number, batch in zip(chosen, _SAMPLES, strict=False):
            sizes = sizes_of(self._model.inputs, samples[number])
            yield self._stacked(_calm(self._rows(samples[number], sizes[BATCH]), batch), sizes)

    def sequences(self) -> Iterator[tuple[Arrays, float]]:
        """Draw batches of calm rows. If there are too few calm rows, draw shorter sequences."""
        for number, (batch, length) in enumerate(_RANDOM if self._axes else ()):
            sizes = {
                axis: int(np.clip(length + 3 * at * (number + 1), *self._model.sizes[axis]))
                for at, axis in enumerate(self._axes)
            }
            yield self._calm_batch(min(max(batch, self._least), self._most), sizes)

    def extremes(self) -> Iterator[tuple[Arrays, float]]:
        """Draw two calm rows for each kind of extreme values, if calm rows exist and the results are finite.

        Limits grow with the largest value in all cases, so kinds with unusually large results are skipped.
        """
        sizes = {
            axis: int(np.clip(_EXTREME_STEPS + 3 * at, *self._model.sizes[axis])) for at, axis in enumerate(self._axes)
        }
        batch, count = int(np.clip(_EXTREME_ROWS, self._least, self._most)), max(2, self._least)
        for extreme in EXTREMES.values():
            usual = self._draw({**sizes, BATCH: batch})
            if not self._axes or not extreme.applies(self._model.inputs):
                continue
            inputs = extreme.of(self._model.inputs, usual, self._random)
            with contextlib.suppress(Exception):  # extreme values can raise any error, which the verification reports
                if not _is_usual(self._reference.exact(inputs)):
                    continue
                calm = _calm(self._rows(inputs, batch), count)
                if calm[0].chosen_by <= _LIMIT:
                    yield self._stacked(_repeated(calm, max(len(calm), self._least)), sizes)

    def _calm_batch(self, batch: int, sizes: dict[str, int]) -> tuple[Arrays, float]:
        """Draw a batch of calm rows.

        If every sequence axis has lengths, the rows have different lengths. One row, at a random position, has full
        length.
        """
        lengths = self._model.lengths
        if lengths.keys() < sizes.keys():
            rows = self._calm_rows(batch, sizes)
            return self._stacked(rows, sizes_of(self._model.inputs, rows[0].arrays))
        (longest,) = self._calm_rows(1, sizes)
        sizes = sizes_of(self._model.inputs, longest.arrays)
        rows = []
        for _ in range(batch - 1):
            limits = {axis: (self._model.sizes[axis][0], sizes[axis]) for axis in lengths}
            of_row = {axis: int(self._random.integers(*limit, endpoint=True)) for axis, limit in limits.items()}
            rows += self._calm_rows(1, of_row)
        rows.insert(int(self._random.integers(batch)), longest)
        return self._stacked(rows, sizes)

    def _calm_rows(self, count: int, sizes: dict[str, int]) -> list[_Row]:
        """Draw rows of one size. Halve the size until enough rows are calm.

        If no size has calm rows, take the largest size at which the calmest row is nearly as calm as at the smallest.
        """
        candidates, tried = min(_CANDIDATES, self._most), list[list[_Row]]()
        while True:
            drawn = self._draw({**sizes, BATCH: candidates})
            calm = _calm(self._rows(drawn, min(max(_AT_ONCE, self._least), candidates)), count)
            if len(calm) < count or calm[0].chosen_by > _LIMIT:
                calm = _calm(self._rows(drawn, candidates), count)
            smaller = {axis: max(self._model.sizes[axis][0], size // 2) for axis, size in sizes.items()}
            tried.append(calm)
            is_calm = calm[0].chosen_by <= _LIMIT
            if smaller == sizes and not is_calm:
                calm = next(rows for rows in tried if rows[0].chosen_by <= _NEARLY * calm[0].chosen_by)
            if smaller == sizes or (is_calm and len(calm) >= count):
                return _repeated(calm, count)
            sizes = smaller

    def _draw(self, sizes: Mapping[str, int]) -> Arrays:
        return draw_inputs(self._model.inputs, self._random, sizes, bounded_states=True)

    def _rows(self, arrays: Mapping[str, _Array], count: int) -> list[_Row]:
        """Cut the first rows out of arrays, and measure how much rounding changes each of them."""
        rows = [take_row(self._model.inputs, arrays, row) for row in range(count)]
        sizes = sizes_of(self._model.inputs, rows[0])
        furthest = self._rounding.distances(stack_rows(self._model.inputs, rows, sizes))
        return [_Row(row, *map(float, of_row)) for row, of_row in zip(rows, furthest.T, strict=True)]

    def _stacked(self, rows: Sequence[_Row], sizes: Mapping[str, int]) -> tuple[Arrays, float]:
        stacked = stack_rows(self._model.inputs, [row.arrays for row in rows], sizes)
        return stacked, max(row.moved for row in rows)


def _repeated(rows: Sequence[_Row], count: int) -> list[_Row]:
    return [rows[number % len(rows)] for number in range(count)]


def _is_usual(exact: _Inputs) -> bool:
    """Whether results are finite and not unusually large."""
    floats = [array for array in exact.values() if array.dtype.kind == "f"]
    return all(np.isfinite(array).all() and scale(array) == 1 for array in floats)
