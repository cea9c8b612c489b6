"""The hot path: sends serialized requests when they are due, and records when the answers arrive.

An open loop follows a fixed schedule and never waits for answers. Latency is measured from the time at which a request
was due. So if the server stalls, the latencies of all delayed requests include the delay. They also include the delay
if the generator falls behind, and the send lag (`sent - due`) shows it.

`grpc.aio` is faster here than `future()` with callbacks: on two cores that also ran the server, one process sent 6,400
to 8,400 requests/s instead of 3,400 to 3,800 (grpcio 1.85).
"""

import asyncio
import ctypes
import enum
import functools
import itertools
import selectors
import sys
import time
import uuid
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from rnnserve.client import InvalidAnswer
from rnnserve.load.answer_checks import AnswerChecker
from rnnserve.load.workload import RequestPool
from rnnserve.protos.inference_pb2 import ModelInferResponse

__all__ = ["LoadGenerator", "RequestSamples", "SendRequest", "Status", "run_precisely"]

T = TypeVar("T")

SendRequest = Callable[[bytes, float], Awaitable[bytes]]
"""Sends one serialized request over one connection, with a timeout in seconds. Returns the serialized answer, or raises
AioRpcError."""

_GoOn = Callable[[ModelInferResponse], bytes]


class Status(enum.IntEnum):
    """Numbers for outcomes that have no gRPC status, and the numbers of two gRPC statuses."""

    NOT_SENT = -2  # the generator was so late that the request's timeout had already passed
    INVALID_ANSWER = -1  # the call succeeded, but its answer lacks outputs for the requested rows
    OK = 0
    DEADLINE_EXCEEDED = 4


_SPIN_NS = 30_000
_SPIN_FRACTION = 0.1
_BURST = 16
_PR_SET_TIMERSLACK = 29


@dataclass
class RequestSamples:
    """The requests so far, in the order in which they ended. The hot path only appends integers.

    `numbers` contains six numbers per request: the times when it was due, sent and done (nanoseconds of the generator's
    clock), its index in the pool, its status, and the number of wrong rows in its answer (-1 if not checked).
    """

    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    names: dict[int, str] = field(default_factory=lambda: {status.value: status.name for status in Status})
    details: dict[int, str] = field(default_factory=dict)  # the server's first message, by status
    started: int = 0  # number of started requests, including the ended ones

    @property
    def ended(self) -> int:
        """Number of ended requests."""
        return len(self.numbers) // 6

    def table(self, first: int = 0) -> npt.NDArray[np.int64]:
        """Return a copy of the numbers, (6, requests) int64, starting with request `first`."""
        return np.array(self.numbers[6 * first :], np.int64).reshape(-1, 6).T


class LoadGenerator:
    """Sends the requests of a pool at one load level. There is one sender per connection, and they take turns.

    Requests are sent in `order` (indices into the pool), repeatedly. `stop_at` is a time of the clock in nanoseconds
    and may be set during the load: from then on, an open loop sends no more requests.
    """

    def __init__(
        self,
        pool: RequestPool,
        senders: Sequence[SendRequest],
        order: npt.NDArray[np.int64],
        timeout: float,
        clock: Callable[[], int] = time.perf_counter_ns,
        checker: AnswerChecker | None = None,
    ) -> None:
        self.samples = RequestSamples()
        self.stop_at = sys.maxsize
        self._pool = pool
        self._senders = senders
        self._order: list[int] = order.tolist()
        self._timeout = timeout
        self._checker = checker or AnswerChecker({})
        self._clock = clock
        self._name = uuid.uuid4().hex[:12]  # prefix of the names of its sessions on the server

    async def open_loop(self, begin: int, schedule: npt.NDArray[np.int64]) -> None:
        """Send each request when it is due, regardless of earlier requests, and wait for the last answer.

        The schedule, (requests,) int64, is in nanoseconds from `begin`. A generator that falls behind sends late. It
        skips requests whose timeout has already passed, so that a load that is too high for it still ends on time.
        """
        clock, unyielded = self._clock, 0
        async with asyncio.TaskGroup() as group:
            for due in (begin + schedule).tolist():
                if due >= self.stop_at:
                    break
                wait = due - clock()
                if wait > _SPIN_NS:
                    await asyncio.sleep((wait - _SPIN_NS) / 1e9)
                    unyielded = 0
                elif unyielded >= _BURST:
                    # Late, or many requests at once: let the event loop write the requests so far to the connection.
                    await asyncio.sleep(0)
                    unyielded = 0
                while clock() < due:
                    pass
                unyielded += 1
                group.create_task(self._send(due))

    async def closed_loop(self, begin: int, *, measure_from: int, end: int, workers: int, max_requests: int) -> bool:
        """Run workers, each of which sends its next request as soon as its last one was answered.

        Together, they send at most `max_requests` from the time `measure_from`, and none from the time `end`. Returns
        whether `max_requests` ended the loop.
        """
        budget = iter(range(max_requests))
        await asyncio.sleep(max(0, begin - self._clock()) / 1e9)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run_worker(measure_from, end, budget)) for _ in range(workers)]
        return any(task.result() for task in tasks)

    async def session_loop(
        self, begin: int, *, measure_from: int, end: int, sessions: int, think: int, max_requests: int
    ) -> bool:
        """Run sessions, each of which waits for a think time (nanoseconds) between an answer and its next step.

        A step is due a think time after the last answer, and its latency is measured from then. After a failure, the
        same step is due again. The sessions begin one after another within the first think time. For the limits and the
        result, see `closed_loop`.
        """
        budget = iter(range(max_requests))
        # A session that polls the clock instead of sleeping delays the others, so sessions poll only if they are few.
        spin = _SPIN_NS if sessions * _SPIN_NS <= think * _SPIN_FRACTION else 0
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self._run_session(
                        number, begin + think * number // sessions, measure_from, end, think, spin, budget
                    )
                )
                for number in range(sessions)
            ]
        return any(task.result() for task in tasks)

    async def _run_session(
        self, number: int, due: int, measure_from: int, end: int, think: int, spin: int, budget: Iterator[int]
    ) -> bool:
        clock, scripts = self._clock, self._pool.scripts
        script = scripts[number % len(scripts)]
        names = (f"{self._name}-{number}-{time}" for time in itertools.count())
        session, step = next(names), 0
        fields = script.begin(session)
        while due < end:
            if due >= measure_from and next(budget, None) is None:
                return True
            wait = due - clock()
            if wait > spin:
                await asyncio.sleep((wait - spin) / 1e9)
            while clock() < due:
                pass
            self.samples.started += 1
            item = script.first + step
            go_on = functools.partial(script.go_on, session, step + 1)
            continued, done = await self._exchange(due, item, self._pool.payloads[item] + fields, number, go_on)
            if continued is not None:
                step, fields = step + 1, continued
            if step == script.steps or (continued is None and script.is_kept_by_server):
                session, step = next(names), 0
                fields = script.begin(session)
            due = done + think
        return False

    async def _run_worker(self, measure_from: int, end: int, budget: Iterator[int]) -> bool:
        while (now := self._clock()) < end:
            if now >= measure_from and next(budget, None) is None:
                return True
            await self._send(now)
        return False

    async def _send(self, due: int) -> None:
        number = self.samples.started
        self.samples.started += 1
        item = self._order[number % len(self._order)]
        await self._exchange(due, item, self._pool.payloads[item], number)

    async def _exchange(
        self, due: int, item: int, payload: bytes, number: int, go_on: _GoOn | None = None
    ) -> tuple[bytes | None, int]:
        """Send a request and record the outcome.

        `number` selects the connection. `go_on` makes the fields of the session's next step from an answer. Returns
        these fields, or None if the session cannot continue, and the time at which the request ended.
        """
        samples = self.samples
        sent = self._clock()
        seconds_left = self._timeout - (sent - due) / 1e9
        if seconds_left <= 0:
            samples.numbers.extend((due, sent, sent, item, Status.NOT_SENT, -1))
            return None, sent
        status, wrong = int(Status.OK), -1
        fields: bytes | None = None
        try:
            answer = await self._senders[number % len(self._senders)](payload, seconds_left)
            done = self._clock()
            if item in self._checker or go_on is not None:
                try:
                    response = ModelInferResponse.FromString(answer)
                    if item in self._checker:
                        counted = self._checker.count_wrong(item, response)
                        wrong = -1 if counted is None else counted
                    if go_on is not None:
                        fields = go_on(response)
                except (DecodeError, InvalidAnswer) as error:
                    status = Status.INVALID_ANSWER
                    samples.details.setdefault(status, str(error) or "not a ModelInferResponse")
        except grpc.aio.AioRpcError as error:
            done = self._clock()
            code = error.code()
            if code is grpc.StatusCode.CANCELLED and done - due >= self._timeout * 1e9:
                # The server resets the stream at its deadline, and the client sees the reset before its own deadline.
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            status, name = code.value[0], code.name
            samples.names[status] = name
            samples.details.setdefault(status, error.details() or "")
        samples.numbers.extend((due, sent, done, item, status, wrong))
        return fields, done


def run_precisely(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop whose sleeps are accurate to tens of microseconds.

    asyncio's default event loop (epoll) waits in whole milliseconds, but `select` in microseconds. On Linux, the kernel
    adds 50 µs to every wait unless the process sets a smaller timer slack.
    """
    if sys.platform == "linux":
        # If the C library refuses, sleeps are 50 µs longer, which the reported send lag shows.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        return runner.run(main)


def _precise_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
