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

from rnnserve.server.blocks import answers_of, join_known
from rnnserve.server.errors import InternalError, QueueFull, ServeError
from rnnserve.server.headers import Header, Headers, Known
from rnnserve.server.lane import LaneCall
from rnnserve.server.lines import Line
from rnnserve.server.lone import Lone
from rnnserve.server.repository import Served
from rnnserve.server.running import Answer, Work, run_all
from rnnserve.server.service import Call, Service

__all__ = ["Dispatcher"]

_SMALL = 10e-3
"""A model whose run of 64 rows of 64 steps takes no more seconds than this runs on the lane's own thread."""

_BATCH = 256
"""How many calls of one model are run before the lane looks again who has arrived."""

_MOST_LONE = 512
"""For how many headers the buffers of lone requests are kept."""

_BLOCK_POINTS = 1 << 14
"""A block has no more rows * steps than this, so that `plan` may still group as it likes."""


@dataclasses.dataclass(slots=True, eq=False)
class _Waiting:
    """A call in the line of a small model: known by its header, or having passed the boundary already."""

    lane_call: LaneCall
    known: Known | None
    call: Call | None
    arrived: int


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
        for lane_call in arrived:
            known = self._headers.recognise(lane_call.payload)
            try:
                if known is None:
                    call = self._service.accept(lane_call.payload)
                    self._headers.remember(lane_call.payload, call)
                    self._admit(call.served, _Waiting(lane_call, None, call, now))
                else:
                    self._admit(known.header.served, _Waiting(lane_call, known, None, now))
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
        taken = line.take(_BATCH)
        if len(taken) > 1 or not self._run_lone(taken[0]):
            run_all(served.model, self._works(taken))
        if line:
            self._turns.append(served)
        return bool(self._turns)

    def _admit(self, served: Served, waiting: _Waiting) -> None:
        if not _is_small(served):
            for work in self._works([waiting]):
                waiting.lane_call.watch(work.cancel)
                served.scheduler.submit(work)
            return
        line = self._lines.setdefault(served, Line())
        if len(line) >= self._capacity:
            raise QueueFull(f"{served.model.name}: {self._capacity} requests wait already (--max-queue); slow down")
        if not line:
            self._turns.append(served)
        if len(line) < _BATCH:
            line.add(waiting)
        else:
            waiting.lane_call.watch()
            line.add_to_crowd(waiting, waiting.lane_call.peer())

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

    def _works(self, taken: list[_Waiting]) -> list[Work]:
        """Join calls with one header into blocks."""
        works: list[Work] = []
        blocks: dict[Header, list[tuple[_Waiting, Known]]] = {}
        overdue = time.time()
        for waiting in taken:
            known = waiting.known
            if known is None or waiting.lane_call.cancelled or waiting.lane_call.deadline < overdue:
                works += self._single(waiting)
            else:
                blocks.setdefault(known.header, []).append((waiting, known))
        for header, members in blocks.items():
            size = max(1, _BLOCK_POINTS // (header.batch * header.sequence))
            for at in range(0, len(members), size):
                works += self._block(header, members[at : at + size])
        return works

    def _block(self, header: Header, members: list[tuple[_Waiting, Known]]) -> list[Work]:
        known = [known for _, known in members]
        inference = join_known(header, known, allow_non_finite=self._service.limits.allow_non_finite)
        if inference is None:
            return [work for waiting, _ in members for work in self._single(waiting)]
        calls = [waiting.lane_call for waiting, _ in members]

        def answer(answer: Answer) -> None:
            if isinstance(answer, ServeError):
                for call in calls:
                    call.refuse(answer)
            else:
                for call, payload in zip(calls, answers_of(header, known, answer), strict=True):
                    call.answer(payload)

        # No deadline of its own: it is checked for each member before the block is made, and that was just now.
        return [Work(inference, answer, None, len(calls), arrived=members[0][0].arrived)]

    def _single(self, waiting: _Waiting) -> list[Work]:
        """Take a call through the boundary where it has not passed yet; nothing where it does not pass."""
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
        return [Work(call.inference, answer, deadline, 1, lane_call.cancelled, waiting.arrived)]


def _is_small(served: Served) -> bool:
    return served.model.cost.of(64, 64) <= _SMALL
