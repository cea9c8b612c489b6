"""From calls that arrived together on the lane to their answers, by model."""

import time
from collections.abc import Callable

from rnnserve.server.batching import plan
from rnnserve.server.errors import DeadlinePassed, InternalError, ServeError
from rnnserve.server.lane import LaneCall
from rnnserve.server.repository import Served
from rnnserve.server.scheduler import Answer, Work
from rnnserve.server.service import Call, Service

__all__ = ["Dispatcher"]

_INLINE = 5e-3
"""A model whose batch of 64 rows of 64 steps takes no more seconds than this runs on the lane's own thread."""

_Pair = tuple[LaneCall, Call]


class Dispatcher:
    """Takes calls through the boundary, and runs them: small models here and now, large ones on their own threads."""

    def __init__(self, service: Service) -> None:
        """Answer with a service."""
        self._service = service

    def serve(self, arrived: list[LaneCall]) -> None:
        """See to it that each call is answered."""
        now = time.time()
        by_model: dict[int, tuple[Served, list[_Pair]]] = {}
        for lane_call in arrived:
            if lane_call.deadline < now:
                lane_call.refuse(DeadlinePassed("the deadline passed before the request was run"))
                continue
            try:
                call = self._service.accept(lane_call.payload)
                if _is_small(call.served):
                    by_model.setdefault(id(call.served), (call.served, []))[1].append((lane_call, call))
                else:
                    _queue(lane_call, call, now)
            except ServeError as error:
                lane_call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect is not its neighbours'
                lane_call.refuse(InternalError.hiding(error))
        for served, pairs in by_model.values():
            _run(served, pairs)


def _is_small(served: Served) -> bool:
    cost = served.model.cost
    return cost.run + cost.point * 64 * 64 <= _INLINE


def _run(served: Served, pairs: list[_Pair]) -> None:
    model = served.model
    for group in plan([call.inference for _, call in pairs], model.cost):
        together = [pairs[index] for index in group]
        try:
            answers = model.run([call.inference for _, call in together])
        except Exception as error:  # noqa: BLE001 - its callers must hear, and the other groups must run
            hidden = InternalError.hiding(error)
            for lane_call, _ in together:
                lane_call.refuse(hidden)
            continue
        for (lane_call, call), outputs in zip(together, answers, strict=True):
            lane_call.answer(call.respond(outputs))


def _queue(lane_call: LaneCall, call: Call, now: float) -> None:
    deadline = time.monotonic() + (lane_call.deadline - now)
    work = Work(call.inference, _answering(lane_call, call), deadline)
    lane_call.watch(work.cancel)
    call.submit(work)


def _answering(lane_call: LaneCall, call: Call) -> Callable[[Answer], None]:
    def take(answer: Answer) -> None:
        try:
            if isinstance(answer, ServeError):
                lane_call.refuse(answer)
            else:
                lane_call.answer(call.respond(answer))
        except Exception as error:  # noqa: BLE001 - the model's thread must go on
            lane_call.refuse(InternalError.hiding(error))

    return take
