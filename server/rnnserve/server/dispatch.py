"""From calls that arrived on the lane to their answers.

Calls whose header is known wait as they are; the others pass the boundary first, and leave their header behind. Small
models run on the lane's own thread, a batch of one model at a time: whoever arrives meanwhile is in the next. A large
model runs on its scheduler's thread, so that it delays no other.

What a request costs, in microseconds (`[1, 4, 2]`, logits, hidden 16; onnxruntime 1.32, grpcio 1.85, one core of an AMD
EPYC; gRPC's share from the lane answering a constant in `make bench`, the rest timed step by step in a server under
h2load's 64 requests in flight, or its one):

=====================================  =============  =====
step                                   64 together    alone
=====================================  =============  =====
gRPC: accept, receive, poll, send               22     160
recognise the header                           0.5       3
check and join the data                        0.6       6
onnxruntime                                    1.3      43
cut the answer                                 0.4       8
lines, planning, counting                      0.8      13
=====================================  =============  =====

Alone, every step meets cold caches: in a loop of its own the same run of onnxruntime takes 11. A header that is not
recognised costs some 60 more, for parsing and checking, and 5 for building the response. Alone, gRPC is mostly two
processes waking each other. With hidden 128 and lengths of 1 to 64, onnxruntime takes 40 % of the lane's time, sending
26 % and polling 15 % (py-spy): a response is one system call, which wakes the client.
"""

import functools
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from rnnserve.server.alike import Alike
from rnnserve.server.batching import plan
from rnnserve.server.errors import InternalError, QueueFull, ServeError
from rnnserve.server.headers import Header, Headers
from rnnserve.server.lane import LaneCall
from rnnserve.server.lines import MOST, Line
from rnnserve.server.lone import Lone
from rnnserve.server.model import Model
from rnnserve.server.padded import is_finite, longest_of, run_padded
from rnnserve.server.repository import Served
from rnnserve.server.running import Answer, Work, run_all
from rnnserve.server.service import Call, Service

__all__ = ["Dispatcher", "Request"]

_SMALL = 10e-3
"""A model whose run of 64 rows of 64 steps takes no more seconds than this runs on the lane's own thread."""

_MOST_KEPT = 512
"""For how many headers the ways to run their requests are kept."""


class Request(LaneCall):
    """A call, and what is noted of it while it waits.

    Attributes:
        call: What parsing and the boundary have found; None where its header was known.
        header: What its header means, where that was known.
        id_field: Its id as a field, where its header was known.
        arrived: When it came, on `time.perf_counter_ns`'s clock.
    """

    __slots__ = ("arrived", "call", "header", "id_field")

    call: Call | None
    header: Header
    id_field: bytes
    arrived: int

    @property
    def served(self) -> Served:
        """The model that it asks."""
        return self.header.served if self.call is None else self.call.served

    @property
    def rows(self) -> int:
        """Size of its batch axis."""
        return self.header.batch if self.call is None else self.call.inference.batch

    @property
    def steps(self) -> int:
        """Its longest length, or the size of its sequence axis where its data would have to be looked into."""
        return self.header.sequence if self.call is None else self.call.inference.longest


class Dispatcher:
    """Takes calls, and works at them a batch at a time. For one thread, the lane's."""

    call_type = Request

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
        self._lines: dict[Served, Line[Request]] = {}
        self._turns: deque[Served] = deque()
        allow_non_finite = service.limits.allow_non_finite
        self._lone = _Kept(lambda header: Lone.of(header, allow_non_finite=allow_non_finite))
        self._alike = _Kept(lambda header: Alike(header, allow_non_finite=allow_non_finite))

    def take(self, arrived: list[Request]) -> None:
        """Put calls into their models' lines; answer those at once that cannot be served."""
        if not arrived:
            return
        if self._generation != self._service.repository.generation:
            self._headers.forget()
            self._lone.clear()
            self._alike.clear()
            self._generation = self._service.repository.generation
        now = time.perf_counter_ns()
        for request in arrived:
            request.arrived = now
            request.call = None
        unknown, header = self._headers.note(arrived)
        if header is not None:
            self._admit(header.served, arrived, header.points * len(arrived))
            return
        refused = {request for request in unknown if not self._accept(request)}
        if refused:
            arrived = [request for request in arrived if request not in refused]
        accepted: dict[Served, list[Request]] = {}
        for request in arrived:
            accepted.setdefault(request.served, []).append(request)
        for served, requests in accepted.items():
            self._admit(served, requests, _points_of(requests))

    def work(self) -> bool:
        """Run a batch of the model whose turn it is; return whether more waits."""
        if not self._turns:
            return False
        served = self._turns.popleft()
        line = self._lines[served]
        taken = line.take(served.model.cost)
        if len(taken) > 1 or not self._run_lone(served.model, taken[0]):
            self._run(served.model, taken)
        if line:
            self._turns.append(served)
        return bool(self._turns)

    def _accept(self, request: Request) -> Call | None:
        """Take a request through the boundary, and remember its header; None where it is refused."""
        try:
            request.call = call = self._service.accept(request.payload)
            self._headers.remember(request.payload, call)
        except ServeError as error:
            request.refuse(error)
        except Exception as error:  # noqa: BLE001 - one request's defect is not its neighbours'
            request.refuse(InternalError.hiding(error))
        else:
            return call
        return None

    def _admit(self, served: Served, requests: list[Request], points: int) -> None:
        """Put requests into the line of a small model, or give them to the thread of a large one."""
        line = self._lines.get(served)
        if line is None:
            if not _is_small(served):
                for request in requests:
                    self._submit(served, request)
                return
            line = self._lines[served] = Line()
        if len(requests) == 1 and not self._turns and self._run_lone(served.model, requests[0]):
            return  # nobody waits, so neither did it
        room = self._capacity - len(line)
        if room < len(requests):
            full = QueueFull(f"{served.model.name}: {self._capacity} requests wait already (--max-queue); slow down")
            for request in requests[room:]:
                request.refuse(full)
            requests = requests[:room]
            points = _points_of(requests)
        if not line:
            self._turns.append(served)
        if len(line) + len(requests) <= MOST and not line.is_crowd:
            line.extend(requests, points)
            return
        for request in requests:
            if line.is_crowd:
                request.watch()
                line.add_to_crowd(request, request.peer())
            else:
                line.add(request)

    def _submit(self, served: Served, request: Request) -> None:
        for work in self._work_of(request):
            request.watch(work.cancel)
            try:
                served.scheduler.submit(work)
            except ServeError as error:
                request.refuse(error)

    def _run_lone(self, model: Model, request: Request) -> bool:
        """Run a request that is alone the short way; False where it has to go the usual way."""
        if request.call is not None or request.cancelled or request.deadline < time.time():
            return False
        lone = self._lone[request.header]
        if lone is None:
            return False
        started = time.perf_counter_ns()
        try:
            response = lone.run(request)
        except Exception as error:  # noqa: BLE001 - its caller must hear, and the lane must go on
            model.statistics.failures += 1
            request.refuse(InternalError.hiding(error))
            return True
        if response is None:
            return False
        ended = time.perf_counter_ns()
        request.answer(response)
        model.statistics.record(
            requests=1, rows=request.rows, run_ns=ended - started, wait_ns=started - request.arrived
        )
        return True

    def _run(self, model: Model, taken: list[Request]) -> None:
        """Run what was taken from a model's line: requests with known headers together, the others behind them."""
        now = time.time()
        together = [r for r in taken if r.call is None and not r.cancelled and r.deadline >= now]
        others: list[Request] = []
        if len(together) < len(taken):
            known = set(together)
            others = [request for request in taken if request not in known]
        header = _shared(together)
        if header is not None and not header.has_lengths and len(together) * header.points <= model.cost.max_points:
            others += self._run_together(model, together, header.batch * len(together), self._alike[header].run)
        elif together:
            others += self._run_padded(model, together)
        if others:
            run_all(model, [work for request in others for work in self._work_of(request)])

    def _run_padded(self, model: Model, members: list[Request]) -> list[Request]:
        """Run requests of different kinds in as few batches as pay; return those that have to pass the boundary."""
        lengths = [longest_of(request) for request in members]
        others: list[Request] = []
        if 0 in lengths:
            others = [request for request, longest in zip(members, lengths, strict=True) if not longest]
            members = [request for request, longest in zip(members, lengths, strict=True) if longest]
            lengths = [longest for longest in lengths if longest]
            if not members:
                return others
        rows = [request.header.batch for request in members]
        for group in plan(lengths, rows, model.cost):
            run = functools.partial(
                run_padded,
                model,
                steps=max([lengths[index] for index in group]),
                allow_non_finite=self._service.limits.allow_non_finite,
            )
            used = sum([rows[index] for index in group])
            others += self._run_together(model, [members[index] for index in group], used, run)
        return others

    def _run_together(
        self, model: Model, members: list[Request], rows: int, run: Callable[[list[Request]], list[bytes] | None]
    ) -> list[Request]:
        """Run requests as one batch and answer them; return those that have to pass the boundary instead."""
        started = time.perf_counter_ns()
        statistics = model.statistics
        try:
            responses = run(members)
        except Exception as error:  # noqa: BLE001 - whatever it is, its callers must hear, and the lane must go on
            statistics.failures += len(members)
            hidden = InternalError.hiding(error)
            for request in members:
                request.refuse(hidden)
            return []
        if responses is None:
            finite = [request for request in members if is_finite(request)]
            others = [request for request in members if not is_finite(request)]
            rows = sum([request.header.batch for request in finite])
            return others + self._run_together(model, finite, rows, run) if finite else others
        ended = time.perf_counter_ns()
        for request, response in zip(members, responses, strict=True):
            request.answer(response)
        statistics.record(
            requests=len(members),
            rows=rows,
            run_ns=ended - started,
            wait_ns=started * len(members) - sum([request.arrived for request in members]),
        )
        return []

    def _work_of(self, request: Request) -> list[Work]:
        """Take a request through the boundary where it has not passed yet; no work where it does not pass."""
        call = request.call or self._accept(request)
        if call is None:
            return []

        def answer(answer: Answer) -> None:
            if isinstance(answer, ServeError):
                request.refuse(answer)
            else:
                request.answer(call.respond(answer))

        deadline = time.monotonic() + request.deadline - time.time()
        return [Work(call.inference, answer, deadline, request.cancelled, request.arrived)]


def _is_small(served: Served) -> bool:
    return served.model.cost.of(64, 64) <= _SMALL


def _points_of(requests: list[Request]) -> int:
    return sum([request.rows * request.steps for request in requests])


def _shared(requests: list[Request]) -> Header | None:
    """The header of all of these, where it is known, and one and the same."""
    if not requests or requests[0].call is not None:
        return None
    header = requests[0].header
    others = [request for request in requests if request.call is not None or request.header is not header]
    return None if others else header


T = TypeVar("T")


class _Kept(dict[Header, T]):
    """A way to run requests for each of a bounded number of headers, made when it is first asked for."""

    def __init__(self, make: Callable[[Header], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, header: Header) -> T:
        if len(self) >= _MOST_KEPT:
            self.clear()
        made = self[header] = self._make(header)
        return made
