"""Trying an ONNX file at many sizes: where it runs, where its values are the module's, and which sizes are frozen."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.diagnosis.tensor_matching import MatchedFile, what_of
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity import OnnxRunner, Reference
from rnnserve.export.parity.tolerances import OTHER_FORMULA
from rnnserve.export.tensor_shapes import mask_before_lengths, shape_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.differences import scale
from rnnserve.protos.protocol_words import BATCH

__all__ = ["SizeTrials"]

_FIRST = {"batch": (3, 2, 1, 4, 5, 8, 16, 32), "sequence": (5, 4, 3, 2, 6, 7, 8, 10, 12, 16, 20, 32, 64, 100, 128, 1)}
_MOST = {"batch": 33, "sequence": 40}
_MOST_RUNS = 1500  # of a search over pairs of sizes, in which runs are refused at once


@dataclasses.dataclass(frozen=True)
class _Outcome:
    refusal: str = ""
    agrees: bool = False


class SizeTrials:
    """Runs of a file and of its module on drawn inputs of any sizes.

    Attributes:
        failing: Inputs on which the file runs and differs from the module, once `faults` has found some.
    """

    def __init__(
        self, described: DescribedModel, reference: Reference, matched: MatchedFile, runner: OnnxRunner
    ) -> None:
        self.failing: Arrays | None = None
        self._described = described
        self._reference = reference
        self._matched = matched
        self._runner = runner
        self._axes = [BATCH, *described.sequence_axes]
        self._lengths = described.lengths

    def faults(self) -> Iterator[str]:
        """Search for frozen sizes; yields a sentence for each, and keeps inputs on which values differ."""
        base, refusal = self._first_that_runs()
        if base is None:
            yield f"it runs at no size that was tried: {refusal}"
            return
        agreed_at_base = self._try(base).agrees
        for axis in self._axes:
            if axis not in self._matched.fixed:
                yield from self._along(axis, base)
        if self.failing is None and not agreed_at_base:
            self.failing = self._draw(base, ragged=False)
        self._search_ragged(base)

    def _first_that_runs(self) -> tuple[dict[str, int] | None, str]:
        refusal = ""
        for number, sizes in enumerate(itertools.product(*(self._candidates(axis) for axis in self._axes))):
            outcome = self._try(dict(zip(self._axes, sizes, strict=True)))
            if not outcome.refusal:
                return dict(zip(self._axes, sizes, strict=True)), ""
            refusal = refusal or outcome.refusal
            if number == _MOST_RUNS:
                break
        return None, refusal

    def _candidates(self, axis: str) -> list[int]:
        if axis in self._matched.fixed:
            return [self._matched.fixed[axis]]
        low, high = self._described.sizes[axis]
        kind = _kind(axis)
        sizes = dict.fromkeys((*_FIRST[kind], *range(low, min(high, _MOST[kind]) + 1)))
        return [size for size in sizes if low <= size <= high] or [low]

    def _along(self, axis: str, base: dict[str, int]) -> Iterator[str]:
        """Vary one size; everything is well where two sizes beside the base agree, or differ like the base."""
        outcomes = {size: self._try(base | {axis: size}) for size in self._candidates(axis)[:8]}
        refused = [size for size, outcome in outcomes.items() if outcome.refusal]
        if len(outcomes) > 1 and len(refused) == len(outcomes) - 1:
            message = outcomes[refused[0]].refusal
            yield f'frozen {what_of(axis)}: it runs only with "{axis}" {base[axis]}; at {refused[0]}, {message}'
            return
        running = {size: outcome for size, outcome in outcomes.items() if not outcome.refusal}
        refusals = ""
        if refused:
            sizes = ", ".join(map(str, sorted(refused)))
            refusals = f'it does not run with "{axis}" {sizes}: {outcomes[refused[0]].refusal}'
        if all(outcome.agrees for outcome in running.values()):
            yield from filter(None, [refusals])
            return
        for size in self._candidates(axis):
            running.setdefault(size, self._try(base | {axis: size}))
        agreeing = sorted(size for size, outcome in running.items() if outcome.agrees)
        differing = [size for size, outcome in running.items() if not outcome.agrees and not outcome.refusal]
        if differing:
            largest = max(differing, key=lambda size: (size <= 8, size))
            self.failing = self._draw(base | {axis: largest}, ragged=False)
        # One step is no evidence: many wrong recurrences are right for one.
        if agreeing and differing and (axis == BATCH or max(agreeing) > 1):
            shown = f"{agreeing[0]}" if len(agreeing) == 1 else f"{agreeing[0]} to {agreeing[-1]}"
            yield f'frozen {what_of(axis)}: its values are right only with "{axis}" {shown}, not with {min(differing)}'
        yield from filter(None, [refusals])

    def _search_ragged(self, base: dict[str, int]) -> None:
        """Look for rows of different lengths on which values differ, where full ones agree."""
        if self.failing is not None or not self._lengths:
            return
        inputs = self._draw(base, ragged=True)
        for name in self._lengths.values():
            # From the longest to the shortest row: some exporters sort rows, which is another order in every node.
            inputs[name] = -np.sort(-inputs[name])
        outcome = self._compare(inputs)
        if not outcome.agrees and not outcome.refusal:
            self.failing = inputs

    def _try(self, sizes: Mapping[str, int]) -> _Outcome:
        return self._compare(self._draw(sizes, ragged=False))

    def _draw(self, sizes: Mapping[str, int], *, ragged: bool) -> Arrays:
        """Draw inputs; those that the file does not have are what it must take for granted."""
        drawn = draw_inputs(self._described.inputs, np.random.default_rng(0), sizes, ragged=ragged, bounded_states=True)
        for tensor in self._described.inputs:
            if tensor.name not in self._matched.inputs and tensor.default != manifest_pb2.DEFAULT_REQUIRED:
                fill = sizes[tensor.lengths_of] if tensor.lengths_of else 0
                drawn[tensor.name] = np.full(shape_of(tensor, sizes), fill, DTYPES[tensor.datatype])
        return drawn

    def _compare(self, inputs: Arrays) -> _Outcome:
        try:
            found = self._runner(inputs)
        except RuntimeError as error:
            return _Outcome(refusal=str(error))
        expected = self._reference.eager(inputs)
        for tensor in self._described.outputs:
            if tensor.name not in found:
                continue
            some, others = found[tensor.name], expected[tensor.name]
            if some.shape != others.shape:
                return _Outcome()
            mask = mask_before_lengths(tensor, others.shape, inputs, self._lengths)
            change = np.abs(some.astype(np.float64) - others.astype(np.float64))
            change = change if mask is None else np.where(mask, change, 0)
            limit = OTHER_FORMULA * scale(others) if others.dtype.kind == "f" else 0
            if not float(change.max(initial=0.0)) <= limit:
                return _Outcome()
        return _Outcome(agrees=True)


def _kind(axis: str) -> str:
    return "batch" if axis == BATCH else "sequence"
