"""Compare shapes and values over many batches: TorchScript bit for bit, ONNX by kind of input.

A trained recurrence amplifies rounding, so each kind of input has a separate rule. Single steps are compared with
eager, value by value. Whole sequences are compared with float64, by root mean square over all their rows, unless they
are so close to eager that float64 can't matter.

Integers and booleans must be equal if they are decided: if eager and float64 agree, and eager doesn't change when its
inputs or weights are moved by an ulp. NaN and infinity must be at the same indices as in eager. All other values are
judged without them.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.flat_module import FlatModule
from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.parity.batches import LONG, LONG_AND_LOUD, InputBatch
from rnnserve.export.parity.reference import MOVED, MOVES, Reference
from rnnserve.export.parity.tolerances import EAGER_ROUNDING, LARGE_SUMS, UNDECIDED, ParityLimits
from rnnserve.export.tensors import Arrays, mask_before_lengths
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import coarseness, equally_non_finite, largest_difference, scale

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_] | None


@dataclasses.dataclass
class Spread:
    """Largest value and root mean square of differences over several batches, in the unit of the tensor."""

    largest: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, found: Array, expected: Array, mask: Mask = None) -> None:
        """Add the differences of two float arrays of the same shape, in float64, for values selected by the mask."""
        count = expected.size if mask is None else int(np.broadcast_to(mask, expected.shape).sum())
        if not count:
            return
        differences = np.asarray(masked(np.subtract(found, expected, dtype=np.float64), mask))
        self.largest = max(self.largest, float(differences.max()), -float(differences.min()))
        self.squares += float(np.square(differences, out=differences).sum())
        self.count += count

    @property
    def rms(self) -> float:
        """Root mean square of all differences. 0 if there are none."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0


@dataclasses.dataclass
class DistanceRow:
    """The distances of one kind of input, one tensor and one length."""

    kind: str = ""  # kind of input, for the limits of large sums
    found_eager: Spread = dataclasses.field(default_factory=Spread)
    eager_exact: Spread = dataclasses.field(default_factory=Spread)  # exact: in float64
    found_exact: Spread = dataclasses.field(default_factory=Spread)
    moved_exact: Spread = dataclasses.field(default_factory=Spread)  # of eager with inputs moved by an ulp
    scale: float = 1.0  # factor by which limits grow, see `rnnserve.protos.differences.scale`

    def measure(self, found: Array, eager: Array, exact: Array, mask: Mask = None) -> None:
        """Add the distances from float64 of one batch, for values selected by the mask."""
        self.eager_exact.add(eager, exact, mask)
        self.found_exact.add(found, exact, mask)
        self.scale = max(self.scale, scale(masked(exact, mask)) * LARGE_SUMS.get(self.kind, 1.0))

    @property
    def rounding(self) -> Spread:
        """The distance from eager to float64 due to rounding, over all runs on moved inputs, or else over one run."""
        return self.moved_exact if self.moved_exact.count else self.eager_exact

    @property
    def is_unmoved(self) -> bool:
        """Whether moved inputs changed nothing. Ids, for example, can't move."""
        return self.moved_exact.largest == self.eager_exact.largest and self.moved_exact.rms == self.eager_exact.rms

    def is_near(self, limits: ParityLimits, largest_scale: float) -> bool:
        """Whether the values pass for any float64 results, so that these need not be computed.

        They pass if the found values are within the floor of eager's, by the triangle inequality: |found - exact| <=
        |found - eager| + |eager - exact|. Half of eager's scale stands for float64's scale. If float64's scale were
        smaller, eager would be so far from it that the multiple alone would suffice.
        """
        floor = limits.sequence_rms_floor * max(1.0, largest_scale / 2)
        return limits.sequence_rms_factor >= 1 and self.found_eager.rms <= floor

    def allowed(self, limits: ParityLimits) -> float:
        """Return the allowed root mean square distance between the found values and float64."""
        return limits.sequence_rms_factor * self.rounding.rms + limits.sequence_rms_floor * self.scale

    def failure(self, limits: ParityLimits) -> str | None:
        """Judge the distance from float64 by eager's distance. Returns a message if it is too large."""
        found, eager, allowed = self.found_exact.rms, self.rounding.rms, self.allowed(limits)
        if found <= allowed:  # False for NaN
            return None
        return f"differs from float64 by {found:.3g} (root mean square), eager by {eager:.3g}: {allowed:.3g} allowed"


class Distances:
    """Distances between the found values, eager and float64, by kind of input, tensor and length."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], DistanceRow] = {}

    def row(self, kind: str, name: str, length: int) -> DistanceRow:
        """Return a row. It is empty at first."""
        return self.rows.setdefault((kind, name, length), DistanceRow(kind))

    def record(self, kinds: Collection[str] | None = None) -> list[manifest_pb2.Distance]:
        """Return the manifest's rows, for some kinds or for all, in the order of their creation."""
        return [
            manifest_pb2.Distance(
                input=kind,
                tensor=name,
                length=length,
                onnx_from_eager_max=row.found_eager.largest,
                onnx_from_eager_rms=row.found_eager.rms,
                eager_from_float64_max=row.eager_exact.largest,
                eager_from_float64_rms=row.eager_exact.rms,
                onnx_from_float64_max=row.found_exact.largest,
                onnx_from_float64_rms=row.found_exact.rms,
            )
            for (kind, name, length), row in self.rows.items()
            if row.found_eager.count and (kinds is None or kind in kinds)
        ]

    def amplified(self) -> list[str]:
        """Describe for which kinds and tensors rounding alone moves eager far from float64, one sentence each."""
        farthest: dict[tuple[str, str], tuple[float, int]] = {}
        for (kind, name, length), row in self.rows.items():
            distance = row.rounding.largest
            if distance > UNDECIDED * row.scale / LARGE_SUMS.get(kind, 1.0):
                farthest[kind, name] = max(farthest.get((kind, name), (0.0, 0)), (distance, length))
        return [
            f'{kind}: rounding alone moves "{name}" of the module itself by {distance:.2g} within {length:,} steps'
            for (kind, name), (distance, length) in farthest.items()
        ]


def masked(values: Array, mask: Mask) -> Array:
    """Replace values outside the mask with zeros."""
    return values if mask is None else np.where(mask, values, 0)


def differing_places(found: Array, eager: Array, mask: Mask, where: object) -> str:
    """Compare the positions and signs of NaN and infinity, and describe the first difference.

    If a guarded recurrence returns NaN in a step, all values of the step are NaN, though eager computes some of them
    from other gates. So if eager has a NaN in a row and step, the found values may have more.
    """
    wrong: npt.NDArray[np.bool_] = np.isfinite(found) != np.isfinite(eager)
    with np.errstate(invalid="ignore"):
        wrong |= ~np.isfinite(eager) & ~equally_non_finite(found, eager)
    is_nan = np.asarray(np.isnan(eager))
    beside = np.asarray(is_nan.any(axis=-1, keepdims=True)) if eager.ndim > 1 else is_nan
    wrong = wrong & ~(beside & np.isnan(found))
    if mask is not None:
        wrong = wrong & mask
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"at {list(at)} of {where} is {found[at]:.9g}, but eager returns {eager[at]:.9g}"


def finite_values(mask: Mask, *arrays: Array) -> tuple[Mask, list[Array]]:
    """Exclude values that aren't finite in every array: return a mask without them, and the arrays with zeros there."""
    if all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays):
        return mask, list(arrays)
    finite = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    cleaned = [np.where(finite, array, 0).astype(array.dtype) for array in arrays]
    return finite if mask is None else finite & mask, cleaned


_MEASURED_ROWS = 8
"""Rows of each kind and length that are always compared with float64, because the record contains the distance."""

_LOST = (
    "Is a small number lost before a logarithm or in a divisor? Do squares underflow or exponentials overflow? "
    "Larger numbers, such as 1e-6, and torch's own stable functions may help"
)
_PLACES = (
    "Is this an index from argmax, max or sort? If values are equal except for rounding, implementations choose "
    "different indices. A recurrent layer returns such values for a constant input. Return the values, or round them "
    "before choosing. If only values outside your users' range differ, bound the inputs: Floats(…, low=, high=)"
)
_LONG_ONLY = (
    "Only long rows differ, from {:,} steps on, because rounding accumulates over so many steps. A sum of all steps "
    "accumulates it, a mean does not. If your rows are shorter, set the highest number of steps, and longer rows are "
    'not compared: sizes={{"sequence": (1, 500)}}'
)
_LONG = 129  # steps; a script is run once per kind on batches this long or longer
_ROUNDING = 10.0  # multiple of the allowed distance up to which rounding is a possible explanation
_LONGEST_ERROR = 200  # characters


@dataclasses.dataclass
class _Worst:
    distance: float
    text: str
    batches: int = 0


class FailureCollector:
    """Failures in order of occurrence. For differing values, only the worst batch of each check and tensor is kept."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], _Worst] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def lines(self) -> list[str]:
        """Return all failures, a sentence each."""
        return [
            each.text + (f" (and in {each.batches - 1} other batches)" if each.batches > 1 else "")
            for each in self._failures.values()
        ]

    def add(self, text: str) -> None:
        """Add a sentence, unless it was added before."""
        self._failures.setdefault((text, ""), _Worst(0.0, text))

    def add_difference(self, check: str, name: str, distance: float, text: str) -> None:
        """Add a failure of one batch. For each check and tensor, the batch with the largest distance is reported."""
        known = self._failures.setdefault((check, name), _Worst(distance, text))
        known.batches += 1
        if distance > known.distance:
            known.distance, known.text = distance, text

    def compare_forms(self, check: str, name: str, found: Array, expected: Array, where: object) -> bool:
        """Compare dtypes and shapes, and add the differences. Returns whether the shapes are the same."""
        if found.dtype != expected.dtype:
            self.add(f'{check}, dtypes: "{name}" is {found.dtype}; expected {expected.dtype}')
        if found.shape != expected.shape:
            text = f'{check}, shapes: "{name}" of {where} is {found.shape}; expected {expected.shape}'
            self.add_difference(check + ", shapes", name, 0.0, text)
        return found.shape == expected.shape

    def compare_values(
        self,
        check: str,
        name: str,
        found: Array,
        expected: Array,
        limit: float,
        where: object,
        advice: str = "",
    ) -> None:
        """Compare arrays of the same shape value by value, and add the largest difference if it exceeds the limit."""
        worst = largest_difference(found, expected)
        if worst.distance <= limit:
            return
        text = (
            f'{check}: "{name}" at {list(worst.index)} of {where}: found {worst.found:.9g}, expected '
            f"{worst.expected:.9g}: {worst.distance:.3g} apart, {limit:.3g} allowed" + (f". {advice}" if advice else "")
        )
        self.add_difference(check, name, worst.distance, text)


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """A batch with the results of eager and ONNX. The other results are computed on demand, once."""

    batch: InputBatch
    eager: Arrays
    found: Arrays
    exact: Callable[[], Arrays]
    moved: Callable[[], list[Arrays]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Floats:
    """A float output of a run: finite arrays of the same shape, and a mask of the values to compare."""

    run: _Run
    name: str
    found: Array
    eager: Array
    mask: Mask

    def with_exact(self) -> tuple[Mask, Array, Array, Array]:
        """Return the mask and the values of ONNX, eager and float64."""
        mask, (found, eager, exact) = finite_values(self.mask, self.found, self.eager, self.run.exact()[self.name])
        return mask, found, eager, exact


class ValueComparison:
    """Compares groups of batches of the same kind and length.

    Attributes:
        distances: Distances between ONNX, eager and float64, so far.
        script_rounding: Cases in which only the last bits of a script differ, because it computes in another order.
        unanswered: Errors that the module itself raised, by kind of extreme values.
        non_finite: The first batch of each kind of values for which eager returns NaN or infinity, and the output.
        zeros_after_lengths: The outputs with lengths that so far were zero after each row's length.
        undecided: The integer outputs with differences that rounding alone can explain.
    """

    def __init__(
        self,
        model: DescribedModel,
        reference: Reference,
        limits: ParityLimits,
        failures: FailureCollector,
    ) -> None:
        """Start without batches."""
        self.distances = Distances()
        self.script_rounding = FailureCollector()
        self.unanswered: dict[str, str] = {}
        self.non_finite: dict[str, tuple[InputBatch, str]] = {}
        self.undecided: set[str] = set()
        self.zeros_after_lengths = {
            tensor.name for tensor in model.outputs if any(axis.name in model.lengths for axis in tensor.axes)
        }
        self._model, self._reference, self._limits, self._failures = model, reference, limits, failures
        self._is_refused = False  # whether onnxruntime refused to run a batch
        self._scripted: set[tuple[str, int]] = set()  # kinds and lengths on which the script was run
        self._too_far: dict[tuple[str, str, int], DistanceRow] = {}

    def compare(
        self,
        batches: Sequence[InputBatch],
        script: FlatModule | None,
        runner: OnnxRunner,
    ) -> None:
        """Compute batches of one kind and length in every way, compare the results, and judge them together."""
        runs = [run for batch in batches if (run := self._run(batch, script, runner)) is not None]
        rows: dict[str, DistanceRow] = {}
        for tensor in self._model.outputs:
            values = [each for run in runs if (each := self._compare_output(run, tensor)) is not None]
            if values:
                batch = values[0].run.batch
                rows[tensor.name] = self.distances.row(batch.kind, tensor.name, batch.length)
                self._measure(rows[tensor.name], values)
        self._run_eager_again(runs, rows)
        self._too_far |= {
            (batches[0].kind, name, batches[0].length): row
            for name, row in rows.items()
            if row.failure(self._limits) is not None
        }

    def judge(self) -> None:
        """After all batches, add the values too far from float64, with advice if only long rows fail by rounding."""
        may_be_long = not len(self._failures)
        for (kind, name, length), row in self._too_far.items():
            text = f'onnx, {kind}: "{name}" at sequence {length}: {row.failure(self._limits)}'
            excess = row.found_exact.rms / row.allowed(self._limits)
            self._failures.add_difference(f"onnx, {kind}, from float64", name, excess, text)
        are_rounding = [
            kind in (LONG, LONG_AND_LOUD) and row.found_exact.rms < _ROUNDING * row.allowed(self._limits)
            for (kind, _, _), row in self._too_far.items()
        ]
        if self._too_far and may_be_long and all(are_rounding):
            self._failures.add(_LONG_ONLY.format(min(length for _, _, length in self._too_far)))

    def _run(self, batch: InputBatch, script: FlatModule | None, runner: OnnxRunner) -> _Run | None:
        if self._is_refused and not batch.is_usual:  # report only once that the model doesn't run
            return None
        try:
            eager = self._reference.eager(batch.inputs)
        except Exception as error:  # the user's module may raise anything for values it isn't made for
            if batch.is_usual:
                raise
            said = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_ERROR]
            self.unanswered[batch.kind] = f"{batch.rows} rows of {batch.length:,} steps: {said}"
            return None
        key = batch.kind, min(batch.length, _LONG)
        if script is not None and (key not in self._scripted or batch.kind == "step"):
            self._scripted.add(key)
            self._compare_script(script, batch, eager)
        try:
            found = runner(batch.inputs)
        except RuntimeError as error:
            check = f"onnx, {batch.kind}"
            self._failures.add_difference(check, "", 0.0, f"{check}: {batch}: {error}")
            self._is_refused = True
            return None
        return _Run(
            batch,
            eager,
            found,
            exact=functools.cache(lambda: self._reference.exact(batch.inputs)),
            moved=functools.cache(lambda: list(self._reference.moved(batch.inputs))),
        )

    def _compare_script(self, script: FlatModule, batch: InputBatch, eager: Arrays) -> None:
        found = script.run(batch.inputs)
        for name, expected in eager.items():
            if self._failures.compare_forms("torchscript", name, found[name], expected, batch):
                # Infinities may be equal, but they have no difference.
                same = (found[name] == expected) | (np.isnan(found[name]) & np.isnan(expected))
                pair = [np.where(same, 0, array) for array in (found[name], expected)]
                is_rounding = bool((np.abs(np.subtract(*pair, dtype=np.float64)) <= EAGER_ROUNDING).all())
                failures = self.script_rounding if is_rounding and expected.dtype.kind == "f" else self._failures
                failures.compare_values("torchscript, bit for bit", name, pair[0], pair[1], 0.0, batch)

    def _compare_output(self, run: _Run, tensor: manifest_pb2.Tensor) -> _Floats | None:
        """Compare an output, except its floats' distance from float64. Return the floats if their form is right."""
        name, batch = tensor.name, run.batch
        if name not in run.found:  # `check_onnx` reports it
            return None
        found, eager = run.found[name], run.eager[name]
        if not self._failures.compare_forms("onnx", name, found, eager, batch):
            return None
        mask = mask_before_lengths(tensor, eager.shape, batch.inputs, self._model.lengths)
        if mask is not None and np.where(mask, 0, eager).any():
            self.zeros_after_lengths.discard(name)
        elif mask is not None:
            after = np.where(mask, 0, found)
            self._failures.compare_values("onnx, zeros after lengths", name, after, np.zeros_like(after), 0.0, batch)
        if eager.dtype.kind != "f":
            self._compare_integers(run, name, mask)
            return None
        if not np.isfinite(masked(eager, mask)).all():
            self.non_finite.setdefault(batch.kind, (batch, name))
        check = f"onnx, {batch.kind}"
        if differs := differing_places(found, eager, mask, batch):
            self._failures.add_difference(check, name, np.inf, f'{check}: "{name}" {differs}. {_LOST}')
        mask, (found, eager) = finite_values(mask, found, eager)
        floats = _Floats(run, name, found, eager, mask)
        if batch.kind in ("step", "sample"):
            least = getattr(self._limits, batch.kind) * coarseness(eager.dtype)
            pair = masked(found, mask), masked(eager, mask)
            if not largest_difference(*pair).distance <= least:
                self._failures.compare_values(check, name, *pair, self._limit_of_values(floats, least), batch)
        return floats

    def _limit_of_values(self, floats: _Floats, least: float) -> float:
        """Return the allowed distance of each value from eager, for single steps and the user's samples.

        It is a few ulps plus a multiple of eager's rounding, measured as its distance from float64, because wide layers
        round more. This distance may be small by luck if the module amplifies rounding: exp(30 * score) has thirty
        times the rounding of the score. So if a value exceeds the limit, eager is run again on inputs moved by an ulp.
        """
        mask, found, eager, exact = floats.with_exact()

        def rounding(values: Array) -> float:
            with np.errstate(invalid="ignore"):
                distance = np.abs(values - exact)
            counts = np.isfinite(distance) if mask is None else np.isfinite(distance) & mask
            return float(np.where(counts, distance, 0).max(initial=0.0))

        limit, factor, own = least * scale(exact), self._limits.sequence_rms_factor, rounding(eager)
        if largest_difference(masked(found, mask), masked(eager, mask)).distance > limit + factor * own:
            own = max([own, *(rounding(outputs[floats.name]) for outputs in floats.run.moved())])
        return limit + factor * own

    def _compare_integers(self, run: _Run, name: str, mask: Mask) -> None:
        """Compare integers or booleans, unless rounding alone can change them."""
        found, eager, batch = run.found[name], run.eager[name], run.batch
        differ = (found != eager) & (True if mask is None else mask)
        if not differ.any():
            return
        counts = (eager == run.exact()[name]) & (True if mask is None else mask)
        if (differ & counts).any():
            decided = counts.copy()
            for outputs in itertools.chain(run.moved(), self._reference.moved_weights(batch.inputs)):
                decided &= outputs[name] == eager
            if not np.array_equal(decided, counts):
                self.undecided.add(name)
            counts = decided
        advice = "" if eager.dtype.kind == "b" else _PLACES
        found, eager = masked(found, counts), masked(eager, counts)
        self._failures.compare_values(f"onnx, {batch.kind}, integers", name, found, eager, 0.0, batch, advice)

    def _measure(self, row: DistanceRow, values: Sequence[_Floats]) -> None:
        """Measure distances from float64: of a few rows if all values are near eager, otherwise of all rows."""
        for each in values:
            row.found_eager.add(each.found, each.eager, each.mask)
        measured, others = values, list[_Floats]()
        if self._reference.exact_by != MOVED:
            largest = max(scale(masked(each.eager, each.mask)) for each in values)
            if row.is_near(self._limits, largest):
                runs = _with_rows([each.run for each in values]) if values[0].run.batch.is_usual else []
                measured = [each for each in values if each.run in runs]
                others = [each for each in values if each.run not in runs]
        for some in (measured, others):
            # A few rows may be further from float64 than all rows together.
            if some is measured or row.failure(self._limits):
                for each in some:
                    mask, found, eager, exact = each.with_exact()
                    row.measure(found, eager, exact, mask)

    def _run_eager_again(self, runs: Sequence[_Run], rows: Mapping[str, DistanceRow]) -> None:
        """Run eager on moved inputs if values are too far from float64, unless ONNX is already known to be wrong.

        Some rows amplify rounding far more than others, and a single run of eager may be close to float64 there by
        luck. Without float64, moved inputs are the only way to judge. But ids and zeros can't be moved. For tiny
        inputs, a state grows within some steps until the moves no longer matter, while another runtime rounds in every
        step. So for unmoved rows and extreme values, the weights are moved as well.
        """

        def failing() -> list[DistanceRow]:
            return [row for row in rows.values() if row.failure(self._limits)]

        if not failing():
            if self._reference.exact_by == MOVED:  # the record contains the effect of rounding on eager
                self._move(_with_rows(runs), rows, self._reference.moved)
            return
        if len(self._failures):
            return
        for seeds in (MOVES[:2], MOVES[2:]):  # a pair of runs is often enough
            if failing():
                self._move(runs, rows, functools.partial(self._reference.moved, seeds=seeds))
        if any(not runs[0].batch.is_usual or row.is_unmoved for row in failing()):
            self._move(runs, rows, self._reference.moved_weights)

    def _move(
        self,
        runs: Sequence[_Run],
        rows: Mapping[str, DistanceRow],
        moved_runs: Callable[[Arrays], Iterable[Arrays]],
    ) -> None:
        for run in runs:
            for outputs in moved_runs(run.batch.inputs):
                for tensor in (tensor for tensor in self._model.outputs if tensor.name in rows):
                    moved = outputs[tensor.name]
                    mask = mask_before_lengths(tensor, moved.shape, run.batch.inputs, self._model.lengths)
                    mask, (moved, exact) = finite_values(mask, moved, run.exact()[tensor.name])
                    rows[tensor.name].moved_exact.add(moved, exact, mask)


def _with_rows(runs: Sequence[_Run]) -> Sequence[_Run]:
    """Return the first run with enough rows to measure, or all runs if none has."""
    return next(([run] for run in runs if run.batch.rows >= _MEASURED_ROWS), runs)
