"""From calls that arrived on the lane to their runs: who waits, for how long, and whose turn it is.

Calls whose header is known wait as they are; the others pass the boundary first, and leave their header behind. What
takes little runs on the lane's own thread, a batch of one model at a time: whoever arrives meanwhile is in the next.
Where nobody waits, those that have just come need not either. A large model, or a request that takes long by itself,
runs on the model's own thread, so that it delays no other.

What a request costs, in microseconds (`[1, 4, 2]`, logits, hidden 16; onnxruntime 1.32, grpcio 1.85, one core of an AMD
EPYC; gRPC's share is the lane answering a constant, the rest was timed step by step in a server under h2load's 64
requests in flight, or its one):

=====================================  =============  =====
step                                   64 together    alone
=====================================  =============  =====
gRPC: accept, receive, poll, send             19.4     123
recognise the header                           0.1       1
check and join the data                        0.3       5
onnxruntime                                    1.0      26
cut the answer                                 0.2       4
lines, planning, counting                      0.2      10
=====================================  =============  =====

Every step meets cold caches: in a loop of its own the same run of onnxruntime takes 0.6 a request for 64, and 8 for
one. Each of 64 answers takes 0.4 more than a constant one, for the same reason. A header that is not recognised costs
some 60 more, for parsing and checking, and 5 for building the response. Alone, gRPC is mostly two processes waking each
other. With hidden 128 and lengths of 1 to 64, onnxruntime takes 40 % of the lane's time, sending 26 % and polling 15 %
(py-spy): a response is one system call, which wakes the client.
"""

import time
from collections import deque

from rnnserve.server.errors import InternalError, QueueFull, ServeError
from rnnserve.server.headers import Headers
from rnnserve.server.lines import MOST, Line
from rnnserve.server.repository import Served
from rnnserve.server.requests import Request, points_of
from rnnserve.server.runner import Runner
from rnnserve.server.service import Call, Service

__all__ = ["Dispatcher"]

_SMALL = 10e-3
"""Seconds that a run on the lane's own thread may take, during which it does nothing else. A model whose run of 64 rows
of 64 steps takes more runs on a thread of its own, and so does a request that takes more by itself."""

_PATIENCE = 5e-3
"""Seconds of runs that may wait in a line before it is noted who gives up: noting costs two events more a request."""


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
        self._runner = Runner(self._accept, allow_non_finite=service.limits.allow_non_finite)

    def take(self, arrived: list[Request]) -> None:
        """Put calls into their models' lines; answer those at once that cannot be served."""
        if not arrived:
            return
        if self._generation != self._service.repository.generation:
            self._headers.forget()
            self._runner.forget()
            self._generation = self._service.repository.generation
        now = time.perf_counter_ns()
        if not self._turns and self._run_fresh(arrived, now):
            return
        for request in arrived:
            request.arrived = now
            request.call = None
        refused = {request for request in self._headers.note(arrived) if not self._accept(request)}
        if refused:
            arrived = [request for request in arrived if request not in refused]
        accepted: dict[Served, list[Request]] = {}
        for request in arrived:
            accepted.setdefault(request.served, []).append(request)
        for served, requests in accepted.items():
            self._admit(served, requests)

    def work(self) -> bool:
        """Run a batch of the model whose turn it is; return whether more waits."""
        if not self._turns:
            return False
        served = self._turns.popleft()
        line = self._lines[served]
        taken = line.take(served.model.cost, served.model.cost.points_within(_SMALL))
        if len(taken) > 1 or not self._runner.run_lone(served.model, taken[0]):
            self._runner.run(served.model, taken)
        if line:
            self._turns.append(served)
        return bool(self._turns)

    def _run_fresh(self, arrived: list[Request], now: int) -> bool:
        """Run what has come just now, if nobody waits and it is enough for one run of one kind: most often it is."""
        header = self._headers.shared(arrived)
        if header is None or header.served not in self._lines:
            return False
        cost, count = header.served.model.cost, len(arrived)
        most_points = min(cost.enough(header.sequence), cost.points_within(_SMALL), cost.max_points)
        is_one_run = count <= MOST and count * header.points <= most_points
        return is_one_run and self._runner.run_fresh(header, arrived, now)

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

    def _admit(self, served: Served, requests: list[Request]) -> None:
        """Put requests into their model's line; give those that take long to the model's own thread."""
        cost, points = served.model.cost, points_of(requests)
        line = self._lines.get(served)
        if line is None or points > cost.points_within(_SMALL):
            is_large = line is None and cost.of(64, 64) > _SMALL
            small: list[Request] = []
            for request in requests:
                if is_large or cost.of(request.rows, request.steps) > _SMALL:
                    self._submit(served, request)
                else:
                    small.append(request)
            requests, points = small, points_of(small)
            if not requests:
                return
        if line is None:
            line = self._lines[served] = Line()
        if len(requests) == 1 and not self._turns and self._runner.run_lone(served.model, requests[0]):
            return  # nobody waits, so neither did it
        room = self._capacity - len(line)
        if room < len(requests):
            full = QueueFull(f"{served.model.name}: {self._capacity} requests wait already (--max-queue); slow down")
            for request in requests[room:]:
                request.refuse(full)
            requests = requests[:room]
            points = points_of(requests)
        if not line:
            self._turns.append(served)
        most_points = cost.points_within(_PATIENCE)
        if len(line) + len(requests) <= MOST and not line.is_crowd and line.points + points <= most_points:
            line.extend(requests, points)
            return
        for request in requests:
            if line.is_crowd or line.points > most_points:
                request.watch()
            if line.is_crowd:
                line.add_to_crowd(request, request.peer())
            else:
                line.add(request)

    def _submit(self, served: Served, request: Request) -> None:
        for work in self._runner.work_of(request):
            request.watch(work.cancel)
            try:
                served.scheduler.submit(work)
            except ServeError as error:
                request.refuse(error)
