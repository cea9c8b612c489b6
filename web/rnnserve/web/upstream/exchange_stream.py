"""Inference over the server's private socket: one gRPC stream, with many requests in each message.

A call of gRPC's asyncio API takes 170 microseconds of this process's time. This is more than all other work on a
request. On the stream, requests that arrive during a write share the next
message, so they share this cost.
"""

import asyncio
import contextlib
import itertools
from collections import deque

import grpc

from rnnserve.protos import front_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import FRONT_EXCHANGE, PEER, REQUEST_ID
from rnnserve.web.errors import NO_SERVER_HEADERS, NOT_CONNECTED, RestError, error_of_status
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["ExchangeStream", "NotTaken"]

_MOST_ENTRIES, _MOST_BYTES = 512, 1 << 20
"""Approximate maximum of requests and bytes in a message. A larger message would occupy the server's thread for
milliseconds."""

_LOOK_SECONDS = _END_SECONDS = 1.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}

_BROKEN = "Internal error from Core"
"""gRPC's message if a write failed and it has received no status, or hasn't received it yet."""

_Stream = grpc.aio.StreamStreamCall[bytes, bytes]


class NotTaken(Exception):
    """The server hasn't accepted the request, so the caller may send it again.

    If `is_unknown`, the server doesn't have the stream's method.
    """

    def __init__(self, message: str, *, is_unknown: bool) -> None:
        super().__init__(message)
        self.is_unknown = is_unknown


class ExchangeStream:
    """The stream to one server. The first request opens it, and the first request after its end opens a new one."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._open: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(FRONT_EXCHANGE)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.Future[bytes], float]] = {}  # responses, with deadlines in loop time
        self._unsent: deque[tuple[int, bytes, CallContext]] = deque()
        self._cancelled: list[int] = []
        self._has_work = asyncio.Event()
        self._is_ending = False  # the server is shutting down, so send it no more requests
        self._running: asyncio.Task[None] | None = None

    async def infer(self, request: bytes, context: CallContext) -> pb.ModelInferResponse:
        """Send a serialized ModelInferRequest and return the response. Raises NotTaken if the server didn't take it."""
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = future, loop.time() + context.timeout
        self._unsent.append((number, request, context))
        if not self._has_work.is_set():
            self._has_work.set()
        if self._is_ending:
            self._refuse_unsent()
        if self._running is None:
            self._running = loop.create_task(self._run())
        try:
            return pb.ModelInferResponse.FromString(await future)
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is not None:
                self._cancelled.append(number)
                self._has_work.set()
            raise

    async def close(self) -> None:
        """Close the stream. Requests in flight fail."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            stream, is_taken = self._open(), asyncio.Event()
        except grpc.aio.UsageError as error:  # the channel was closed after the request arrived
            self._end(NotTaken(str(error), is_unknown=False))
            return
        works = (self._write(stream, is_taken), self._read(stream, is_taken), self._look())
        tasks = [writing, *_] = [asyncio.create_task(work) for work in works]
        code, said, is_refused = grpc.StatusCode.CANCELLED, "the HTTP gateway is ending", False
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writing in done and writing.exception() is None:  # half-closed: wait for the responses to sent requests
                await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):  # in case a task ended, but not the stream
                    code, said = await stream.code(), await stream.details() or ""
                    is_refused = not is_taken.is_set()
        finally:
            for task in tasks:
                task.cancel()
            stream.cancel()
            self._end(_error_at_end(code, said, is_refused=is_refused))
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, error: Exception) -> None:
        """Fail all requests in flight. The next request opens a new stream."""
        self._running = None
        self._is_ending = False
        self._unsent.clear()
        self._cancelled.clear()
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            _fail(future, error)

    async def _write(self, stream: _Stream, is_taken: asyncio.Event) -> None:
        await is_taken.wait()  # an earlier write could hide the server's refusal of the stream
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
                number, request, context = unsent.popleft()
                if number in self._waiting:
                    entry = message.entries.add(number=number, request=request, timeout=context.timeout)
                    for key, value in context.metadata:
                        if key == PEER:
                            entry.peer = value
                        elif key == REQUEST_ID:
                            entry.request_id = value
                        else:
                            entry.headers[key] = value
                    size += len(request)
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
                self._refuse_unsent()
            for entry in answers.entries:
                found = self._waiting.pop(entry.number, None)
                if found is None:
                    continue
                if entry.status:
                    _fail(found[0], error_of_status(_CODES[entry.status], entry.message, entry.retry_after))
                elif not found[0].done():
                    found[0].set_result(entry.response)

    def _refuse_unsent(self) -> None:
        """Fail unsent requests with NotTaken, so that callers send them to another server."""
        while self._unsent:
            if (found := self._waiting.pop(self._unsent.popleft()[0], None)) is not None:
                _fail(found[0], NotTaken("the server is shutting down", is_unknown=False))

    async def _look(self) -> None:
        """Fail requests that have passed their deadline. A server refuses these requests unless it hangs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = loop.time()
            for number in [number for number, (_, until) in self._waiting.items() if until + _LOOK_SECONDS < now]:
                future, _ = self._waiting.pop(number)
                _fail(future, RestError(504, "the server did not respond in time"))


def _fail(future: "asyncio.Future[bytes]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _error_at_end(code: grpc.StatusCode, said: str, *, is_refused: bool) -> Exception:
    """Make the error for requests in flight when the stream has ended.

    A request is safe to send again in three cases:

    - The stream ended with OK, because the server first answers every request that it accepted.
    - The server refused the stream, because requests are only written to an accepted stream. A stopped gRPC server
      refuses streams with CANCELLED.
    - The connection was never made.

    If the connection broke, the server may have accepted some requests, and a request may have crashed it. Therefore,
    none of these requests is sent to another server.
    """
    is_unknown = code is grpc.StatusCode.UNIMPLEMENTED
    if code is grpc.StatusCode.OK or is_refused or is_unknown or said.startswith(NOT_CONNECTED):
        return NotTaken(said, is_unknown=is_unknown)
    if code is grpc.StatusCode.UNAVAILABLE or said.startswith(_BROKEN):
        message = "the server ended before it responded; the request may have run"
        return RestError(503, message, headers=NO_SERVER_HEADERS)
    error = error_of_status(code, said)
    error.is_of_server = False  # the server ended the stream without counting its requests
    return error
