"""How requests on the lane are run and answered: alone, alike, or padded together."""

import functools
import time
from collections.abc import Callable

from rnnserve.server.alike import Alike
from rnnserve.server.batching import plan
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.headers import Header
from rnnserve.server.model import Model
from rnnserve.server.padded import is_finite, longest_of, run_padded
from rnnserve.server.requests import Request
from rnnserve.server.running import Answer, Work, run_all
from rnnserve.server.service import Call

__all__ = ["Runner"]

_MOST_KEPT, _MOST_BYTES = 512, 1 << 14
"""For how many headers and numbers of requests the arrays of a run are kept, and how large they may be."""


class Runner:
    """Runs requests of one model at a time, and answers all of them. For one thread, the lane's."""

    def __init__(self, accept: Callable[[Request], Call | None], *, allow_non_finite: bool) -> None:
        """Prepare.

        Args:
            accept: Takes a request through the boundary; None where it is refused.
            allow_non_finite: Let NaN and infinity through.
        """
        self._accept = accept
        self._allow_non_finite = allow_non_finite
        self._kept: dict[tuple[Header, int], Alike] = {}

    def forget(self) -> None:
        """Forget what was kept of headers, as when the models have changed."""
        self._kept.clear()

    def run_lone(self, model: Model, request: Request) -> bool:
        """Run a request that is alone the short way; False where it has to go the usual way."""
        if request.call is not None or request.cancelled or request.deadline < time.time():
            return False
        header = request.header
        return self._answer(model, [request], header.batch, request.arrived, self._alike(header, 1).run)

    def run_fresh(self, header: Header, requests: list[Request], arrived: int) -> bool:
        """Run requests that share a header and have come just now; False where they have to go the usual way.

        Args:
            header: Theirs.
            requests: Without ids; nothing needs to have been noted of them.
            arrived: When they came, on `time.perf_counter_ns`'s clock.
        """
        now, count = time.time(), len(requests)
        if header.has_lengths or [request for request in requests if request.deadline < now]:
            return False
        run = functools.partial(self._alike(header, count).run, has_ids=False)
        return self._answer(header.served.model, requests, count * header.batch, count * arrived, run)

    def run(self, model: Model, taken: list[Request]) -> None:
        """Run what was taken from a model's line: requests with known headers together, the others behind them."""
        header = _shared(taken)
        if header is not None and not header.has_lengths and len(taken) * header.points <= model.cost.max_points:
            others = self._run_together(model, taken, lambda members: self._alike(header, len(members)).run(members))
        else:
            now = time.time()
            known = {r for r in taken if r.call is None and not r.cancelled and r.deadline >= now}
            others = [request for request in taken if request not in known]
            if known:
                others += self._run_padded(model, [request for request in taken if request in known])
        if others:
            run_all(model, [work for request in others for work in self.work_of(request)])

    def work_of(self, request: Request) -> list[Work]:
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

    def _alike(self, header: Header, count: int) -> Alike:
        """What runs as many requests with this header."""
        alike = self._kept.get((header, count))
        if alike is None:
            alike = Alike(header, count, allow_non_finite=self._allow_non_finite)
            if alike.nbytes <= _MOST_BYTES:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[header, count] = alike
        return alike

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
        for group in plan(lengths, [request.header.batch for request in members], model.cost):
            steps = max([lengths[index] for index in group])
            run = functools.partial(run_padded, model, steps=steps, allow_non_finite=self._allow_non_finite)
            others += self._run_together(model, [members[index] for index in group], run)
        return others

    def _run_together(self, model: Model, members: list[Request], run: "_Run") -> list[Request]:
        """Run requests as one batch; return those that are not finite, which have to pass the boundary."""
        rows, arrived = sum([r.header.batch for r in members]), sum([r.arrived for r in members])
        if self._answer(model, members, rows, arrived, run):
            return []
        finite = [request for request in members if is_finite(request)]
        others = [request for request in members if not is_finite(request)]
        return others + self._run_together(model, finite, run) if finite else others

    def _answer(self, model: Model, members: list[Request], rows: int, arrived: int, run: "_Run") -> bool:
        """Run requests as one batch and answer them; False where that takes another way, and none is answered.

        Args:
            model: Theirs.
            members: The requests.
            rows: Sizes of their batch axes, together.
            arrived: When they came, on `time.perf_counter_ns`'s clock, together.
            run: Gives their responses, or None where a value is not plainly valid.
        """
        started = time.perf_counter_ns()
        try:
            responses = run(members)
        except Exception as error:  # noqa: BLE001 - whatever it is, its callers must hear, and the lane must go on
            model.statistics.record_failures(len(members))
            hidden = InternalError.hiding(error)
            for request in members:
                request.refuse(hidden)
            return True
        if responses is None:
            return False
        run_ns, wait_ns = time.perf_counter_ns() - started, started * len(members) - arrived
        model.statistics.record(requests=len(members), rows=rows, run_ns=run_ns, wait_ns=wait_ns)
        for request, response in zip(members, responses, strict=True):
            request.answer(response)
        return True


_Run = Callable[[list[Request]], list[bytes] | None]


def _shared(requests: list[Request]) -> Header | None:
    """The header of all of these, where it is known, one and the same, and all are still to be run."""
    if requests[0].call is not None:
        return None
    header, now = requests[0].header, time.time()
    others = [r for r in requests if r.call is not None or r.header is not header or r.cancelled or r.deadline < now]
    return None if others else header
