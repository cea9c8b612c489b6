"""Step-level batching: finished rows are answered and leave the batch, and waiting rows take their places.

A batch of whole requests is as long as its longest request, so shorter rows are padded and wait for it. If sequences
can be split and resumed from their states with identical bits, the batch need not contain whole requests. Instead, each
chunk runs a few steps of every row in the batch and keeps the states. The next chunk runs the rows that are in the
batch by then.

Source: Gao et al., "Low latency RNN inference with cellular batching", EuroSys 2018.
"""

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from threading import get_ident
from typing import Any

import numpy as np

from rnnserve.server.batching.batch_arrays import left_out, rows_of_run
from rnnserve.server.batching.execution import (
    BatchModel,
    CheckedBatch,
    Cost,
    PendingRequest,
    answer_all,
    check_pending,
    reason_to_drop,
    run_batch,
    runs_in_progress,
)
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.clock import now
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.validation.checking import refuse_non_finite
from rnnserve.server.validation.signature import Array, CheckedRequest, TensorSpec

__all__ = ["CHUNK_SECONDS", "MOST_ROWS", "StepRun", "chunk_steps"]

MOST_ROWS = 128
"""Rows in the batch of a step-level run. With more rows, each step takes longer, and all rows wait for it. Beyond it:
further rows wait for a place."""

_MOST_BYTES = 64 << 20
"""Maximum bytes of outputs of requests with rows in the batch, unless one request alone exceeds it."""

CHUNK_SECONDS = 5e-3
"""Target seconds of a chunk, unless one step alone takes longer. This is how long a row waits for a place."""

_RISE, _LEAST = 1.1, 0.01
"""Limits of the measured ratio of a chunk's time to its cost: its growth per chunk, and its minimum. Growth is limited
so that the fastest recent chunks dominate, because other work on the machine can only slow a chunk down. Without the
limit, a 5 ms chunk that waited 50 ms for the processor would halve the next chunks, and each chunk has a fixed cost."""

_CHUNK_FIXED, _ROW_FIXED = 100e-6, 4e-6
"""Seconds of overhead per chunk besides the steps: for joining its arrays, and for each of its rows."""


def chunk_steps(left: Sequence[int], cost: Cost, *, is_padded: bool, seconds: float = CHUNK_SECONDS) -> int:
    """Return the number of steps of the next chunk, for rows with `left` steps left each: the most steps per second.

    Shorter chunks pay the fixed cost more often. In longer chunks, finished rows wait, padded, for the others. By the
    cost model, the chunk takes at most `seconds`, unless a single step exceeds that. If `is_padded` is False, no row
    may end within the chunk.
    """
    rows = len(left)
    step = cost.step + rows * cost.point
    most = max(1, int(seconds / step)) if step else max(left)
    most = max(1, min(most, max(left) if is_padded else min(left)))
    if not is_padded:
        return most
    ends = sorted(left)
    fixed = cost.run + _CHUNK_FIXED + rows * _ROW_FIXED
    best, best_rate, ended = most, 0.0, 0
    for at, steps in enumerate(itertools.chain(ends, (most,))):
        size = min(max(steps, 1), most)
        useful = ended + (rows - min(at, rows)) * size
        padding = rows * size - useful
        rate = useful / (fixed + size * step - padding * (cost.point - cost.padding))
        if rate > best_rate:
            best, best_rate = size, rate
        if size == most:
            break
        ended += steps
    return best


@dataclasses.dataclass(slots=True, eq=False)
class _Request:
    """A request in flight: its rows are in the batch or wait for a place."""

    pending: PendingRequest
    checked: CheckedRequest
    started: float  # when it was accepted, in seconds on `clock`
    ends: Sequence[int]  # number of steps of each row
    shapes: Mapping[str, tuple[int, ...]]  # shapes of the requested outputs
    bytes: int  # size of these outputs
    has_steps: bool  # whether an output has a step axis, so that it is written after each chunk
    rows_waiting: int  # rows without a place: the last ones
    rows_running: int = 0
    outputs: dict[str, Array] = dataclasses.field(default_factory=dict)  # empty until the first row has a place
    is_over: bool = False  # answered or refused


class _Row:
    """A row in the batch."""

    __slots__ = ("at", "end", "number", "place", "request", "states")

    def __init__(self, request: _Request, number: int) -> None:
        self.request = request
        self.number = number  # index in its request
        self.at = 0  # steps completed
        self.end = request.ends[number]
        # Final states of its last chunk, by initial state, for all rows of that chunk
        self.states: dict[str, Array] | None = None
        self.place = 0  # index among those rows


class _Ended(CheckedBatch):
    """Requests answered together. Their padding has already been counted per chunk."""

    __slots__ = ()

    padded_steps = 0


class StepRun:
    """Runs a model's requests in chunks of steps. Not thread-safe."""

    def __init__(self, model: BatchModel, statistics: Statistics | None = None) -> None:
        """Start without requests. The model must have one sequence axis along which sequences may be split."""
        self._model = model
        self._statistics = statistics or model.statistics
        signature = model.signature
        (self._axis,) = signature.sequence_axes
        self._lengths = signature.lengths.get(self._axis)
        self._finals = {name: final.name for name, final in signature.states.items()}  # final states by initial state
        specs = (*signature.inputs.values(), *signature.outputs.values())
        self._plain = {
            spec.name for spec in specs if spec.has_plain_rows and spec.sequence_axes
        }  # (batch, sequence, …)
        self._in_hand: list[_Request] = []
        self._waiting: deque[_Request] = deque()  # requests with rows that wait for a place
        self._rows: list[_Row] = []
        self._times_cost = 1.0  # measured time of undisturbed chunks, as a multiple of their cost

    @property
    def is_busy(self) -> bool:
        """Whether requests are in flight."""
        return bool(self._in_hand)

    @property
    def room(self) -> int:
        """Number of further rows for which there is a place."""
        free = MOST_ROWS - len(self._rows)
        return free - sum([min(request.rows_waiting, _most_of(request)) for request in self._waiting])

    def go_on(self, pending: Iterable[PendingRequest]) -> None:
        """Accept requests and run one chunk for all requests in flight. Requests that can't be split run whole."""
        try:
            started = now()
            for one, checked in zip(*check_pending(self._statistics, pending), strict=True):
                if self._may_be_cut(checked):
                    request = self._request(one, checked, started)
                    self._in_hand.append(request)
                    self._waiting.append(request)
                else:
                    run_batch(self._model, CheckedBatch(self._model, [one], [checked]))
            self.advance()
        except Exception as error:  # noqa: BLE001 - a defect must not leave callers waiting or block a sequence
            self._abandon(error)

    def advance(self) -> None:
        """Run a chunk of steps for every row in the batch, and answer the requests whose rows are finished."""
        self._drop_late()
        self._give_places()
        rows = self._rows
        if not rows:
            return
        left = [row.end - row.at for row in rows]
        cost, signature = self._model.cost, self._model.signature
        is_padded = self._lengths is not None and signature.is_padded
        size = chunk_steps(left, cost, is_padded=is_padded, seconds=CHUNK_SECONDS / self._times_cost)
        started = now()
        ran = self._run(rows, size)
        ended = now()
        said = cost.of(len(rows), size)
        if said > 0:
            self._times_cost = max(min((ended - started) / said, _RISE * self._times_cost), _LEAST)
        for of_run, results in ran:
            self._take(of_run, size, results)
        self._rows = [row for row in rows if row.at < row.end and not row.request.is_over]
        useful = sum([min(steps, size) for steps in left])
        padded_steps = rows_of_run(signature, len(rows)) * size - useful
        self._statistics.record_run(len(rows), ended - started, useful, padded_steps)
        over = [request for request in self._in_hand if not (request.rows_running or request.rows_waiting)]
        if over:
            self._answer(over, ended)

    def _abandon(self, error: Exception) -> None:
        in_hand, self._in_hand = self._in_hand, []
        self._waiting.clear()
        self._rows = []
        for request in in_hand:
            request.pending.refuse(InternalError.hiding(error))

    def _may_be_cut(self, checked: CheckedRequest) -> bool:
        """Return whether a request may run in chunks: outputs after the end of a row must be zeros, or not exist."""
        if self._lengths is None or self._lengths.name not in checked.inputs:
            return True
        specs = [self._model.signature.outputs[name] for name in checked.outputs]
        if all(spec.zeros_after_lengths for spec in specs if spec.sized_by):
            return True
        return bool((checked.inputs[self._lengths.name] == checked.sizes[self._axis]).all())

    def _request(self, pending: PendingRequest, checked: CheckedRequest, started: float) -> _Request:
        """Create the record of a request in flight. All of its rows wait for a place."""
        specs = [self._model.signature.outputs[name] for name in checked.outputs]
        shapes = {spec.name: spec.shape(checked.batch, checked.sizes) for spec in specs}
        size = sum([math.prod(shapes[spec.name]) * spec.dtype.itemsize for spec in specs])
        if self._lengths is not None and self._lengths.name in checked.inputs:
            ends = checked.inputs[self._lengths.name].tolist()
        else:
            ends = [checked.longest[self._axis]] * checked.batch
        has_steps = any(spec.sized_by for spec in specs)
        return _Request(pending, checked, started, ends, shapes, size, has_steps, rows_waiting=checked.batch)

    def _drop_late(self) -> None:
        at, statistics = now(), self._statistics
        late = [request for request in self._in_hand if request.pending.deadline < at]
        for request in late:
            pending = request.pending
            dropped = reason_to_drop(pending, at, has_begun=bool(request.outputs))
            if dropped is not None:
                statistics.record_dropped(at - pending.arrived)
                pending.refuse(dropped.of(statistics.counts))
                self._forget(request)
        if late:
            self._rows = [row for row in self._rows if not row.request.is_over]

    def _forget(self, request: _Request) -> None:
        request.is_over = True
        self._in_hand.remove(request)
        if request.rows_waiting:
            self._waiting.remove(request)

    def _give_places(self) -> None:
        """Move waiting rows into the batch. Requests with large outputs wait until there is memory for them."""
        free = MOST_ROWS - len(self._rows)
        is_alone = len(self._waiting) == 1
        held = sum([request.bytes for request in self._in_hand if request.outputs])
        specs = self._model.signature.outputs
        for request in list(self._waiting):
            if not free:
                return
            if not request.outputs:
                if held and held + request.bytes > _MOST_BYTES:
                    continue
                for name, shape in request.shapes.items():
                    make = np.zeros if specs[name].sized_by else np.empty
                    request.outputs[name] = make(shape, specs[name].dtype)
                held += request.bytes
            count = min(free, request.rows_waiting, free if is_alone else _most_of(request))
            first = request.checked.batch - request.rows_waiting
            self._rows += [_Row(request, number) for number in range(first, first + count)]
            request.rows_waiting -= count
            request.rows_running += count
            free -= count
            if not request.rows_waiting:
                self._waiting.remove(request)

    def _run(self, rows: list[_Row], size: int) -> list[tuple[list[_Row], dict[str, Array]]]:
        """Run the next steps of rows. After an error, split the rows in halves until the failing requests are found."""
        asked = {request.checked.outputs for request in self._in_hand}
        names = list(dict.fromkeys(itertools.chain(self._finals.values(), *asked)))
        try:
            feeds = self._feeds(rows, size)
            thread = get_ident()
            runs_in_progress[thread] = self._model, None, now()
            try:
                results = self._model.run_arrays(names, feeds)
            finally:
                runs_in_progress.pop(thread, None)
        except Exception as error:  # noqa: BLE001 - callers need a response, and the other rows must go on
            requests = list(dict.fromkeys(row.request for row in rows))
            if len(requests) == 1:
                self._fail(requests[0], error)
                return []
            first = set(requests[: len(requests) // 2])
            halves = [[row for row in rows if (row.request in first) is is_first] for is_first in (True, False)]
            return [ran for half in halves for ran in self._run(half, size)]
        return [(rows, dict(zip(names, results, strict=True)))]

    def _feeds(self, rows: list[_Row], size: int) -> dict[str, Array]:
        """Build the inputs for the next `size` steps of rows."""
        run_rows = rows_of_run(self._model.signature, len(rows))
        taken = [min(row.end - row.at, size) for row in rows]
        feeds = self._states(rows, run_rows)
        for name, spec in self._model.signature.inputs.items():
            if name in feeds:
                continue
            if spec is self._lengths:
                padding = [min(spec.filler, size)] * (run_rows - len(rows))
                feeds[name] = np.array([*taken, *padding], spec.dtype)
                continue
            shape = spec.shape(run_rows, {self._axis: size})
            if not any(name in row.request.checked.inputs for row in rows):
                feeds[name] = left_out(spec, shape)
                continue
            if spec.default is None:
                array = np.full(shape, spec.filler, spec.dtype) if spec.filler else np.zeros(shape, spec.dtype)
            else:
                array = left_out(spec, shape).copy()
            for index, (row, steps) in enumerate(zip(rows, taken, strict=True)):
                sent = row.request.checked.inputs.get(name)
                if sent is None:
                    continue
                if name in self._plain:
                    array[index, :steps] = sent[row.number, row.at : row.at + steps]
                else:
                    array[_part(spec, index, 0, steps)] = sent[_part(spec, row.number, row.at, steps)]
            feeds[name] = array
        return feeds

    def _states(self, rows: list[_Row], run_rows: int) -> dict[str, Array]:
        """Return the initial states of rows: from their last chunk, or from their requests."""
        first = rows[0].states
        goes_on = first is not None and [r.place for r in rows if r.states is first] == list(range(len(rows)))
        initial: dict[str, Array] = {}
        for name in self._finals:
            spec = self._model.signature.inputs[name]
            if goes_on and first is not None and first[name].shape[spec.batch_axis] == run_rows:
                initial[name] = first[name]  # exactly the rows of the last chunk, so no copy is needed
                continue
            array = left_out(spec, spec.shape(run_rows, {})).copy()
            at = 0
            for _, group in itertools.groupby(rows, key=lambda row: id(row.states)):
                of_run = list(group)
                states = of_run[0].states
                if states is not None:
                    places = [row.place for row in of_run]
                    array[_rows(spec, slice(at, at + len(of_run)))] = states[name][_rows(spec, places)]
                else:
                    for index, row in enumerate(of_run, at):
                        sent = row.request.checked.inputs.get(name)
                        if sent is not None:
                            array[_rows(spec, index)] = sent[_rows(spec, row.number)]
                at += len(of_run)
            initial[name] = array
        return initial

    def _take(self, rows: list[_Row], size: int, results: Mapping[str, Array]) -> None:
        """Copy the results of a chunk into the requests' outputs, and keep the states for the next chunk."""
        states = {name: results[final] for name, final in self._finals.items()}
        specs = self._model.signature.outputs
        for index, row in enumerate(rows):
            request, start = row.request, row.at
            row.at = end = min(row.end, start + size)
            row.states, row.place = states, index
            is_last = end >= row.end
            if is_last:
                request.rows_running -= 1
            elif not request.has_steps:
                continue
            outputs, number, steps = request.outputs, row.number, end - start
            for name in outputs:
                spec = specs[name]
                if name in self._plain:
                    outputs[name][number, start:end] = results[name][index, :steps]
                elif spec.sequence_axes:
                    outputs[name][_part(spec, number, start, steps)] = results[name][_part(spec, index, 0, steps)]
                elif is_last and request.checked.batch == 1:
                    outputs[name] = results[name][_rows(spec, slice(index, index + 1))]
                elif is_last:
                    outputs[name][_rows(spec, number)] = results[name][_rows(spec, index)]

    def _answer(self, over: Sequence[_Request], ended: float) -> None:
        """Answer finished requests. Requests accepted together are answered together."""
        by_start: dict[float, list[_Request]] = {}
        for request in over:
            request.is_over = True
            if self._model.refuses_non_finite:
                try:
                    refuse_non_finite(request.checked, request.outputs, self._model.signature)
                except ServeError as error:
                    self._fail(request, error)
                    continue
            by_start.setdefault(request.started, []).append(request)
        self._in_hand = [request for request in self._in_hand if not request.is_over]
        for started, requests in by_start.items():
            batch = _Ended(self._model, [each.pending for each in requests], [each.checked for each in requests])
            answer_all(self._statistics, batch, [request.outputs for request in requests], started, ended)
            self._statistics.record_answers(batch.rows, ended - started, batch.arrivals, ended)

    def _fail(self, request: _Request, error: Exception) -> None:
        pending, failed, statistics = request.pending, now(), self._statistics
        self._forget(request)
        statistics.record_failure(failed - pending.arrived)
        refused = error if isinstance(error, ServeError) else InternalError.hiding(error)
        refused.run_seconds = failed - request.started
        pending.refuse(refused.of(statistics.counts).of_request(request.checked.batch, pending.arrived))


def _most_of(request: _Request) -> int:
    """Return how many more rows of a request may join: at most half of the batch, so that others find places."""
    return max(MOST_ROWS // 2 - request.rows_running, 0)


def _rows(spec: TensorSpec, rows: int | slice | list[int]) -> tuple[Any, ...]:
    """Return the index of rows in a tensor's array."""
    return (*(slice(None),) * spec.batch_axis, rows)


def _part(spec: TensorSpec, row: int, start: int, steps: int) -> tuple[Any, ...]:
    """Return the index of a row's steps in a tensor's array, or of the whole row if the tensor has no step axis."""
    index: list[Any] = [slice(None)] * len(spec.axes)
    index[spec.batch_axis] = row
    for axis in spec.sequence_axes.values():
        index[axis] = slice(start, start + steps)
    return tuple(index)
