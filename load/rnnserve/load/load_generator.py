"""The hot path: sends serialized requests when they are due, and records when the answers arrived.

Requests are sent as bytes, and answers arrive as bytes. An answer is read only if it is checked: of a direction
classifier's the logits, of other models' all outputs, which are compared as bytes with an answer that was right. The
code uses `grpc.aio`, which is faster here than `future()` with callbacks of the threaded `grpc`: 6,400 to 8,400
requests/s from one process against 3,400 to 3,800, measured side by side with 16 to 64 requests in flight, with the
server and other programs on the same two cores (grpcio 1.85). On the same machine at rest, this module sends 10,300
requests/s.

An open loop sends by a schedule that was drawn before the load, and never waits for answers. Latency is measured from
the time at which a request was due. A server that stalls is therefore charged for every request that it delays, and a
generator that falls behind is charged too, which `sent - due` shows.

asyncio's default event loop waits in whole milliseconds (epoll), which would delay every request by up to one
millisecond; `run_precisely` waits with `select`, in microseconds. On Linux the kernel adds 50 µs to every wait unless
the process asks it not to.
"""

import asyncio
import ctypes
import functools
import itertools
import selectors
import sys
import time
import uuid
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from rnnserve.client import InvalidAnswer
from rnnserve.load.answer_checks import AnswerChecker
from rnnserve.load.samples import (
    DIFFERENT,
    EQUAL,
    INVALID_ANSWER,
    NOT_COMPARED,
    NOT_SENT,
    OK,
    RequestSamples,
)
from rnnserve.load.workload import RequestPool
from rnnserve.protos.inference_pb2 import ModelInferResponse

__all__ = ["LoadGenerator", "SendRequest", "run_precisely"]

T = TypeVar("T")

SendRequest = Callable[[bytes, float], Awaitable[bytes]]
"""Sends one serialized request over one connection, with a timeout in seconds; returns the serialized answer, or raises
AioRpcError."""

_GoOn = Callable[[ModelInferResponse], bytes]

_SPIN_NS = 30_000
_SPIN_FRACTION = 0.1
_BURST = 16
_PR_SET_TIMERSLACK = 29


class LoadGenerator:
    """Sends the requests of a pool. An object serves for one load level only.

    Attributes:
        samples: What was recorded so far.
        stop_at: Requests that are due at this time of the clock, nanoseconds, or later are not sent. It may be set
            while a loop runs.

    Args:
        pool: The requests.
        senders: One per connection, used in turn.
        order: (any,) int64, indices into the pool: the requests are sent in this order, which repeats.
        timeout: Seconds that a request has from its due time.
        clock: Clock, in nanoseconds; must be the same in all processes.
        checker: The comparison of answers with golden ones; one for all load levels, since it keeps the first answers.
            None to compare nothing.
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
        self._rows: list[int] = pool.rows.tolist()
        self._timeout = timeout
        self._checker = checker or AnswerChecker({})
        self._clock = clock
        self._name = uuid.uuid4().hex[:12]  # of its sessions on the server

    async def open_loop(self, begin: int, schedule: npt.NDArray[np.int64]) -> None:
        """Send each request when it is due, regardless of earlier requests, and wait for the last answer.

        A generator that falls behind sends late. It does not send requests whose timeout has passed already, so that a
        load that is too high for the generator still ends on time.

        Args:
            begin: The clock's time at which the schedule starts, nanoseconds.
            schedule: (requests,) int64, nanoseconds from `begin`, ascending.
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
                    # Late, or many requests at once: let the requests so far reach the connection.
                    await asyncio.sleep(0)
                    unyielded = 0
                while clock() < due:
                    pass
                unyielded += 1
                group.create_task(self._send(due))

    async def closed_loop(self, begin: int, *, measure_from: int, end: int, workers: int, max_requests: int) -> bool:
        """Run workers, each of which sends its next request as soon as its last one was answered.

        Args:
            begin: The clock's time at which the workers start, nanoseconds.
            measure_from: The clock's time at which the warm-up ends, nanoseconds.
            end: The clock's time from which no worker sends any more, nanoseconds.
            workers: Number of workers.
            max_requests: Largest number of requests that the workers send together after the warm-up.

        Returns:
            Whether `max_requests` ended the loop.
        """
        budget = iter(range(max_requests))
        await asyncio.sleep(max(0, begin - self._clock()) / 1e9)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run_worker(measure_from, end, budget)) for _ in range(workers)]
        return any(task.result() for task in tasks)

    async def session_loop(
        self, begin: int, *, measure_from: int, end: int, sessions: int, think: int, max_requests: int
    ) -> bool:
        """Run sessions, each of which sends its next step a think time after the answer to the last one.

        A step is due a think time after the last answer, and its latency is measured from then. After a failure the
        same step is due again. The sessions begin one after another within the first think time.

        Args:
            begin: The clock's time at which the first session starts, nanoseconds.
            measure_from: The clock's time at which the warm-up ends, nanoseconds.
            end: The clock's time from which no step is due any more, nanoseconds.
            sessions: Number of sessions.
            think: Nanoseconds between an answer and the next step.
            max_requests: Largest number of steps that the sessions send together after the warm-up.

        Returns:
            Whether `max_requests` ended the loop.
        """
        budget = iter(range(max_requests))
        # Sessions that look at the clock instead of sleeping keep others waiting: only while they are few.
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
        while due < min(end, self.stop_at):
            if due >= measure_from and next(budget, None) is None:
                return True
            wait = due - clock()
            if wait > spin:
                await asyncio.sleep((wait - spin) / 1e9)
            while clock() < due:
                pass
            self.samples.begun.append(due)
            item = script.first + step
            go_on = functools.partial(script.go_on, session, step + 1)
            continued, done = await self._exchange(due, item, self._pool.payloads[item] + fields, number, go_on)
            if continued is not None:
                step, fields = step + 1, continued
            if step == script.steps or (continued is None and script.begins_anew_after_failure):
                session, step = next(names), 0
                fields = script.begin(session)
            due = done + think
        return False

    async def _run_worker(self, measure_from: int, end: int, budget: Iterator[int]) -> bool:
        while (now := self._clock()) < min(end, self.stop_at):
            if now >= measure_from and next(budget, None) is None:
                return True
            await self._send(now)
        return False

    async def _send(self, due: int) -> None:
        number = len(self.samples.begun)
        self.samples.begun.append(due)
        item = self._order[number % len(self._order)]
        await self._exchange(due, item, self._pool.payloads[item], number)

    async def _exchange(
        self, due: int, item: int, payload: bytes, number: int, go_on: _GoOn | None = None
    ) -> tuple[bytes | None, int]:
        """Send a request and record what became of it.

        Args:
            due: Time at which it was due.
            item: Index in the pool.
            payload: Bytes of the request.
            number: Number that chooses the connection.
            go_on: Function that gives the fields of the session's next step from an answer; None for a request of its
                own.

        Returns:
            The fields with which its session goes on, None if it cannot; and when it ended.
        """
        samples = self.samples
        sent = self._clock()
        seconds_left = self._timeout - (sent - due) / 1e9
        if seconds_left <= 0:
            self._record(due, sent, sent, item, NOT_SENT)
            return None, sent
        status, compared = OK, NOT_COMPARED
        fields: bytes | None = None
        try:
            send = self._senders[number % len(self._senders)]
            answer = await send(payload, seconds_left)
            done = self._clock()
            if item in self._checker:
                status, compared = self._compare(item, answer)
            elif self._pool.expected[item] is not None:
                status = self._keep_logits(item, answer)
            if go_on is not None and status == OK:
                status, fields = self._next_fields(go_on, answer)
        except grpc.aio.AioRpcError as error:
            done = self._clock()
            code = error.code()
            if code is grpc.StatusCode.CANCELLED and done - due >= self._timeout * 1e9:
                # The server resets the stream at its deadline; the client sees the reset before its own deadline.
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            status, name = code.value[0], code.name
            if status not in samples.names:
                samples.names[status] = name
                samples.details[status] = error.details() or ""
        self._record(due, sent, done, item, status, compared)
        return fields, done

    def _record(self, due: int, sent: int, done: int, item: int, status: int, compared: int = NOT_COMPARED) -> None:
        samples = self.samples
        samples.due.append(due)
        samples.sent.append(sent)
        samples.done.append(done)
        samples.item.append(item)
        samples.status.append(status)
        samples.compared.append(compared)

    def _compare(self, item: int, answer: bytes) -> tuple[int, int]:
        """Compare an answer with the golden one; return its status, and whether it agrees."""
        try:
            agrees = self._checker.agrees(item, ModelInferResponse.FromString(answer))
        except (DecodeError, InvalidAnswer) as error:
            return self._invalid(str(error)), NOT_COMPARED
        if agrees is None:
            return OK, NOT_COMPARED
        return OK, EQUAL if agrees else DIFFERENT

    def _next_fields(self, go_on: _GoOn, answer: bytes) -> tuple[int, bytes | None]:
        try:
            return OK, go_on(ModelInferResponse.FromString(answer))
        except (DecodeError, InvalidAnswer) as error:
            return self._invalid(str(error)), None

    def _keep_logits(self, item: int, answer: bytes) -> int:
        """Keep an answer's logits (rows, classes=2) FP32 for the comparison after the load; return its status."""
        try:
            response = ModelInferResponse.FromString(answer)
        except DecodeError as error:
            return self._invalid(f"no ModelInferResponse: {error}")
        raw = response.raw_output_contents
        if raw:
            logits = raw[0]
        elif response.outputs:
            logits = array("f", response.outputs[0].contents.fp32_contents).tobytes()
        else:
            return self._invalid("the answer has no outputs")
        rows = self._rows[item]
        if len(logits) != rows * 8:
            return self._invalid(f"{len(logits)} bytes of logits; expected {rows * 8}, FP32 (batch={rows}, classes=2)")
        self.samples.logits += logits
        return OK

    def _invalid(self, reason: str) -> int:
        self.samples.details.setdefault(INVALID_ANSWER, reason)
        return INVALID_ANSWER


def run_precisely(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop whose sleeps are accurate to some ten microseconds."""
    if sys.platform == "linux":
        # If the C library refuses, sleeps are 50 µs longer, which the reported send lag shows.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        return runner.run(main)


def _precise_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
