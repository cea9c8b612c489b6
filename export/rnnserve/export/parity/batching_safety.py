"""Decide which requests may share an inference call, from the model's graph or else by trials.

The static analysis (`rnnserve.export.analysis`) decides for all values. If it proves a property, a few rows are run to
check it. If it refutes row independence, each request runs alone. If it doesn't decide, the module is run in trials, so
the behavior of eager PyTorch decides.

The results of a row must not depend on the other rows in its batch, on the values in its padding, or on the amount of
padding. So each row is computed alone and again with other rows or padding. If the module runs in float64, the results
are compared in float64. Rounding is then far smaller than the effect of a dependence.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.analysis import Decision, Property, Verdict, decide, worst
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.errors import ParityError
from rnnserve.export.parity.reference import FLOAT64, Truth
from rnnserve.export.parity.tolerances import AMPLIFIED, EAGER_ROUNDING, ParityLimits
from rnnserve.export.tensors import (
    Arrays,
    draw_inputs,
    is_state,
    mask_before_lengths,
    stack_rows,
    take_row,
)
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import distances, scale
from rnnserve.protos.protocol_words import BATCH

Tensors = Sequence[manifest_pb2.Tensor]

_MOST = 20  # most nodes or sentences in the record of one property

UNDECIDED = Decision(Verdict.NOT_DECIDED)


_Array = npt.NDArray[Any]

_ROWS = 5
_LENGTHS = (1, 2, 3, 7, 12)
_CHECKED = (1, 3)  # indices of the lengths that are tried if the property is proven
_MORE = 9  # additional padding steps, as far as the model takes them
_LOUD = 1000.0  # factor on the usual values, because other rows or padding may only matter beyond a threshold
_LOUD_PADDING = 100.0  # lower, because masks that add -1e4 to scores must still dominate
_SPOILED = np.nan  # NaN times anything is NaN, so the smallest dependence shows

_COUNTS = (
    "depends on the number of rows: a row's result may depend on how many rows come before it, which trials of a few "
    "rows cannot exclude"
)
_NOTHING_TO_PAD = "the model has no sequence axis, so there is nothing to pad"

_BESIDE_ROWS = "when other rows are in its batch. Does the module normalize, sort or average over the batch axis?"
_OTHER_PADDING = (
    "when the values after its length change. Does the module compute something over all steps, such as a mean, a "
    "maximum or a convolution? Mask it with the lengths. Pack the input of a bidirectional layer"
)
_MORE_PADDING = (
    f"when up to {_MORE} steps of padding are added. Does the module average over all steps, take their maximum, or "
    "read the last step? Use the lengths: sum the steps before each length and divide by it, fill the steps after it "
    "with -1e9 before a maximum, or read h_n. An output with fewer steps than its input must be zero after them"
)

_Companies = Iterator[tuple[Arrays, Sequence[tuple[int | None, Arrays]]]]
"""The inputs of a call, and of other calls whose results must equal one of its rows (by index) or all of them."""


@dataclasses.dataclass(frozen=True)
class GraphFindings:
    """The decisions about a graph, for all values."""

    rows: Decision  # whether a row's results depend on no other row
    padding: Decision | None  # the same for values after the row's length; None if a sequence axis has no lengths
    causality: Mapping[str, Decision]  # by output: whether its steps depend on no later step

    def recorded_causality(self) -> dict[str, manifest_pb2.Finding]:
        """Return the manifest's record of causality, which isn't tried by runs."""
        return {name: finding(decision, tried=False) for name, decision in self.causality.items()}


def walk_graph(graph: onnx.ModelProto, inputs: Tensors, outputs: Tensors) -> GraphFindings:
    """Decide the properties of a model's graph."""
    found = decide(graph, inputs, outputs)
    padding = found.get(Property.PADDING)
    return GraphFindings(
        rows=worst(found[Property.ROWS].values()),
        padding=None if padding is None else worst(padding.values()),
        causality=found.get(Property.CAUSALITY, {}),
    )


def contradictions(recorded: manifest_pb2.Manifest, found: GraphFindings, *, scan: bool) -> list[str]:
    """List claims of a manifest that the graph doesn't support, and permissions that the graph refutes."""
    batching = recorded.batching
    rows, padding = (batching.scan_rows, batching.scan_padding) if scan else (batching.rows, batching.padding)
    claims = [("rows are apart", rows, found.rows), ("padding is not read", padding, found.padding or UNDECIDED)]
    if not scan:
        claims += [
            (f'steps of "{name}" are causal', claim, found.causality.get(name, UNDECIDED))
            for name, claim in recorded.causality.items()
        ]
    failures = [
        f"the manifest says that {what} is proven, but found {decision.verdict}: {_why(decision)}"
        for what, claim, decision in claims
        if claim.means == manifest_pb2.MEANS_PROVEN and not decision.proven
    ]
    why = f"{', '.join(found.rows.counting)} depends on the number of rows" if found.rows.counting else ""
    if found.rows.verdict is Verdict.REFUTED:
        why = f"rows depend on each other: {_why(found.rows)}"
    if why and batching.mode != manifest_pb2.BATCHING_ALONE:
        failures.append(f"the manifest says {manifest_pb2.BatchingMode.Name(batching.mode)}, but {why}")
    return failures


def _why(decision: Decision) -> str:
    return "; ".join(decision.reasons or decision.nodes)


def finding(decision: Decision, *, tried: bool) -> manifest_pb2.Finding:
    """Return the manifest's record of a decision. `tried` means that runs with random values agreed."""
    means = {
        Verdict.PROVEN: manifest_pb2.MEANS_PROVEN,
        Verdict.REFUTED: manifest_pb2.MEANS_REFUTED,
        Verdict.NOT_DECIDED: manifest_pb2.MEANS_TRIED if tried else manifest_pb2.MEANS_NOT_DECIDED,
    }[decision.verdict]
    return manifest_pb2.Finding(means=means, nodes=decision.nodes[:_MOST], reasons=decision.reasons[:_MOST])


def find_batching(
    model: ModelDescription, reference: Truth, limits: ParityLimits, seed: int, graph: GraphFindings | None = None
) -> manifest_pb2.Batching:
    """Find the most permissive mode in which requests may share calls, and the reasons against a more permissive mode.

    Raises ParityError if trials contradict a property proven for the serving graph.
    """
    rows = UNDECIDED if graph is None else graph.rows
    padding = (None if graph is None else graph.padding) or UNDECIDED
    fewest, most = model.size_limits[BATCH]
    if fewest > 1 or most is not None:
        reason = (
            f"the model accepts only {fewest} to {most} rows, so the server cannot choose the number of rows in a batch"
        )
        return manifest_pb2.Batching(mode=manifest_pb2.BATCHING_ALONE, reasons=[reason])
    found = manifest_pb2.Batching(mode=manifest_pb2.BATCHING_ALONE, rows=finding(rows, tried=True))
    if rows.verdict is Verdict.REFUTED:
        found.reasons.extend(f"{reason}, so a row's result depends on other rows" for reason in rows.reasons)
        return found
    random = np.random.default_rng([seed, 2])
    trial = _Trial(model, reference, limits, random, check_only=rows.proven)
    found.reasons.extend(trial.changes(trial.beside_other_rows(), _BESIDE_ROWS))
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
    trial = _Trial(model, reference, limits, random, check_only=padding.proven)
    has_unknown = not set(padding.nodes) <= set(padding.readers)
    found.reasons.extend(trial.changes(trial.with_other_padding(spoil=has_unknown), _OTHER_PADDING))
    found.reasons.extend(trial.changes(trial.with_more_padding(), _MORE_PADDING))
    found.padding.CopyFrom(finding(padding, tried=True))
    if found.reasons:
        _check_proof(padding, found.reasons, "reads nothing after the lengths")
        found.reasons.extend(f"in the graph, {reason}" for reason in padding.reasons)
        return found
    windows = [tensor.name for tensor in model.outputs if any(axis.largest for axis in tensor.derived_axes)]
    if windows and not padding.proven:
        found.reasons.append(
            f'"{windows[0]}" is a window of its steps, and a trial of few steps does not move the window'
        )
        return found
    if padding.verdict is Verdict.REFUTED:
        # The graph may read values that don't count, because a mask without a matching rule removes them.
        found.padding.means = manifest_pb2.MEANS_TRIED
    found.mode = manifest_pb2.BATCHING_PADDED
    return found


def _nothing_to_pad(model: ModelDescription) -> list[str]:
    axes, lengths = model.sequence_axes, model.lengths
    if not axes:
        return [_NOTHING_TO_PAD]
    reasons = [
        f'no input holds the lengths of the axis "{axis}", so the model would not know where a padded row ends'
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
    """Raise ParityError if trials show a change though the property is proven."""
    if decision.proven:
        raise ParityError(
            [
                f"internal error: the graph {what} for all values, but {reason}. Either the graph does not compute "
                "what the module does, or a rule of rnnserve.export.analysis is wrong; please report it"
                for reason in seen
            ]
        )


class _Trial:
    """Runs of rows alone and together with other rows.

    `check_only` means that the property is proven. Then fewer rows are run, and a change is only reported if rounding
    can't explain it.
    """

    def __init__(
        self,
        model: ModelDescription,
        reference: Truth,
        limits: ParityLimits,
        random: np.random.Generator,
        *,
        check_only: bool,
    ) -> None:
        self._check_only = check_only
        self._model, self._reference, self._random = model, reference, random
        self._rounding = limits.double if reference.exact_by == FLOAT64 else EAGER_ROUNDING

    def changes(self, companies: _Companies, when: str) -> list[str]:
        """Describe the largest change of each output of a row, and its position, as far as both results have it."""
        worst: dict[str, tuple[float, str]] = {}
        for company, rows in companies:
            try:
                together = self._reference.exact(company)
            except Exception:  # a module may refuse NaN, or use it as an index
                if not any(np.isnan(array).any() for array in company.values() if array.dtype.kind == "f"):
                    raise
                continue
            for number, inputs in rows:
                found = together if number is None else take_row(self._model.outputs, together, number)
                expected = self._reference.exact(inputs)
                for tensor in self._model.outputs:
                    largest, place = self._change(tensor, inputs, found[tensor.name], expected[tensor.name])
                    if largest > worst.get(tensor.name, (0.0, ""))[0]:
                        worst[tensor.name] = largest, place
        return [f'"{name}" of a row changes by {change:.3g}{place} {when}' for name, (change, place) in worst.items()]

    def beside_other_rows(self) -> _Companies:
        """Yield rows in batches of other rows, and with the zero row that servers add to make a batch size even."""
        inputs = self._model.inputs
        for sizes in self._all_sizes():
            rows = [self._row(sizes) for _ in range(_ROWS)]
            zeros = {name: np.zeros_like(array) for name, array in rows[0].items()}
            for axis, name in self._model.lengths.items():
                zeros[name] = np.full_like(rows[0][name], self._model.sizes[axis][0])
            for tensor in inputs:
                if tensor.HasField("integers") and tensor.integers.low > 0:
                    zeros[tensor.name] = np.full_like(rows[0][tensor.name], tensor.integers.low)
            yield stack_rows(inputs, rows, sizes), list(enumerate(rows))
            yield stack_rows(inputs, [rows[0], zeros], sizes), [(0, rows[0])]
            for times in () if self._check_only else (_LOUD, _SPOILED):
                others = [self._louder(row, times) for row in rows[1:]]
                yield stack_rows(inputs, [rows[0], *others], sizes), [(0, rows[0])]
                yield stack_rows(inputs, [*others, rows[0]], sizes), [(len(others), rows[0])]

    def with_other_padding(self, *, spoil: bool) -> _Companies:
        """Yield rows with other values in their padding.

        NaN is included if the graph has an operator without a rule, because a mask that multiplies by zero hides finite
        numbers but not NaN.
        """
        for sizes in self._all_sizes():
            row = self._row(sizes)
            padded = self._padded(row, sizes)
            noise = draw_inputs(self._model.inputs, self._random, self._longer(sizes) | {BATCH: 2})
            for times in (1.0, *(() if self._check_only else (_LOUD_PADDING,)), *((_SPOILED,) if spoil else ())):
                noisy, louder = dict(padded), self._louder(noise, times)
                for tensor in self._model.inputs:
                    mask = mask_before_lengths(tensor, padded[tensor.name].shape, padded, self._model.lengths)
                    if mask is not None:
                        noisy[tensor.name] = np.where(mask, padded[tensor.name], louder[tensor.name])
                yield noisy, [(None, padded)]

    def with_more_padding(self) -> _Companies:
        """Yield rows with more padding."""
        for sizes in self._all_sizes():
            row = self._row(sizes)
            yield self._padded(row, sizes), [(1, row)]

    def _all_sizes(self) -> Iterator[dict[str, int]]:
        axes = self._model.sequence_axes
        for number in (_CHECKED if self._check_only else range(len(_LENGTHS))) if axes else (0,):
            sizes = {}
            for at, axis in enumerate(axes):
                low, high = self._model.sizes[axis]
                # Below the largest size, if there is one, to leave room for padding.
                sizes[axis] = min(low + _LENGTHS[(number + at) % len(_LENGTHS)] - 1, max(high - 1, low))
            yield sizes

    def _longer(self, sizes: Mapping[str, int]) -> dict[str, int]:
        return {axis: min(size + _MORE, self._model.sizes[axis][1]) for axis, size in sizes.items()}

    def _row(self, sizes: Mapping[str, int]) -> Arrays:
        return draw_inputs(self._model.inputs, self._random, {**sizes, BATCH: 1}, bounded_states=True)

    def _louder(self, row: Arrays, times: float) -> Arrays:
        """Multiply the floats of a row, except for states and inputs with bounds."""
        free = {tensor.name for tensor in self._model.inputs if not (tensor.HasField("floats") or is_state(tensor))}
        return {
            name: (array * times).astype(array.dtype) if name in free and array.dtype.kind == "f" else array
            for name, array in row.items()
        }

    def _padded(self, row: Arrays, sizes: Mapping[str, int]) -> Arrays:
        """Return the row with padding, after a row without any, because modules cut the padding that all rows have."""
        longer = self._longer(sizes)
        return stack_rows(self._model.inputs, [self._row(longer), row], longer)

    def _change(
        self, tensor: manifest_pb2.Tensor, inputs: Arrays, found: _Array, expected: _Array
    ) -> tuple[float, str]:
        """Return the largest change of an output and its position. Steps that only one result has don't count."""
        common = tuple(slice(0, min(sizes)) for sizes in zip(found.shape, expected.shape, strict=True))
        found, expected = found[common], expected[common]
        mask = mask_before_lengths(tensor, found.shape, inputs, self._model.lengths)
        change = distances(found, expected)
        change = change if mask is None else np.where(mask, change, 0)
        largest = float(change.max(initial=0.0))
        limit = self._rounding * scale(expected) if expected.dtype.kind == "f" else 0
        if largest <= limit or (self._check_only and self._is_rounding(tensor.name, inputs, largest)):
            return 0.0, ""
        index = np.unravel_index(int(np.argmax(change)), change.shape)
        steps = [
            f"{axis.name} {at} of {size}"
            for axis, at, size in zip(tensor.axes, index, change.shape, strict=True)
            if axis.size == DYNAMIC and axis.name != BATCH
        ]
        return largest, f" at {', '.join(steps)}" if steps else ""

    def _is_rounding(self, name: str, inputs: Arrays, change: float) -> bool:
        """Whether rounding explains a change: any change of integers, or one of floats about as large as by an ulp."""
        results = [arrays[name] for arrays in self._reference.moved(inputs)]
        if results[0].dtype.kind != "f":
            return True
        spread = np.ptp(np.stack(results).astype(np.float64), axis=0).max(initial=0.0)
        return change <= AMPLIFIED * float(spread)
