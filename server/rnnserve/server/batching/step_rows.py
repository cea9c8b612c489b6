"""Rows of a run that goes on by steps, and the arrays of its chunks. No threads and no network here."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnserve.server.batching.batch_arrays import left_out, rows_of_run
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Signature, TensorSpec

__all__ = ["EndedRequests", "RequestInHand", "Row", "StepArrays"]


@dataclasses.dataclass(slots=True, eq=False)
class RequestInHand:
    """A request of which rows are in a run, or wait for a place in it.

    Attributes:
        pending: The request as it waited.
        checked: The same, past the boundary.
        started: When it was taken in hand, in seconds on the clock of `clock`.
        ends: Steps of each of its rows.
        shapes: Shapes of the outputs that it is answered with, by name.
        bytes: Size of these.
        has_steps: Whether an output has steps, which are written as they come.
        outputs: The outputs, filled as its rows go on; none before the first has a place.
        rows_waiting: Rows that have no place yet: the last ones.
        rows_running: Rows that have a place.
        is_over: Whether it has been answered, or refused.
    """

    pending: PendingRequest
    checked: CheckedRequest
    started: float
    ends: Sequence[int]
    shapes: Mapping[str, tuple[int, ...]]
    bytes: int
    has_steps: bool
    outputs: dict[str, Array] = dataclasses.field(default_factory=dict)
    rows_waiting: int = dataclasses.field(init=False)
    rows_running: int = 0
    is_over: bool = False

    def __post_init__(self) -> None:
        """All of its rows wait."""
        self.rows_waiting = self.checked.batch

    def next_rows(self, count: int) -> list["Row"]:
        """Give places to so many of the rows that wait."""
        start = self.checked.batch - self.rows_waiting
        self.rows_waiting -= count
        self.rows_running += count
        return [Row(self, number, self.ends[number]) for number in range(start, start + count)]


class Row:
    """A row of a request that has a place.

    Attributes:
        request: The request.
        number: Which of its rows.
        at: Steps that have been made.
        end: Steps that it has.
    """

    __slots__ = ("at", "end", "number", "request")

    def __init__(self, request: RequestInHand, number: int, end: int) -> None:
        self.request = request
        self.number = number
        self.at = 0
        self.end = end


class EndedRequests:
    """Requests that are answered together."""

    padded_steps = 0
    """Those of chunks are counted by themselves."""

    def __init__(self, requests: Sequence[RequestInHand]) -> None:
        self.members = [request.pending for request in requests]
        self.rows_each = [request.checked.batch for request in requests]
        self.arrivals = [pending.arrived for pending in self.members]
        self.rows = sum(self.rows_each)


class _Places:
    """Where a row, and steps of it, are in an array of a tensor."""

    __slots__ = ("_batch_axis", "_dimensions", "is_plain", "sequence_axis")

    def __init__(self, spec: TensorSpec, axis: str) -> None:
        self._dimensions = len(spec.axes)
        self._batch_axis = spec.batch_axis
        self.sequence_axis = spec.sequence_axes.get(axis)
        self.is_plain = self._batch_axis == 0 and self.sequence_axis == 1

    def of(self, row: int, start: int, steps: int) -> Any:  # noqa: ANN401 - an index
        if self.is_plain:
            return row, slice(start, start + steps)
        index: list[Any] = [slice(None)] * self._dimensions
        index[self._batch_axis] = row
        if self.sequence_axis is not None:
            index[self.sequence_axis] = slice(start, start + steps)
        return tuple(index)

    def rows(self, rows: Any) -> Any:  # noqa: ANN401 - an index
        index: list[Any] = [slice(None)] * self._dimensions
        index[self._batch_axis] = rows
        return tuple(index)


class StepArrays:
    """The arrays of chunks: what goes in, what comes out, and the states between them."""

    def __init__(self, signature: Signature) -> None:
        """Begin without rows.

        Args:
            signature: Signature of a model with one sequence axis.
        """
        (self._axis,) = signature.sequence_axes
        self._signature = signature
        self._inputs = {name: _Places(spec, self._axis) for name, spec in signature.inputs.items()}
        self._outputs = {name: _Places(spec, self._axis) for name, spec in signature.outputs.items()}
        self._lengths = signature.lengths.get(self._axis)
        self._finals = {name: final.name for name, final in signature.states.items()}
        self._states: dict[str, Array] = {}  # final states by initial one's name, of the rows that have been run
        self._kept: list[int] = []  # where in them each row is that goes on, in the rows' order
        self._initial: dict[str, Array] = {}

    @property
    def has_lengths(self) -> bool:
        """Whether rows may end within a chunk."""
        return self._lengths is not None and self._signature.is_padded

    def may_be_cut(self, checked: CheckedRequest) -> bool:
        """Whether a request may be run in chunks: where what follows a row's length is zeros, or nothing does."""
        if self._lengths is None or self._lengths.name not in checked.inputs:
            return True
        size = checked.sizes[self._axis]
        specs = [self._signature.outputs[name] for name in checked.outputs]
        if all(spec.zeros_after_lengths for spec in specs if spec.sized_by):
            return True
        return bool((checked.inputs[self._lengths.name] == size).all())

    def request(self, pending: PendingRequest, checked: CheckedRequest, started: float) -> RequestInHand:
        """Take a request in hand, of which all rows wait."""
        specs = [self._signature.outputs[name] for name in checked.outputs]
        shapes = {spec.name: spec.shape(checked.batch, checked.sizes) for spec in specs}
        size = sum([math.prod(shapes[spec.name]) * spec.dtype.itemsize for spec in specs])
        if self._lengths is not None and self._lengths.name in checked.inputs:
            ends = checked.inputs[self._lengths.name].tolist()
        else:
            ends = [checked.longest[self._axis]] * checked.batch
        return RequestInHand(pending, checked, started, ends, shapes, size, any(spec.sized_by for spec in specs))

    def make_outputs(self, request: RequestInHand) -> None:
        """Make the outputs of a request: zeros where they have steps."""
        specs = self._signature.outputs
        for name, shape in request.shapes.items():
            make = np.zeros if specs[name].sized_by else np.empty
            request.outputs[name] = make(shape, specs[name].dtype)

    def wanted(self, asked: Iterable[tuple[str, ...]]) -> list[str]:
        """The outputs that a chunk gives: those asked for, and the final states."""
        return list(dict.fromkeys(itertools.chain(self._finals.values(), *asked)))

    def keep(self, kept: Sequence[int]) -> None:
        """Keep the states of some rows only, by their places."""
        self._kept = [self._kept[at] for at in kept if at < len(self._kept)]

    def begin(self, rows: Sequence[Row]) -> None:
        """Put the states together from which the rows of a chunk go on: those that have run first, then new ones."""
        count, kept = len(rows), len(self._kept)
        run_rows = rows_of_run(self._signature, count)
        goes_on = self._kept == list(range(count))  # all of them, and no others: nothing need be copied
        initial = {}
        for name in self._finals:
            spec, places = self._signature.inputs[name], self._inputs[name]
            if goes_on and self._states[name].shape[spec.batch_axis] == run_rows:
                initial[name] = self._states[name]
                continue
            array = left_out(spec, spec.shape(run_rows, {})).copy()
            if kept:
                array[places.rows(slice(0, kept))] = self._states[name][places.rows(self._kept)]
            for at in range(kept, count):
                sent = rows[at].request.checked.inputs.get(name)
                if sent is not None:
                    array[places.rows(at)] = sent[places.rows(rows[at].number)]
            initial[name] = array
        self._initial = initial

    def feeds(self, rows: Sequence[Row], places: Sequence[int], taken: Sequence[int], size: int) -> dict[str, Array]:
        """Put the inputs of a run together: of the rows at these places, the next steps."""
        count = len(places)
        run_rows = rows_of_run(self._signature, count)
        feeds: dict[str, Array] = {}
        for name, spec in self._signature.inputs.items():
            of = self._inputs[name]
            if name in self._initial:
                feeds[name] = self._states_of(name, places, len(rows), run_rows)
            elif spec is self._lengths:
                padding = [min(spec.filler, size)] * (run_rows - count)
                feeds[name] = np.array([*[taken[at] for at in places], *padding], spec.dtype)
            else:
                shape = spec.shape(run_rows, {self._axis: size})
                if not any(name in rows[at].request.checked.inputs for at in places):
                    feeds[name] = left_out(spec, shape)
                    continue
                if spec.default is None:
                    array = np.full(shape, spec.filler, spec.dtype) if spec.filler else np.zeros(shape, spec.dtype)
                else:
                    array = left_out(spec, shape).copy()
                for index, at in enumerate(places):
                    row, steps = rows[at], taken[at]
                    sent = row.request.checked.inputs.get(name)
                    if sent is None:
                        continue
                    if of.is_plain:
                        array[index, :steps] = sent[row.number, row.at : row.at + steps]
                    else:
                        array[of.of(index, 0, steps)] = sent[of.of(row.number, row.at, steps)]
                feeds[name] = array
        return feeds

    def _states_of(self, name: str, places: Sequence[int], count: int, run_rows: int) -> Array:
        """The states of rows at these places of all `count` rows."""
        initial = self._initial[name]
        if len(places) == count:
            return initial
        spec, of = self._signature.inputs[name], self._inputs[name]
        array = left_out(spec, spec.shape(run_rows, {})).copy()
        array[of.rows(slice(0, len(places)))] = initial[of.rows(list(places))]
        return array

    def take(
        self, row: Row, index: int, start: int, steps: int, results: Mapping[str, Array], *, is_last: bool
    ) -> None:
        """Write what a chunk has given for a row into its request's outputs.

        Args:
            row: The row.
            index: Place of the row in the results.
            start: Steps that had been made of it before.
            steps: Steps that were made of it.
            results: Results of the chunk by name.
            is_last: Whether it has ended.
        """
        outputs = row.request.outputs
        for name in outputs:
            of = self._outputs[name]
            if of.sequence_axis is not None:
                outputs[name][of.of(row.number, start, steps)] = results[name][of.of(index, 0, steps)]
            elif is_last:
                if row.request.checked.batch == 1:
                    outputs[name] = results[name][of.rows(slice(index, index + 1))]
                else:
                    outputs[name][of.rows(row.number)] = results[name][of.rows(index)]

    def end(self, finals: Sequence[tuple[Sequence[int], Mapping[str, Array]]]) -> None:
        """Keep the states of the rows that go on.

        Args:
            finals: Places of the rows that go on in the results of each run of the chunk, and these by name.
        """
        self._initial = {}
        if not any(kept for kept, _ in finals):
            self._kept, self._states = [], {}
            return
        if len(finals) == 1:
            (kept, results) = finals[0]
            self._kept = list(kept)
            self._states = {name: results[final] for name, final in self._finals.items()}
            return
        parts = [
            {name: results[final][self._inputs[name].rows(list(kept))] for name, final in self._finals.items()}
            for kept, results in finals
        ]
        self._kept = list(range(sum([len(kept) for kept, _ in finals])))
        self._states = {
            name: np.concatenate([part[name] for part in parts], axis=self._signature.inputs[name].batch_axis)
            for name in self._finals
        }
