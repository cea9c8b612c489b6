"""Comparing shapes and values over many batches: TorchScript bit for bit, ONNX by kind of input.

A trained recurrence amplifies rounding, so each kind of input has a rule of its own (docs/lab/findings.md, "Comparing
recurrent models"): single steps are compared with eager, value by value; whole sequences with float64, by root mean
square over all their rows; where they are within a few ulps of eager, that they pass is known without it
(`near_eager`). Integers and booleans are equal wherever they are decided: eager and float64 agree about them,
and so does eager when its inputs or weights are moved by an ulp; of extreme values `chosen_places` decides, too. NaN
and infinity are in the same places as in eager; all else is judged without them.
"""

import collections
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.flat_module import FlatModule
from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.parity.chosen_places import ChosenPlaces
from rnnserve.export.parity.distances import Distances
from rnnserve.export.parity.eager_again import EagerAgain
from rnnserve.export.parity.extreme_batches import LONG, LONG_AND_LOUD
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import LENGTHS, USUAL, InputBatch, is_large
from rnnserve.export.parity.label_comparison import Labelled, judge_labels, rows_of
from rnnserve.export.parity.near_eager import MEASURED_ROWS, near_eager
from rnnserve.export.parity.non_finite_places import differing_places, without_non_finite
from rnnserve.export.parity.onnx_runner import OnnxRunner
from rnnserve.export.parity.reference import MOVED, Reference
from rnnserve.export.parity.script_comparison import compare_script
from rnnserve.export.parity.step_limits import limit_of
from rnnserve.export.parity.tolerances import ParityLimits
from rnnserve.export.tensor_shapes import mask_before_lengths
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["ValueComparison"]

_Array = npt.NDArray[Any]

_LOST = (
    "Is a small number lost before a logarithm or in a divisor, or do squares underflow or exponentials overflow? "
    "Larger ones, as 1e-6, and torch's own stable functions may help"
)
_PLACES = (
    "Is it a place, of argmax, max or sort? Of values that are equal but for rounding, as a recurrent layer gives for "
    "a constant input, no two implementations choose the same one: return the values, round before choosing, or, where "
    "only louder values than those of users differ, say what these are: Floats(…, low=, high=)"
)
_LONG_ONLY = (
    "Only long rows differ, from {:,} steps on, by the rounding that so many steps add up: a sum of all steps does, "
    "where a mean does not. If no row of yours is as long, say so, and it is not compared: name the axis, and the most "
    'steps, as sizes={{"sequence": (1, 500)}}'
)
_ROUNDING = 10.0  # times what is allowed, below which rounding may explain a distance
_LONGEST_ERROR = 200  # characters


class ValueComparison:
    """Compares batch by batch, and judges at the end what needs many samples.

    Attributes:
        distances: Between ONNX, eager and float64, so far.
        refused: Whether onnxruntime refused to run any batch.
        unanswered: What the module itself raised, by kind of extreme values.
        non_finite: The first batch of each kind of values for which eager gives NaN or infinity, and the output.
        zeros_after_lengths: The outputs with lengths that were zeros after each row's length so far.
        undecided: The integer outputs that differ somewhere, and that rounding alone changes there.
    """

    def __init__(
        self,
        model: DescribedModel,
        reference: Reference,
        limits: ParityLimits,
        failures: FailureCollector,
        places: ChosenPlaces | None = None,
    ) -> None:
        """Start with no batches.

        Args:
            model: Model that is compared.
            reference: Module of the model.
            limits: Limits for the device that the ONNX model runs on.
            failures: Collector to which differences are added.
            places: Knows which places are as good as eager's for extreme values; None if all others are wrong.
        """
        self.distances = Distances()
        self.refused = False
        self.unanswered: dict[str, str] = {}
        self.non_finite: dict[str, tuple[InputBatch, str]] = {}
        self.undecided: set[str] = set()
        self._model = model
        self._lengths = model.lengths
        self._reference = reference
        self._limits = limits
        self._failures = failures
        self._places = places
        self._batches: list[InputBatch] = []
        self._measured: collections.Counter[tuple[str, int]] = collections.Counter()  # rows by kind and length
        self._unmeasured: dict[tuple[str, str, int], list[tuple[InputBatch, OnnxRunner]]] = {}
        self._scripted: set[tuple[str, int]] = set()  # kinds and lengths that the script was run on
        self._labelled: list[Labelled] = []
        self.zeros_after_lengths = {
            tensor.name for tensor in model.outputs if any(axis.name in self._lengths for axis in tensor.axes)
        }

    def compare(
        self,
        batch: InputBatch,
        script: tuple[FlatModule, ModuleInterface] | None,
        runner: OnnxRunner | None,
    ) -> None:
        """Compute a batch in every way and compare the results.

        Args:
            batch: Inputs of the model.
            script: Compared with eager, bit for bit; None if there is none.
            runner: The ONNX model; None if it cannot be loaded.
        """
        try:
            eager = self._reference.eager(batch.inputs)
        except Exception as error:  # whatever the user's module raises for values that it may not be made for
            if batch.is_usual:
                raise
            self.unanswered[batch.kind] = f"{batch.rows} rows of {batch.length:,} steps: {_said(error)}"
            return
        if script is not None and self._is_scripted(batch):
            compare_script(*script, batch, eager, self._failures)
        if runner is None:
            return
        try:
            found = runner(batch.inputs)
        except RuntimeError as error:
            self._failures.add_refusal(f"onnx, {batch.kind}", error, batch)
            self.refused = True
            return
        self._batches.append(batch)
        # Once for all outputs, if at all.
        exact = functools.cache(lambda: self._reference.exact(batch.inputs))
        moved = functools.cache(lambda: list(self._reference.moved(batch.inputs)))
        is_measured = self._is_measured(batch)
        for tensor in self._model.outputs:
            if tensor.name not in found:  # `check_onnx` reports it
                continue
            values = found[tensor.name], eager[tensor.name]
            if not is_measured and tensor.name != self._model.labelled and self._is_near(batch, tensor, *values):
                self._unmeasured.setdefault((batch.kind, tensor.name, batch.length), []).append((batch, runner))
            else:
                self._compare_onnx(batch, tensor, *values, exact()[tensor.name], moved)

    def _is_scripted(self, batch: InputBatch) -> bool:
        """Whether the script is run on a batch.

        The script of a large module is run on single steps, and on the first batch of each kind and length.
        """
        key = batch.kind, min(batch.length, LENGTHS[-1] + 1)
        is_first = key not in self._scripted
        self._scripted.add(key)
        return is_first or batch.kind == "step" or not is_large(self._model.module)

    def _is_measured(self, batch: InputBatch) -> bool:
        """Whether a batch is compared with float64 in any case."""
        if batch.kind in ("step", "sample") or self._reference.exact_by == MOVED:
            return True
        key = batch.kind, batch.length
        if batch.rows < MEASURED_ROWS <= self._model.sizes[BATCH][1] - 2:
            return False  # of the sizes of every third batch one has enough rows at once, which takes half the time
        before = self._measured[key]
        self._measured[key] += batch.rows
        return batch.is_usual and before < MEASURED_ROWS

    def _is_near(self, batch: InputBatch, tensor: manifest_pb2.Tensor, found: _Array, eager: _Array) -> bool:
        """Whether an output passes whatever float64 gives; then it is compared."""
        if found.shape != eager.shape or found.dtype != eager.dtype:
            return False
        mask = self._mask(tensor, eager, batch.inputs)
        away = near_eager(self._limits, found, eager, mask)
        if away is None:
            return False
        if mask is not None:
            self._compare_after_lengths(batch, tensor.name, found, eager, mask)
        self.distances.add_near(batch.kind, tensor.name, batch.length, away)
        return True

    def judge(self) -> None:
        """Judge distances from float64, and labels, after every batch was compared.

        Few rows amplify rounding far more than the others, and in these a single run of eager may be close to float64
        by luck. So where ONNX is further from float64 than eager, eager is run again on moved inputs; unless ONNX is
        already known to be wrong. Where there is no float64, moved inputs are all there is to judge by. Of ids and
        zeros nothing moves, and beside the state that tiny inputs grow to in some steps, moves of these are nothing, as
        another runtime's rounding in each step is not: there, and of extreme values, weights are moved, too.
        """
        rows = self.distances.rows
        for key in [key for key, row in rows.items() if row.failure(self._limits)]:
            self._measure_all(*key)
        if not len(self._failures):
            again = EagerAgain(self._model, self._reference, self._limits, self.distances)
            for (kind, length), batches in self._batches_by_length().items():
                again.move_inputs(batches)
                failing = [row for key, row in rows.items() if key[::2] == (kind, length) and row.failure(self._limits)]
                if any(kind not in USUAL or row.is_unmoved for row in failing):
                    again.move_weights(batches)
        self._fail_rows()
        for labelled in self._labelled:
            judge_labels(labelled, rows, self._limits, self._failures)

    def _fail_rows(self) -> None:
        """Say which rows are too far from float64; of long ones, by what may be rounding, what to do."""
        may_be_long = not len(self._failures)
        failed = {key: row for key, row in self.distances.rows.items() if row.failure(self._limits)}
        for (kind, name, length), row in failed.items():
            self._failures.add(f'onnx, {kind}: "{name}" at sequence {length}: {row.failure(self._limits)}')
        are_rounding = [
            kind in (LONG, LONG_AND_LOUD) and row.found_exact.rms < _ROUNDING * row.allowed(self._limits)
            for (kind, _, _), row in failed.items()
        ]
        if failed and may_be_long and all(are_rounding):
            self._failures.add(_LONG_ONLY.format(min(length for _, _, length in failed)))

    def _measure_all(self, kind: str, name: str, length: int) -> None:
        """Compare with float64 what was not: few rows may lie further from it than all do."""
        for batch, runner in self._unmeasured.pop((kind, name, length), ()):
            found, eager, exact = (
                results[name]
                for results in (
                    runner(batch.inputs),
                    self._reference.eager(batch.inputs),
                    self._reference.exact(batch.inputs),
                )
            )
            tensor = next(tensor for tensor in self._model.outputs if tensor.name == name)
            mask, (found, eager, exact) = without_non_finite(
                self._mask(tensor, eager, batch.inputs), found, eager, exact
            )
            self.distances.add_exact(kind, name, length, found=found, eager=eager, exact=exact, mask=mask)

    def _batches_by_length(self) -> dict[tuple[str, int], list[InputBatch]]:
        """Give the batches by their kind and length, of those whose distances are judged."""
        judged = {(kind, length): list[InputBatch]() for kind, _, length in self.distances.rows}
        for batch in self._batches:
            if (batch.kind, batch.length) in judged:
                judged[batch.kind, batch.length].append(batch)
        return judged

    def _mask(self, tensor: manifest_pb2.Tensor, values: _Array, inputs: Arrays) -> npt.NDArray[np.bool_] | None:
        return mask_before_lengths(tensor, values.shape, inputs, self._lengths)

    def _compare_onnx(
        self,
        batch: InputBatch,
        tensor: manifest_pb2.Tensor,
        found: _Array,
        eager: _Array,
        exact: _Array,
        moved: Callable[[], list[Arrays]],
    ) -> None:
        """Compare one output: arrays of one shape, ONNX's and eager's of its dtype and float64's."""
        name = tensor.name
        if not self._failures.compare_forms("onnx", name, found, eager, batch):
            return
        mask = self._mask(tensor, eager, batch.inputs)
        if mask is not None:
            self._compare_after_lengths(batch, name, found, eager, mask)
        if eager.dtype.kind != "f":
            self._compare_integers(
                batch, name, found, eager, (eager == exact) & (True if mask is None else mask), moved
            )
            return
        mask, (found, eager, exact) = self._finite_values(batch, name, found, eager, exact, mask)
        limit = limit_of(
            self._limits,
            batch.kind,
            found=found,
            eager=eager,
            exact=exact,
            mask=mask,
            moved=_values_of(name, moved),
        )
        counted = (found, eager) if mask is None else (np.where(mask, found, 0), np.where(mask, eager, 0))
        self._failures.compare_values(f"onnx, {batch.kind}", name, *counted, limit, batch)
        self.distances.add(batch.kind, name, batch.length, found=found, eager=eager, exact=exact, mask=mask)
        if name == self._model.labelled:
            self._labelled.append(Labelled(name, batch, *rows_of((found, eager, exact), mask)))

    def _compare_integers(
        self,
        batch: InputBatch,
        name: str,
        found: _Array,
        eager: _Array,
        counts: npt.NDArray[np.bool_],
        moved: Callable[[], list[Arrays]],
    ) -> None:
        """Compare integers or booleans wherever rounding alone does not change them.

        Of values that are equal but for rounding, such as the states that a recurrent layer converges to, no two
        implementations choose the same place.

        Args:
            batch: Inputs of the model.
            name: Name of the output.
            found: ONNX's values.
            eager: Eager's values, of the same shape.
            counts: The values that are before each row's length, and the same in float64.
            moved: Gives eager's results for moved inputs.
        """
        if np.any((found != eager) & counts):
            decided = counts.copy()
            for outputs in itertools.chain(moved(), self._reference.moved_weights(batch.inputs)):
                decided &= outputs[name] == eager
            if self._places is not None and not batch.is_usual:
                decided &= ~self._places.are_tied(batch.inputs, name, found, eager, self._limits) | (found == eager)
            if not np.array_equal(decided, counts):
                self.undecided.add(name)
            counts = decided
        advice = "" if eager.dtype.kind == "b" else _PLACES
        found, eager = (np.where(counts, values, 0) for values in (found, eager))
        self._failures.compare_values(f"onnx, {batch.kind}, integers", name, found, eager, 0.0, batch, advice)

    def _finite_values(
        self,
        batch: InputBatch,
        name: str,
        found: _Array,
        eager: _Array,
        exact: _Array,
        mask: npt.NDArray[np.bool_] | None,
    ) -> tuple[npt.NDArray[np.bool_] | None, list[_Array]]:
        """Compare the places of NaN and infinity, and leave them out of what follows."""
        counted = eager if mask is None else np.where(mask, eager, 0)
        if not np.isfinite(counted).all():
            self.non_finite.setdefault(batch.kind, (batch, name))
        check = f"onnx, {batch.kind}"
        differs = differing_places(found, eager, mask, batch)
        if differs:
            self._failures.add_difference(check, name, np.inf, f'{check}: "{name}" {differs}. {_LOST}')
        return without_non_finite(mask, found, eager, exact)

    def _compare_after_lengths(
        self, batch: InputBatch, name: str, found: _Array, eager: _Array, mask: npt.NDArray[np.bool_]
    ) -> None:
        """Where eager gives zeros after each row's length, ONNX must."""
        if np.where(mask, 0, eager).any():
            self.zeros_after_lengths.discard(name)
        else:
            after = np.where(mask, 0, found)
            self._failures.compare_values("onnx, zeros after lengths", name, after, np.zeros_like(after), 0.0, batch)


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_ERROR]


def _values_of(name: str, results: Callable[[], list[Arrays]]) -> Iterator[_Array]:
    """Give one output of several runs, which are made when the first is asked for."""
    for outputs in results():
        yield outputs[name]
