"""Runs that go on by steps: rows that have ended are answered and leave, and rows that wait take their places.

A run of whole requests is as long as the longest of them: shorter rows wait for it, and are padded meanwhile. Where a
sequence may be cut, and continued from its states with the same bits, a run need not be of whole requests: it makes a
few steps of every row that is in it, keeps the states, and begins again with whatever rows there are then.

Source: Gao et al., "Low latency RNN inference with cellular batching", EuroSys 2018.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from threading import get_ident
from typing import NamedTuple

from rnnserve.server.batching.batch_arrays import rows_of_run
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.execution import StepModel, answer_all, pass_boundary, run_pending
from rnnserve.server.batching.lateness import reason_to_drop, reason_to_stop
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.runs_in_progress import runs_in_progress
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.batching.step_rows import EndedRequests, RequestInHand, Row, StepArrays
from rnnserve.server.boundary.checked_request import Array
from rnnserve.server.boundary.finite_outputs import refuse_non_finite
from rnnserve.server.clock import now
from rnnserve.server.errors import InternalError, ServeError

__all__ = ["CHUNK_SECONDS", "MOST_ROWS", "StepRun", "chunk_steps"]

MOST_ROWS = 128
"""Rows of a run of steps: with more, a step takes longer, and all of them wait for it. Beyond it: they wait for a
place."""

_MOST_BYTES = 64 << 20
"""Bytes of outputs of requests that have places, unless one alone has more."""

CHUNK_SECONDS = 5e-3
"""Seconds that the steps of a chunk take, unless one alone takes more: so long does a row wait for a place."""

_RISE, _LEAST = 1.1, 0.01
"""How many times as long as their cost says chunks take, beside the same one chunk before, and at all. The shortest of
several counts: other work on the machine can only add to it. A chunk of 5 ms that waited 50 for the processor would
make those after it shorter by half, and each costs its fixed part."""

_CHUNK_FIXED, _ROW_FIXED = 100e-6, 4e-6
"""Seconds that a chunk takes beside the steps: to put its arrays together, and for each of its rows."""


def chunk_steps(left: Sequence[int], cost: Cost, *, is_padded: bool, seconds: float = CHUNK_SECONDS) -> int:
    """Decide how many steps a chunk makes: as many as give the most steps of rows a second.

    Fewer, and what a chunk costs whatever its steps is paid more often; more, and rows that have ended wait, padded,
    for the others.

    Args:
        left: Steps that each row has left.
        cost: Cost of a run.
        is_padded: Whether rows may end within the chunk. Else it is no longer than the shortest of them.
        seconds: Seconds that the steps may take as the cost says, unless one alone takes more.
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


class _Chunk(NamedTuple):
    rows: int
    steps: int


class StepRun:
    """A run of a model's requests that goes on by chunks of steps. For one thread at a time."""

    def __init__(self, model: StepModel, statistics: Statistics | None = None) -> None:
        """Start without any request.

        Args:
            model: A model with one sequence axis, along which its sequences may be cut.
            statistics: Counts of what is run, or None for the model's own.
        """
        self._model = model
        self._statistics = statistics or model.statistics
        self._arrays = StepArrays(model.signature)
        self._in_hand: list[RequestInHand] = []
        self._waiting: deque[RequestInHand] = deque()  # those of which rows have no place yet
        self._rows: list[Row] = []
        self._times_cost = 1.0  # how many times as long as their cost says chunks take, undisturbed

    @property
    def pending(self) -> list[PendingRequest]:
        """The requests in hand."""
        return [request.pending for request in self._in_hand]

    @property
    def is_busy(self) -> bool:
        """Whether requests are in hand."""
        return bool(self._in_hand)

    @property
    def room(self) -> int:
        """How many rows of further requests would find a place."""
        free = MOST_ROWS - len(self._rows)
        return free - sum([min(request.rows_waiting, self._most_of(request)) for request in self._waiting])

    def go_on(self, waiting: Iterable[PendingRequest]) -> None:
        """Take requests in hand, and make a chunk of steps of all that are; those that may not be cut are run whole."""
        try:
            for pending in self.admit(waiting):
                run_pending(self._model, [pending])
            self.advance()
        except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor hold up a sequence
            self.abandon(error)

    def admit(self, waiting: Iterable[PendingRequest]) -> list[PendingRequest]:
        """Take requests in hand; refuse those that are late, or do not pass the boundary.

        Returns:
            Those that have to be run whole.
        """
        at, whole = now(), []
        for pending, checked in zip(*pass_boundary(self._statistics, waiting), strict=True):
            if not self._arrays.may_be_cut(checked):
                whole.append(pending)
                continue
            request = self._arrays.request(pending, checked, at)
            self._in_hand.append(request)
            self._waiting.append(request)
        return whole

    def advance(self) -> None:
        """Make a chunk of steps of every row that has a place, and answer the requests whose rows have ended."""
        self._drop_late()
        self._give_places()
        rows = self._rows
        if not rows:
            return
        left = [row.end - row.at for row in rows]
        cost = self._model.cost
        seconds = CHUNK_SECONDS / self._times_cost
        size = chunk_steps(left, cost, is_padded=self._arrays.has_lengths, seconds=seconds)
        taken = [min(steps, size) for steps in left]
        self._arrays.begin(rows)
        started = now()
        ran = self._run(list(range(len(rows))), taken, size)
        ended = now()
        said = cost.of(len(rows), size)
        if said > 0:
            self._times_cost = max(min((ended - started) / said, _RISE * self._times_cost), _LEAST)
        over = self._take_results(ran, taken)
        useful = sum(taken)
        self._statistics.record_chunk(
            rows=len(rows),
            run_seconds=ended - started,
            steps=useful,
            padded_steps=rows_of_run(self._model.signature, len(rows)) * size - useful,
        )
        if over:
            self._answer(over, ended)

    def abandon(self, error: Exception) -> None:
        """Refuse all requests in hand."""
        in_hand, self._in_hand = self._in_hand, []
        self._waiting.clear()
        self._rows = []
        for request in in_hand:
            request.pending.refuse(InternalError.hiding(error))

    def _most_of(self, request: RequestInHand) -> int:
        """How many further rows of a request may be in the run: half of all, so that one of many lets others in."""
        return max(MOST_ROWS // 2 - request.rows_running, 0)

    def _drop_late(self) -> None:
        at = now()
        late = [request for request in self._in_hand if request.pending.deadline < at]
        for request in late:
            has_begun = bool(request.outputs)
            dropped = reason_to_stop(request.pending, at) if has_begun else reason_to_drop(request.pending, at)
            if dropped is not None:
                self._refuse_late(request.pending, dropped, at)
                self._forget(request)
        if late:
            self._keep_rows()

    def _refuse_late(self, pending: PendingRequest, dropped: ServeError, at: float) -> None:
        statistics = self._statistics
        statistics.record_dropped(at - pending.arrived)
        pending.refuse(dropped.of(statistics.counts))

    def _forget(self, request: RequestInHand) -> None:
        request.is_over = True
        self._in_hand.remove(request)
        if request.rows_waiting:
            self._waiting.remove(request)

    def _keep_rows(self) -> None:
        """Take rows of forgotten requests out of the run."""
        kept = [at for at, row in enumerate(self._rows) if not row.request.is_over]
        self._arrays.keep(kept)
        self._rows = [self._rows[at] for at in kept]

    def _give_places(self) -> None:
        """Give rows that wait places: those of a request with large outputs when there is room for these."""
        free = MOST_ROWS - len(self._rows)
        is_alone = len(self._waiting) == 1
        held = sum([request.bytes for request in self._in_hand if request.outputs])
        for request in list(self._waiting):
            if not free:
                return
            if not request.outputs:
                if held and held + request.bytes > _MOST_BYTES:
                    continue
                self._arrays.make_outputs(request)
                held += request.bytes
            count = min(free, request.rows_waiting, free if is_alone else self._most_of(request))
            self._rows += request.next_rows(count)
            free -= count
            if not request.rows_waiting:
                self._waiting.remove(request)

    def _run(self, places: list[int], taken: list[int], size: int) -> list[tuple[list[int], dict[str, Array]]]:
        """Run rows; where that raises, those of halves of their requests, from the same states.

        Returns:
            Rows by their places, and the results of their run.
        """
        rows = self._rows
        names = self._arrays.wanted({request.checked.outputs for request in self._in_hand})
        try:
            feeds = self._arrays.feeds(rows, places, taken, size)
            thread = get_ident()
            runs_in_progress[thread] = self._model, _Chunk(len(places), len(places) * size), now()
            try:
                results = self._model.run_arrays(names, feeds)
            finally:
                runs_in_progress.pop(thread, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must be told, and the others must go on
            requests = list(dict.fromkeys(rows[at].request for at in places))
            if len(requests) == 1:
                self._fail(requests[0], error)
                return []
            first = set(requests[: len(requests) // 2])
            halves = [[at for at in places if (rows[at].request in first) is is_first] for is_first in (True, False)]
            return [ran for half in halves for ran in self._run(half, taken, size)]
        return [(places, dict(zip(names, results, strict=True)))]

    def _take_results(
        self, ran: Sequence[tuple[list[int], dict[str, Array]]], taken: Sequence[int]
    ) -> list[RequestInHand]:
        """Write what has come into the requests' outputs, keep the rows that go on, and give what has ended."""
        over, rows = [], self._rows
        kept: list[Row] = []
        finals: list[tuple[list[int], dict[str, Array]]] = []
        for places, results in ran:
            going_on = []
            for index, place in enumerate(places):
                row, steps = rows[place], taken[place]
                request, start = row.request, row.at
                if request.is_over:
                    continue
                row.at = start + steps
                is_last = row.at >= row.end
                if is_last or request.has_steps:
                    self._arrays.take(row, index, start, steps, results, is_last=is_last)
                if not is_last:
                    going_on.append(index)
                    kept.append(row)
                    continue
                request.rows_running -= 1
                if not (request.rows_running or request.rows_waiting):
                    over.append(request)
            finals.append((going_on, results))
        self._rows = kept
        self._arrays.end(finals)
        return over

    def _answer(self, over: Sequence[RequestInHand], ended: float) -> None:
        """Answer requests all of whose rows have ended, those together that were taken in hand together."""
        by_start: dict[float, list[RequestInHand]] = {}
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
        statistics = self._statistics
        for started, requests in by_start.items():
            batch = EndedRequests(requests)
            answer_all(statistics, batch, [request.outputs for request in requests], started, ended)
            statistics.record_answers(
                rows=batch.rows, run_seconds=ended - started, arrivals=batch.arrivals, ended=ended
            )

    def _fail(self, request: RequestInHand, error: Exception) -> None:
        pending, failed, statistics = request.pending, now(), self._statistics
        if request in self._in_hand:
            self._forget(request)
        statistics.record_failure(failed - pending.arrived)
        refused = error if isinstance(error, ServeError) else InternalError.hiding(error)
        refused.run_seconds = failed - request.started
        pending.refuse(refused.of(statistics.counts).of_request(request.checked.batch, pending.arrived))
