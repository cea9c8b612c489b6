"""From calls that arrived on the lane to their answers.

Calls whose header is known wait as they are; the others pass the boundary first, and leave their header behind. Small
models run on the lane's own thread, a batch of one model at a time: whoever arrives meanwhile is in the next. A large
model runs on its scheduler's thread, so that it delays no other.

What a request costs, in microseconds (`[1, 4, 2]`, logits, hidden 16; onnxruntime 1.32, grpcio 1.85, one core of an AMD
EPYC; gRPC's share from the lane answering a constant in `make bench`, the rest timed step by step):

=====================================  =============  =====
step                                   64 together    alone
=====================================  =============  =====
gRPC: accept, receive, poll, send               23     150
recognise the header                           1.1     2.4
check and join the data                        0.2     2
onnxruntime                                    0.6      11
cut the answer                                 0.3     1
lines, planning, counting                      1.5     6
=====================================  =============  =====

A header that is not recognised costs some 60 more, for parsing and checking, and 5 for building the response. Alone,
gRPC is mostly two processes waking each other. With hidden 128 and lengths of 1 to 64, onnxruntime takes 37 % of the
lane's time and sending 27 % (py-spy): one system call a response, and each wakes the client.
"""

import dataclasses
import time
from collections import deque

from rnnserve.server.batching import plan
from rnnserve.server.errors import InternalError, QueueFull, ServeError
from rnnserve.server.headers import Header, Headers, Known
from rnnserve.server.lane import LaneCall
from rnnserve.server.lines import Line
from rnnserve.server.lone import Lone
from rnnserve.server.model import Model
from rnnserve.server.padded import is_finite, longest_of, run_padded
from rnnserve.server.repository import Served
from rnnserve.server.running import Answer, Work, run_all
from rnnserve.server.service import Call, Service

__all__ = ["Dispatcher"]

_SMALL = 10e-3
"""A model whose run of 64 rows of 64 steps takes no more seconds than this runs on the lane's own thread."""

_MOST_LONE = 512
"""For how many headers the buffers of lone requests are kept."""


@dataclasses.dataclass(slots=True, eq=False)
class _Waiting:
    """A call in the line of a small model: known by its header, or having passed the boundary already."""

    lane_call: LaneCall
    known: Known | None
    call: Call | None
    arrived: int
    rows: int
    steps: int


class Dispatcher:
    """Takes calls, and works at them a batch at a time. For one thread, the lane's."""

    def __init__(self, service: Service, capacity: int) -> None:
        """Answer with a service.

        Args:
            service: What answers.
            capacity: How many calls may wait for each model.
        """
        self._service = service
        self._capacity = capacity
        self._headers = Headers()
        self._generation = service.repository.generation
        self._lines: dict[Served, Line[_Waiting]] = {}
        self._turns: deque[Served] = deque()
        self._lone: dict[Header, Lone] = {}

    def take(self, arrived: list[LaneCall]) -> None:
        """Put calls into their models' lines; answer those at once that cannot be served."""
        if self._generation != self._service.repository.generation:
            self._headers.forget()
            self._lone.clear()
            self._generation = self._service.repository.generation
        now = time.perf_counter_ns()
        recognise = self._headers.recognise
        for lane_call in arrived:
            try:
                known = recognise(lane_call.payload)
                if known is None:
                    call = self._service.accept(lane_call.payload)
                    self._headers.remember(lane_call.payload, call)
                    inference = call.inference
                    self._admit(call.served, _Waiting(lane_call, None, call, now, inference.batch, inference.sequence))
                else:
                    header = known.header
                    self._admit(header.served, _Waiting(lane_call, known, None, now, header.batch, header.sequence))
            except ServeError as error:
                lane_call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect is not its neighbours'
                lane_call.refuse(InternalError.hiding(error))

    def work(self) -> bool:
        """Run a batch of the model whose turn it is; return whether more waits."""
        if not self._turns:
            return False
        served = self._turns.popleft()
        line = self._lines[served]
        taken = line.take(served.model.cost)
        if len(taken) > 1 or not self._run_lone(taken[0]):
            self._run(served.model, taken)
        if line:
            self._turns.append(served)
        return bool(self._turns)

    def _admit(self, served: Served, waiting: _Waiting) -> None:
        line = self._lines.get(served)
        if line is None:
            if not _is_small(served):
                for work in self._work_of(waiting):
                    waiting.lane_call.watch(work.cancel)
                    served.scheduler.submit(work)
                return
            line = self._lines[served] = Line()
        if len(line) >= self._capacity:
            raise QueueFull(f"{served.model.name}: {self._capacity} requests wait already (--max-queue); slow down")
        if not line:
            self._turns.append(served)
        if line.is_crowd:
            waiting.lane_call.watch()
            line.add_to_crowd(waiting, waiting.lane_call.peer())
        else:
            line.add(waiting)

    def _run_lone(self, waiting: _Waiting) -> bool:
        """Run a call that is alone the short way; False where it has to go the usual way."""
        known, lane_call = waiting.known, waiting.lane_call
        if known is None or lane_call.cancelled or lane_call.deadline < time.time():
            return False
        lone = self._lone.get(known.header)
        if lone is None:
            if not Lone.fits(known.header):
                return False
            if len(self._lone) >= _MOST_LONE:
                self._lone.clear()
            lone = Lone(known.header, allow_non_finite=self._service.limits.allow_non_finite)
            self._lone[known.header] = lone
        try:
            response = lone.run(known, waiting.arrived)
        except Exception as error:  # noqa: BLE001 - its caller must hear, and the lane must go on
            lane_call.refuse(InternalError.hiding(error))
            return True
        if response is None:
            return False
        lane_call.answer(response)
        return True

    def _run(self, model: Model, taken: list[_Waiting]) -> None:
        """Run what was taken from a model's line: requests with known headers together, the others behind them."""
        together: list[tuple[_Waiting, Known]] = []
        lengths: list[int] = []
        others: list[_Waiting] = []
        now = time.time()
        for waiting in taken:
            known = waiting.known
            if known is None or waiting.lane_call.cancelled or waiting.lane_call.deadline < now:
                others.append(waiting)
            elif longest := longest_of(known):
                together.append((waiting, known))
                lengths.append(longest)
            else:
                others.append(waiting)
        if together:
            for group in plan(lengths, [known.header.batch for _, known in together], model.cost):
                steps = max([lengths[index] for index in group])
                others += self._run_together(model, [together[index] for index in group], steps)
        if others:
            run_all(model, [work for waiting in others for work in self._work_of(waiting)])

    def _run_together(self, model: Model, members: list[tuple[_Waiting, Known]], steps: int) -> list[_Waiting]:
        """Run requests as one batch and answer them; return those that have to pass the boundary instead."""
        started = time.perf_counter_ns()
        limits, statistics = self._service.limits, model.statistics
        try:
            known = [known for _, known in members]
            responses = run_padded(model, known, steps, allow_non_finite=limits.allow_non_finite)
        except Exception as error:  # noqa: BLE001 - whatever it is, its callers must hear, and the lane must go on
            statistics.failures += len(members)
            hidden = InternalError.hiding(error)
            for waiting, _ in members:
                waiting.lane_call.refuse(hidden)
            return []
        if responses is None:
            finite = [member for member in members if is_finite(member[1])]
            others = [waiting for waiting, known in members if not is_finite(known)]
            return others + self._run_together(model, finite, steps) if finite else others
        statistics.record(
            requests=len(members),
            rows=sum([known.header.batch for _, known in members]),
            run_ns=time.perf_counter_ns() - started,
            wait_ns=sum([started - waiting.arrived for waiting, _ in members]),
        )
        for (waiting, _), response in zip(members, responses, strict=True):
            waiting.lane_call.answer(response)
        return []

    def _work_of(self, waiting: _Waiting) -> list[Work]:
        """Take a call through the boundary where it has not passed yet; no work where it does not pass."""
        lane_call = waiting.lane_call
        try:
            call = waiting.call or self._service.accept(lane_call.payload)
        except ServeError as error:
            lane_call.refuse(error)
            return []
        except Exception as error:  # noqa: BLE001 - one request's defect is not its neighbours'
            lane_call.refuse(InternalError.hiding(error))
            return []

        def answer(answer: Answer) -> None:
            if isinstance(answer, ServeError):
                lane_call.refuse(answer)
            else:
                lane_call.answer(call.respond(answer))

        deadline = time.monotonic() + lane_call.deadline - time.time()
        return [Work(call.inference, answer, deadline, lane_call.cancelled, waiting.arrived)]


def _is_small(served: Served) -> bool:
    return served.model.cost.of(64, 64) <= _SMALL
