"""The hot path: sends serialized requests when they are due, and notes when the answers came.

Requests go out as bytes and answers come back as bytes; of an answer only the logits are read, and only where they will
be checked. Everything is on `grpc.aio`, which does more than `future()` with callbacks of the threaded `grpc`: 6,400 to
8,400 requests/s from one process against 3,400 to 3,800, measured side by side with 16 to 64 in flight, the server and
much else on the same two cores (grpcio 1.85). On the same machine at rest, all that is here makes 10,300.

An open loop sends by a schedule drawn beforehand and never waits for answers. Latency is counted from the time at
which a request was to be sent, so that a server that stalls is charged for every request that it kept waiting, and so
is a generator that falls behind, which `sent - due` shows.

asyncio's usual event loop waits in whole milliseconds (epoll), which would make every request up to one late;
`run_precisely` waits with `select` in microseconds. On Linux the kernel adds 50 µs to every wait unless told not to.
"""

import asyncio
import ctypes
import selectors
import sys
import time
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from rnnserve.client.load.samples import INVALID_ANSWER, NOT_SENT, OK, Samples
from rnnserve.client.load.workload import Pool
from rnnserve.protos.inference_pb2 import ModelInferResponse

__all__ = ["Generator", "Send", "run_precisely"]

T = TypeVar("T")

Send = Callable[[bytes, float], Awaitable[bytes]]
"""Sends one serialized request over one connection, which has so many seconds; returns the serialized answer, or
raises AioRpcError."""

_SPIN_NS = 30_000
_BURST = 16
_PR_SET_TIMERSLACK = 29


class Generator:
    """Sends the requests of a pool; one load, then it is used up.

    Args:
        pool: What to send.
        sends: One for each connection; they take turns.
        order: (any,) int64, indices into the pool: what is sent, in this order, again and again.
        timeout: Seconds that a request has from when it was due.
        clock: Nanoseconds, the same in all processes.
    """

    def __init__(
        self,
        pool: Pool,
        sends: Sequence[Send],
        order: npt.NDArray[np.int64],
        timeout: float,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.samples = Samples()
        self.started = 0
        self._pool = pool
        self._sends = sends
        self._order: list[int] = order.tolist()
        self._rows: list[int] = pool.rows.tolist()
        self._timeout = timeout
        self._clock = clock

    async def open_loop(self, begin: int, schedule: npt.NDArray[np.int64]) -> None:
        """Send each request when it is due, however the earlier ones fare, and wait for the last answer.

        A generator that falls behind sends late; what has run out of time by then it does not send at all, so that a
        load that is too much for it ends when it should.

        Args:
            begin: The clock's time from which the schedule counts.
            schedule: (requests,) int64, nanoseconds, ascending.
        """
        clock, unyielded = self._clock, 0
        async with asyncio.TaskGroup() as group:
            for due in (begin + schedule).tolist():
                wait = due - clock()
                if wait > _SPIN_NS:
                    await asyncio.sleep((wait - _SPIN_NS) / 1e9)
                    unyielded = 0
                elif unyielded >= _BURST:
                    # Behind the schedule, or many at once: let those made so far reach the connection.
                    await asyncio.sleep(0)
                    unyielded = 0
                while clock() < due:
                    pass
                unyielded += 1
                group.create_task(self._one(due))

    async def closed_loop(self, begin: int, counting: int, end: int, *, workers: int, most: int) -> bool:
        """Let workers ask one after the other, each as soon as it was answered.

        Args:
            begin: When they start, by the clock.
            counting: When the warm-up is over.
            end: When none sends any more.
            workers: How many there are.
            most: How many requests they send in all after the warm-up, at most.

        Returns:
            Whether that number ended it.
        """
        left = iter(range(most))
        await asyncio.sleep(max(0, begin - self._clock()) / 1e9)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._worker(counting, end, left)) for _ in range(workers)]
        return any(task.result() for task in tasks)

    async def _worker(self, counting: int, end: int, left: Iterator[int]) -> bool:
        while (now := self._clock()) < end:
            if now >= counting and next(left, None) is None:
                return True
            await self._one(now)
        return False

    async def _one(self, due: int) -> None:
        number = self.started
        self.started += 1
        item = self._order[number % len(self._order)]
        samples = self.samples
        sent = self._clock()
        left = self._timeout - (sent - due) / 1e9
        if left <= 0:
            self._note(due, sent, sent, item, NOT_SENT)
            return
        try:
            answer = await self._sends[number % len(self._sends)](self._pool.payloads[item], left)
            done = self._clock()
            status = OK if self._pool.expected[item] is None else self._keep(item, answer)
        except grpc.aio.AioRpcError as error:
            done = self._clock()
            code = error.code()
            if code is grpc.StatusCode.CANCELLED and done - due >= self._timeout * 1e9:
                # A server resets the stream at its deadline, and the client, a little late, learns of that first.
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            status, name = code.value[0], code.name
            if status not in samples.names:
                samples.names[status] = name
                samples.details[status] = error.details() or ""
        self._note(due, sent, done, item, status)

    def _note(self, due: int, sent: int, done: int, item: int, status: int) -> None:
        samples = self.samples
        samples.due.append(due)
        samples.sent.append(sent)
        samples.done.append(done)
        samples.item.append(item)
        samples.status.append(status)

    def _keep(self, item: int, answer: bytes) -> int:
        """Keep an answer's logits, to be compared when all is over; return the status that the answer deserves."""
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

    def _invalid(self, why: str) -> int:
        self.samples.details.setdefault(INVALID_ANSWER, why)
        return INVALID_ANSWER


def run_precisely(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop whose sleeps end within some ten microseconds."""
    if sys.platform == "linux":
        # Where the C library refuses, sleeps are 50 µs longer, and the lag that is reported says so.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        return runner.run(main)


def _precise_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
