"""From calls that arrived together on the lane to their answers.

Calls with a header that is known are joined into blocks; the others pass the boundary one by one, and leave their
header behind. Small models run here and now, on the lane's thread: whoever arrives meanwhile is in the next batch. A
large model runs on its scheduler's thread, so that it delays no other.
"""

import abc
import time

from rnnserve.server.batching import plan
from rnnserve.server.blocks import answers_of, join_payloads
from rnnserve.server.boundary import Array, Inference
from rnnserve.server.errors import DeadlinePassed, InternalError, ServeError
from rnnserve.server.headers import Header, Headers
from rnnserve.server.lane import LaneCall
from rnnserve.server.repository import Served
from rnnserve.server.scheduler import Answer, Work
from rnnserve.server.service import Call, Service

__all__ = ["Dispatcher"]

_SMALL = 5e-3
"""A model whose run of 64 rows of 64 steps takes no more seconds than this runs on the lane's own thread."""

_BLOCK_POINTS = 1 << 14
"""A block has no more rows * steps than this, so that `plan` may still group it as it likes."""


class _Unit(abc.ABC):
    """What is planned and run as one: a request, or a block of them with one header."""

    inference: Inference

    @abc.abstractmethod
    def answer(self, outputs: dict[str, Array]) -> None:
        """Send the outputs to whoever asked."""

    @abc.abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Send an error to whoever asked."""


class _Single(_Unit):
    """A request that has passed the boundary."""

    def __init__(self, lane_call: LaneCall, call: Call) -> None:
        self.inference = call.inference
        self._lane_call = lane_call
        self._call = call

    def answer(self, outputs: dict[str, Array]) -> None:
        self._lane_call.answer(self._call.respond(outputs))

    def refuse(self, error: ServeError) -> None:
        self._lane_call.refuse(error)


class _Block(_Unit):
    """Requests with one header."""

    def __init__(self, lane_calls: list[LaneCall], header: Header, inference: Inference) -> None:
        self.inference = inference
        self._lane_calls = lane_calls
        self._header = header

    def answer(self, outputs: dict[str, Array]) -> None:
        for call, payload in zip(
            self._lane_calls, answers_of(self._header, len(self._lane_calls), outputs), strict=True
        ):
            call.answer(payload)

    def refuse(self, error: ServeError) -> None:
        for call in self._lane_calls:
            call.refuse(error)


class Dispatcher:
    """Takes calls through the boundary, runs them, and answers. For one thread, the lane's."""

    def __init__(self, service: Service) -> None:
        """Answer with a service."""
        self._service = service
        self._headers = Headers()
        self._generation = service.repository.generation

    def serve(self, arrived: list[LaneCall]) -> None:
        """See to it that each call is answered."""
        if self._generation != self._service.repository.generation:
            self._headers.forget()
            self._generation = self._service.repository.generation
        now = time.time()
        blocks: dict[Header, list[LaneCall]] = {}
        units: dict[Served, list[_Unit]] = {}
        for call in arrived:
            if call.deadline < now:
                call.refuse(DeadlinePassed("the deadline passed before the request was run"))
                continue
            header = self._headers.recognise(call.payload)
            if header is None:
                self._take_alone(call, units, now)
            else:
                blocks.setdefault(header, []).append(call)
        for header, calls in blocks.items():
            self._take_block(header, calls, units, now)
        for served, of_model in units.items():
            _run(served, of_model)

    def _take_alone(self, lane_call: LaneCall, units: dict[Served, list[_Unit]], now: float) -> None:
        try:
            call = self._service.accept(lane_call.payload)
            self._headers.remember(lane_call.payload, call)
            self._take(lane_call, _Single(lane_call, call), call.served, units, now)
        except ServeError as error:
            lane_call.refuse(error)
        except Exception as error:  # noqa: BLE001 - one request's defect is not its neighbours'
            lane_call.refuse(InternalError.hiding(error))

    def _take_block(self, header: Header, calls: list[LaneCall], units: dict[Served, list[_Unit]], now: float) -> None:
        size = 1
        if _is_small(header.served):
            size = max(1, _BLOCK_POINTS // (header.batch * header.sequence))
        for at in range(0, len(calls), size):
            part = calls[at : at + size]
            inference = join_payloads(
                header, [call.payload for call in part], allow_non_finite=self._service.limits.allow_non_finite
            )
            if inference is None:
                for call in part:
                    self._take_alone(call, units, now)
            else:
                block = _Block(part, header, inference)
                try:
                    self._take(part[0], block, header.served, units, now)
                except ServeError as error:
                    block.refuse(error)

    def _take(
        self, lane_call: LaneCall, unit: _Unit, served: Served, units: dict[Served, list[_Unit]], now: float
    ) -> None:
        """Keep a unit of a small model to be run here; queue one of a large model, which is one call."""
        if _is_small(served):
            units.setdefault(served, []).append(unit)
            return

        def take(answer: Answer) -> None:
            try:
                if isinstance(answer, ServeError):
                    unit.refuse(answer)
                else:
                    unit.answer(answer)
            except Exception as error:  # noqa: BLE001 - the model's thread must go on
                unit.refuse(InternalError.hiding(error))

        work = Work(unit.inference, take, time.monotonic() + (lane_call.deadline - now))
        lane_call.watch(work.cancel)
        served.scheduler.submit(work)


def _is_small(served: Served) -> bool:
    cost = served.model.cost
    return cost.run + cost.point * 64 * 64 <= _SMALL


def _run(served: Served, units: list[_Unit]) -> None:
    model = served.model
    for group in plan([unit.inference for unit in units], model.cost):
        together = [units[index] for index in group]
        try:
            for unit, outputs in zip(together, model.run([unit.inference for unit in together]), strict=True):
                unit.answer(outputs)
        except Exception as error:  # noqa: BLE001 - its callers must hear, and the other groups must run
            hidden = InternalError.hiding(error)
            for unit in together:
                unit.refuse(hidden)
