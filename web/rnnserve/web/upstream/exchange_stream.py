"""Inference over the server's private socket, many requests in a message: what one turn of the loop has read.

A call of gRPC's asyncio API costs 170 microseconds of this process's time, more than all else that is done for a
request (docs/lab/findings.md, "HTTP in Python"). On the stream each message takes that once for all that has collected
while the one before was written.
"""

import asyncio
import contextlib
import itertools
from collections import deque

import grpc

from rnnserve.protos import front_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import FRONT_EXCHANGE, PEER, REQUEST_ID
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.statuses import NO_SERVER_HEADERS, NOT_CONNECTED, error_of_status
from rnnserve.web.upstream.upstream import CallContext, Waiter

__all__ = ["ExchangeStream", "NotTaken"]

_MOST_ENTRIES, _MOST_BYTES = 512, 1 << 20
"""Of one message, about: a larger one would keep the server's thread for milliseconds."""

_LOOK_SECONDS = _END_SECONDS = 1.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}

_BROKEN = "Internal error from Core"
"""What gRPC says in the place of a status where a message could not be written: it has not come, or not yet."""

_Stream = grpc.aio.StreamStreamCall[bytes, bytes]


class NotTaken(Exception):
    """The server has not taken the request: it may be sent again, on another way or to another server.

    Attributes:
        is_unknown: Whether the server does not have the method at all.
    """

    def __init__(self, said: str, *, is_unknown: bool) -> None:
        super().__init__(said)
        self.is_unknown = is_unknown


class ExchangeStream:
    """The stream to one server: opened with the first request, and again after it has ended."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Begin without a stream."""
        self._open: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(FRONT_EXCHANGE)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Waiter, float]] = {}  # until when, on the loop's clock
        self._unsent: deque[front_pb2.FrontRequests.Entry] = deque()
        self._cancelled: list[int] = []
        self._has_work = asyncio.Event()
        self._is_ending = False  # the server has said that it goes: nothing is written to it any more
        self._running: asyncio.Task[None] | None = None

    async def infer(self, request: bytes, context: CallContext) -> pb.ModelInferResponse:
        """Have a request answered.

        Raises:
            NotTaken: If the server has not taken it.
            RestError: With the server's message.
        """
        waiter = _FutureAnswer(asyncio.get_running_loop())
        number = self.send(request, context, waiter)
        try:
            return pb.ModelInferResponse.FromString(await waiter.future)
        except asyncio.CancelledError:
            self.cancel(number)
            raise

    def send(self, request: bytes, context: CallContext, waiter: Waiter) -> int:
        """Send a request, and return its number, by which it can be cancelled. For a callback of the loop.

        Args:
            request: Bytes of a ModelInferRequest.
            context: Metadata and time for it.
            waiter: Waiter for its answer.
        """
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        self._waiting[number] = waiter, loop.time() + context.timeout
        entry = front_pb2.FrontRequests.Entry(number=number, request=request, timeout=context.timeout)
        for key, value in context.metadata:
            if key == PEER:
                entry.peer = value
            elif key == REQUEST_ID:
                entry.request_id = value
            else:
                entry.headers[key] = value
        self._unsent.append(entry)
        self._has_work.set()
        if self._is_ending:
            loop.call_soon(self._keep_unsent)
        if self._running is None:
            self._running = loop.create_task(self._run())
        return number

    def cancel(self, number: int) -> None:
        """Tell the server that the client of a request has gone; its waiter gets no answer."""
        if self._waiting.pop(number, None) is not None:
            self._cancelled.append(number)
            self._has_work.set()

    async def close(self) -> None:
        """End the stream; what waits for an answer is told so."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        """Open a stream, and use it until it ends."""
        try:
            stream, is_taken = self._open(), asyncio.Event()
        except grpc.aio.UsageError as error:  # the channel has been closed since the first request came
            self._end(NotTaken(str(error), is_unknown=False))
            return
        works = (self._write(stream, is_taken), self._read(stream, is_taken), self._look())
        tasks = [writing, *_] = [asyncio.create_task(work) for work in works]
        code, said, is_refused = grpc.StatusCode.CANCELLED, "the HTTP front is ending", False
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writing in done and writing.exception() is None:  # half-closed: what was written is answered
                await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):  # for the case that the stream is not what has ended
                    code, said = await stream.code(), await stream.details() or ""
                    is_refused = not is_taken.is_set()
        finally:
            for task in tasks:
                task.cancel()
            stream.cancel()
            self._end(_error_at_end(code, said, is_refused=is_refused))
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, error: Exception) -> None:
        """Tell all that wait why the stream has ended; the next request opens another."""
        self._running = None
        self._is_ending = False
        self._unsent.clear()
        self._cancelled.clear()
        waiting, self._waiting = self._waiting, {}
        for waiter, _ in waiting.values():
            waiter.failed(error)

    async def _write(self, stream: _Stream, is_taken: asyncio.Event) -> None:
        await is_taken.wait()  # what is written to a server that refuses the stream may hide the refusal
        unsent, has_work = self._unsent, self._has_work
        while True:
            await has_work.wait()
            if self._is_ending:
                await stream.done_writing()
                return
            message = front_pb2.FrontRequests(cancelled=self._cancelled)
            self._cancelled.clear()
            size = 0
            while unsent and len(message.entries) < _MOST_ENTRIES and size < _MOST_BYTES:
                entry = unsent.popleft()
                if entry.number in self._waiting:
                    message.entries.append(entry)
                    size += len(entry.request)
            if not unsent:
                has_work.clear()
            await stream.write(message.SerializeToString())

    async def _read(self, stream: _Stream, is_taken: asyncio.Event) -> None:
        async for message in stream:
            is_taken.set()
            answers = front_pb2.FrontAnswers.FromString(message)
            if answers.is_ending:
                self._is_ending = True
                self._has_work.set()  # so that the writer half-closes
                self._keep_unsent()
            for entry in answers.entries:
                found = self._waiting.pop(entry.number, None)
                if found is None:
                    continue
                if entry.status:
                    found[0].failed(error_of_status(_CODES[entry.status], entry.message, entry.retry_after))
                else:
                    found[0].answered(entry.response)

    def _keep_unsent(self) -> None:
        """Send elsewhere what has not been written to a server that goes."""
        while self._is_ending and self._unsent:
            if (found := self._waiting.pop(self._unsent.popleft().number, None)) is not None:
                found[0].failed(NotTaken("the server is going", is_unknown=False))

    async def _look(self) -> None:
        """End the wait for answers that have not come in time: the server refuses what is late, unless it hangs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = loop.time()
            for number in [number for number, (_, until) in self._waiting.items() if until + _LOOK_SECONDS < now]:
                waiter, _ = self._waiting.pop(number)
                waiter.failed(RestError(504, "the server has not answered in time"))


class _FutureAnswer:
    """Implements `Waiter` for a coroutine."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[bytes] = loop.create_future()

    def answered(self, response: bytes) -> None:
        if not self.future.done():
            self.future.set_result(response)

    def failed(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def _error_at_end(code: grpc.StatusCode, said: str, *, is_refused: bool) -> Exception:
    """What the requests are told that wait when the stream has ended.

    Where the server has ended it well, it has answered all that it took. Nothing is written to a stream that has not
    been taken: gRPC's core refuses those that come when its server has been stopped, with CANCELLED. Where the
    connection broke, it may have taken them, and one of them may be why it has ended: none is sent to another server,
    which it would end, too.
    """
    is_unknown = code is grpc.StatusCode.UNIMPLEMENTED
    if code is grpc.StatusCode.OK or is_refused or is_unknown or said.startswith(NOT_CONNECTED):
        return NotTaken(said, is_unknown=is_unknown)
    if code is grpc.StatusCode.UNAVAILABLE or said.startswith(_BROKEN):
        message = "the server has ended before it answered: whether it has run the request is not known"
        return RestError(503, message, headers=NO_SERVER_HEADERS)
    error = error_of_status(code, said)
    error.is_of_server = False  # it has refused the stream, and told of no request of it
    return error
