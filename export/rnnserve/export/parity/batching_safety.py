"""Which requests may share a run of a model: by a walk through its graph where that decides it, by trial where not.

The walk (`rnnserve.export.analysis`) decides for all values. What it proves is checked by a few rows; where it refutes
that rows are apart, requests run alone; what it does not decide is found by running the module: eager's own answer
decides.

A row's answer must not depend on the other rows in its batch, on the values in its padding, nor on how much padding
there is. Rows are computed alone, and again in company; the numbers are the module's in float64 where it runs in
float64, so that what rounding does is far below what a dependence does.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.analysis import Decision, Verdict
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.errors import ParityError
from rnnserve.export.input_drawing import draw_inputs, is_state
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.graph_findings import UNDECIDED, GraphFindings, finding
from rnnserve.export.parity.reference import FLOAT64, Truth
from rnnserve.export.parity.tolerances import AMPLIFIED, EAGER_ROUNDING, ParityLimits
from rnnserve.export.tensor_shapes import (
    mask_before_lengths,
    stack_rows,
    take_row,
)
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import equally_non_finite, scale
from rnnserve.protos.protocol_words import BATCH

__all__ = ["find_batching"]

_ROWS = 5
_LENGTHS = (1, 2, 3, 7, 12)
_CHECKED = (1, 3)  # of the lengths, where it is proven what they would show
_MORE = 9  # steps of padding that are added, as far as the model takes them
_LOUD = 1000.0  # times the usual: what other rows, or padding, do may show behind a threshold only
_LOUD_PADDING = 100.0  # masks that add -1e4 to scores are to be stronger
_SPOILED = np.nan  # times anything: a dependence shows, however small it is

_COUNTS = (
    "treats the rows of a run by their number: a row's answer may depend on how many are before it, of which a few "
    "rows say too little"
)
_NOTHING_TO_PAD = "the model has no sequence axis, so there is nothing to pad"

_Compute = Callable[[Mapping[str, npt.NDArray[Any]]], Arrays]


def find_batching(
    model: ModelDescription, reference: Truth, limits: ParityLimits, seed: int, graph: GraphFindings | None = None
) -> manifest_pb2.Batching:
    """Find the freest mode in which a model's requests may share runs, and why not a freer one.

    Args:
        model: Model that is run.
        reference: Module of the model; or the ONNX model itself where there is no other, and then the results are its
            own.
        limits: Limits for the device that it runs on.
        seed: Seed of the inputs.
        graph: Decisions of a walk through the graph that serves; None where there is no graph to walk.

    Raises:
        ParityError: If rows that are tried contradict what is proven of the graph.
    """
    rows = UNDECIDED if graph is None else graph.rows
    padding = (None if graph is None else graph.padding) or UNDECIDED
    fewest, most = model.size_limits[BATCH]
    if fewest > 1 or most is not None:
        reason = f"the model takes {fewest} to {most} rows only, so the number of rows in a run cannot be chosen"
        return manifest_pb2.Batching(mode=manifest_pb2.BATCHING_ALONE, reasons=[reason])
    found = manifest_pb2.Batching(mode=manifest_pb2.BATCHING_ALONE, rows=finding(rows, tried=True))
    if rows.verdict is Verdict.REFUTED:
        found.reasons.extend(f"{reason}, so that a row's answer depends on other rows" for reason in rows.reasons)
        return found
    random = np.random.default_rng([seed, 2])
    tries = _BatchingTries(model, reference, limits, random, check_only=rows.proven)
    found.reasons.extend(tries.neighbours())
    if found.reasons:
        _check_proof(rows, found.reasons, "keeps rows apart")
        return found
    if rows.counting:
        found.reasons.extend(f"{node} {_COUNTS}" for node in rows.counting)
        return found
    found.mode = manifest_pb2.BATCHING_JOINED
    found.reasons.extend(_nothing_to_pad(model))
    if found.reasons:
        return found
    tries = _BatchingTries(model, reference, limits, random, check_only=padding.proven)
    has_unknown = not set(padding.nodes) <= set(padding.readers)
    found.reasons.extend([*tries.padding_values(spoil=has_unknown), *tries.padding_amount()])
    found.padding.CopyFrom(finding(padding, tried=True))
    if found.reasons:
        _check_proof(padding, found.reasons, "reads nothing after the lengths")
        found.reasons.extend(f"in the graph, {reason}" for reason in padding.reasons)
        return found
    windows = [tensor.name for tensor in model.outputs if any(axis.largest for axis in tensor.derived_axes)]
    if windows and not padding.proven:
        found.reasons.append(f'"{windows[0]}" is a window of its steps, which a trial of few steps does not move')
        return found
    if padding.verdict is Verdict.REFUTED:
        # Values that are read may still count for nothing: a mask may take them out that no rule recognises.
        found.padding.means = manifest_pb2.MEANS_TRIED
    found.mode = manifest_pb2.BATCHING_PADDED
    return found


def _nothing_to_pad(model: ModelDescription) -> list[str]:
    axes, lengths = model.sequence_axes, model.lengths
    if not axes:
        return [_NOTHING_TO_PAD]
    reasons = [
        f'no input holds the lengths of the axis "{axis}", so the model could not tell where a padded row ends'
        for axis in axes
        if axis not in lengths
    ]
    reasons += [
        f'the axis "{axis}" always has {low} steps, so there is nothing to pad'
        for axis, (low, high) in model.sizes.items()
        if axis in lengths and low == high
    ]
    return reasons


def _check_proof(decision: Decision, seen: Sequence[str], what: str) -> None:
    """Refuse what cannot be: a change that is seen although it is proven that there is none."""
    if decision.proven:
        raise ParityError(
            [
                f"internal error: the graph {what} for all values, but {reason}. Either the graph does not compute "
                "what the module does, or a rule of rnnserve.export.analysis is wrong; please report it"
                for reason in seen
            ]
        )


class _BatchingTries:
    def __init__(
        self,
        model: ModelDescription,
        reference: Truth,
        limits: ParityLimits,
        random: np.random.Generator,
        *,
        check_only: bool,
    ) -> None:
        """Prepare tries.

        Args:
            model: Model that is run.
            reference: Module, or ONNX model, that runs.
            limits: Limits for the device.
            random: Generator from which inputs are drawn.
            check_only: Whether it is proven that no change is to be seen: fewer rows are tried, and only a change is
                told that rounding does not explain.
        """
        self._check_only = check_only
        self._reference = reference
        self._model = model
        self._compute: _Compute = reference.exact
        self._rounding = limits.double if reference.exact_by == FLOAT64 else EAGER_ROUNDING
        self._random = random
        self._axes = model.sequence_axes
        self._lengths = model.lengths

    def neighbours(self) -> list[str]:
        """Try rows in batches of other rows, and beside the row of zeros by which servers make a batch even."""
        worst = _WorstChanges()
        for sizes in self._all_sizes():
            rows = [self._row(sizes) for _ in range(_ROWS)]
            zeros = {name: np.zeros_like(array) for name, array in rows[0].items()}
            for axis, name in self._lengths.items():
                zeros[name] = np.full_like(rows[0][name], self._model.sizes[axis][0])
            for tensor in self._model.inputs:
                if tensor.HasField("integers") and tensor.integers.low > 0:
                    zeros[tensor.name] = np.full_like(rows[0][tensor.name], tensor.integers.low)
            companies = [(rows, range(_ROWS)), ([rows[0], zeros], [0])]
            if not self._check_only:
                loud = [self._louder(row, _LOUD) for row in rows[1:]]
                companies += [([rows[0], *loud], [0]), ([*loud, rows[0]], [len(loud)])]
                spoiled = [self._louder(row, _SPOILED) for row in rows[1:]]
                companies += [([rows[0], *spoiled], [0]), ([*spoiled, rows[0]], [len(spoiled)])]
            for company, compared in companies:
                try:
                    together = self._compute(stack_rows(self._model.inputs, company, sizes))
                except Exception:  # a module may refuse NaN, or read at indices that are made of it
                    if not any(_is_spoiled(row) for row in company):
                        raise
                    continue
                for number, row in ((number, company[number]) for number in compared):
                    self._compare(worst, row, take_row(self._model.outputs, together, number), self._compute(row))
        return [
            f'"{name}" of a row changes by {change} when other rows are in its batch: does the module normalise, '
            "sort or "
            "average over the batch axis?"
            for name, change in worst.by_name.items()
        ]

    def padding_values(self, *, spoil: bool) -> list[str]:
        """Try other values after the ends of rows.

        NaN is tried there if no rule covers some operator of the graph: a mask that multiplies by zero lets it through,
        but finite numbers not.

        Args:
            spoil: Whether to try NaN.
        """
        worst = _WorstChanges()
        for sizes in self._all_sizes():
            row = self._row(sizes)
            padded = self._padded(row, sizes)
            noise = draw_inputs(self._model.inputs, self._random, self._longer(sizes) | {BATCH: 1})
            louds = (1.0,) if self._check_only else (1.0, _LOUD_PADDING)
            for times in (*louds, _SPOILED) if spoil else louds:
                noisy, louder = dict(padded), self._louder(noise, times)
                for tensor in self._model.inputs:
                    mask = mask_before_lengths(tensor, padded[tensor.name].shape, padded, self._lengths)
                    if mask is not None:
                        noisy[tensor.name] = np.where(mask, padded[tensor.name], louder[tensor.name])
                with contextlib.suppress(Exception) if times is _SPOILED else contextlib.nullcontext():
                    self._compare(worst, padded, self._compute(noisy), self._compute(padded))
        return [
            f'"{name}" of a row changes by {change} when the values after its length change: is something '
            "computed over "
            "all steps, such as a mean, a maximum or a convolution? Mask it by the lengths"
            for name, change in worst.by_name.items()
        ]

    def padding_amount(self) -> list[str]:
        """Try more steps after the ends of rows."""
        worst = _WorstChanges()
        for sizes in self._all_sizes():
            row = self._row(sizes)
            self._compare(worst, row, self._compute(self._padded(row, sizes)), self._compute(row))
        return [
            f'"{name}" of a row changes by {change} when up to {_MORE} steps of padding are added: does the module '
            "average over all "
            "steps, or read the last one? Use the lengths: sum before each length and divide by it, or read h_n. An "
            "output of fewer steps than its input has to be zero after them"
            for name, change in worst.by_name.items()
        ]

    def _all_sizes(self) -> Iterator[dict[str, int]]:
        if not self._axes:
            yield {}
            return
        for number in _CHECKED if self._check_only else range(len(_LENGTHS)):
            sizes = {}
            for at, axis in enumerate(self._axes):
                low, high = self._model.sizes[axis]
                # Below the largest size, where there is one, so that padding can be added.
                sizes[axis] = min(low + _LENGTHS[(number + at) % len(_LENGTHS)] - 1, max(high - 1, low))
            yield sizes

    def _longer(self, sizes: Mapping[str, int]) -> dict[str, int]:
        return {axis: min(size + _MORE, self._model.sizes[axis][1]) for axis, size in sizes.items()}

    def _row(self, sizes: Mapping[str, int]) -> Arrays:
        return draw_inputs(self._model.inputs, self._random, {**sizes, BATCH: 1}, bounded_states=True)

    def _louder(self, row: Arrays, times: float) -> Arrays:
        """Multiply the floats of a row that have no bounds; states stay as they are."""
        free = {tensor.name for tensor in self._model.inputs if not (tensor.HasField("floats") or is_state(tensor))}
        return {
            name: (array * times).astype(array.dtype) if name in free and array.dtype.kind == "f" else array
            for name, array in row.items()
        }

    def _padded(self, row: Arrays, sizes: Mapping[str, int]) -> Arrays:
        return stack_rows(self._model.inputs, [row], self._longer(sizes))

    def _compare(self, worst: "_WorstChanges", inputs: Arrays, found: Arrays, expected: Arrays) -> None:
        """Compare a row's outputs, as far as both have them: padding makes some longer."""
        for tensor in self._model.outputs:
            name = tensor.name
            common = tuple(slice(0, min(sizes)) for sizes in zip(found[name].shape, expected[name].shape, strict=True))
            some, others = found[name][common], expected[name][common]
            mask = mask_before_lengths(tensor, some.shape, inputs, self._lengths)
            with np.errstate(invalid="ignore"):
                change = np.abs(some.astype(np.float64) - others.astype(np.float64))
            if some.dtype.kind == "f" and not np.isfinite(change).all():
                change = np.where(equally_non_finite(some, others), 0, np.nan_to_num(change, nan=np.inf))
            change = change if mask is None else np.where(mask, change, 0)
            largest = float(change.max(initial=0.0))
            limit = self._rounding * scale(others) if others.dtype.kind == "f" else 0
            if largest <= limit or (self._check_only and self._is_rounding(name, inputs, largest)):
                continue
            worst.add(name, largest, _place(tensor, change))

    def _is_rounding(self, name: str, inputs: Arrays, change: float) -> bool:
        """Whether a change is what rounding does: integers flip by it, and floats move as inputs moved by an ulp do."""
        results = [arrays[name] for arrays in self._reference.moved(inputs)]
        if results[0].dtype.kind != "f":
            return True
        spread = np.ptp(np.stack(results).astype(np.float64), axis=0).max(initial=0.0)
        return change <= AMPLIFIED * float(spread)


def _is_spoiled(row: Arrays) -> bool:
    return any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in row.values())


def _place(tensor: manifest_pb2.Tensor, change: npt.NDArray[Any]) -> str:
    """Say at which step of each sequence axis of an output the largest change is."""
    index = np.unravel_index(int(np.argmax(change)), change.shape)
    steps = [
        f"{axis.name} {at} of {size}"
        for axis, at, size in zip(tensor.axes, index, change.shape, strict=True)
        if axis.size == DYNAMIC and axis.name != BATCH
    ]
    return f" at {', '.join(steps)}" if steps else ""


class _WorstChanges:
    """The largest change of each output that changed."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[float, str]] = {}

    @property
    def by_name(self) -> dict[str, str]:
        """By output: how much it changed, and where."""
        return {name: f"{change:.3g}{place}" for name, (change, place) in self._by_name.items()}

    def add(self, name: str, change: float, place: str) -> None:
        if name not in self._by_name or change > self._by_name[name][0]:
            self._by_name[name] = (change, place)
