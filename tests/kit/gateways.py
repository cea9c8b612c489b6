"""The HTTP gateway before a fake server, asked directly or over sockets, and `rnnserve serve` with HTTP beside gRPC."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

import grpc
import pytest
import uvloop

from kit.fakes import Arrays, FakeModel, FakeModels
from kit.served import ServedProcess, served_process
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.application import Application
from rnnserve.web.app.routes import all_routes
from rnnserve.web.commands.web import serve
from rnnserve.web.errors import error_of_status
from rnnserve.web.limits import Limits

LONGEST = 20.0


def walk_model(compute: Callable[[Arrays], Arrays] | None = None, *, continuable: bool = False) -> FakeModel:
    """A model that takes walks and gives their logits, and states. Computes its first input, as "y", by default."""
    state = ("FP32", (("layers * directions", 1), "batch", ("hidden", 2)))
    return FakeModel(
        {"input": ("FP32", ("batch", "sequence", ("features", 2))), "h_0": (*state, {"optional": True})},
        {"logits": ("FP32", ("batch", ("classes", 2))), "h_n": (*state, {"continues_as": "h_0"})},
        compute or (lambda tensors: {"y": next(iter(tensors.values()))}),
        {"continuable": json.dumps(continuable)},
        labels=None,
    )


class _Context:
    """Raises what a fake aborts a call with, as an upstream does."""

    def abort(self, code: grpc.StatusCode, message: str) -> NoReturn:
        raise error_of_status(code, message)


class FakeUpstream:
    """A fake server behind the gateway, called in its loop. Implements `Upstream`.

    Attributes:
        service: The fake; one with a walk model "m" by default.
        answers: By method, what it answers instead of what the fake does, or an error that it raises.
        asked: Every request and what came with it, in order: (method, request, context).
        cancelled: How many calls were cancelled.
    """

    def __init__(self, service: FakeModels | None = None, *, trusts_peer: bool = True) -> None:
        self.service = service or FakeModels({"m": walk_model()})
        self.trusts_peer = trusts_peer
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any, Any]] = []
        self.cancelled = 0

    async def infer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        return await self.call("ModelInfer", request, None, context)

    async def call(self, method: str, request: Any, _: Any, context: Any) -> Any:
        self.asked.append((method, request, context))
        if method in self.answers:
            if isinstance(self.answers[method], Exception):
                raise self.answers[method]
            return self.answers[method]
        answered = getattr(self.service, method)
        if self.service.blocked is None:
            return answered(request, _Context())
        try:
            return await asyncio.to_thread(answered, request, _Context())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def close(self) -> None:
        """Nothing to close."""


class Reply(NamedTuple):
    """An answer of HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json"
        (said,) = [value for name, value in self.json.items() if name == "error"]
        return said


def ask(
    asked: Any,
    path: str,
    body: bytes | None = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    limits: Limits | None = None,
) -> Reply:
    """Ask an application, or one with this server behind it, without sockets."""
    application = asked if isinstance(asked, Application) else Application(asked, all_routes(), limits)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    if body is not None and b"content-length" not in dict(raw):
        raw.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None else "POST"),
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *raw],
        "client": ("127.0.0.1", 50000),
    }
    sent: list[Any] = []
    left = [body or b""]

    async def receive() -> Any:
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    start, *pieces = sent
    return Reply(
        start["status"],
        {name.decode(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(piece.get("body", b"") for piece in pieces),
    )


class _Running(NamedTuple):
    """A gateway that serves on a thread: its application, and how many of its connections are open."""

    application: Application
    loop: asyncio.AbstractEventLoop
    ends: asyncio.Event


@contextlib.contextmanager
def running_front(upstream: Any, limits: Limits | None = None) -> Iterator[tuple[int, Application]]:
    """Serve an application on a free port, by a thread; gives the port and the application."""
    limits = limits or Limits()
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        started: futures.Future[_Running] = futures.Future()

        async def run() -> None:
            application, ends = Application(upstream, all_routes(), limits), asyncio.Event()
            started.set_result(_Running(application, asyncio.get_running_loop(), ends))
            await serve(application, listener, limits, grace=1, ends=ends)

        port = listener.getsockname()[1]
        thread = threading.Thread(target=lambda: uvloop.run(run()), daemon=True)
        thread.start()
        running = started.result(LONGEST)
        try:
            yield port, running.application
        finally:
            running.loop.call_soon_threadsafe(running.ends.set)
            thread.join(LONGEST)
        assert not thread.is_alive()


def exchange(port: int, *pieces: bytes) -> bytes:
    """Send bytes, and give all that is answered until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return rest_of(connection)


def answers_in(said: bytes) -> list[tuple[int, Any]]:
    """The answers in what came, except 100 Continue: status, and JSON or None. uvicorn's own refusals are text."""
    answers = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        size, status = int(fields.get(b"content-length", b"0")), int(lines[0].split()[1])
        body, said = said[:size], said[size:]
        if status == 100:
            continue
        is_json = fields.get(b"content-type") == b"application/json"
        answers.append((status, json.loads(body) if body and is_json else None))
        assert status < 400 or not is_json or list(answers[-1][1]) == ["error", "id"], body
    return answers


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the other end closes, or resets."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            said += piece
    return said


SETTINGS: dict[str, Any] = {"http_port": 0, "model_control": "explicit", "load_model": "*"}


@pytest.fixture(scope="session")
def web_server(repository: Path) -> Iterator[ServedProcess]:
    """The process, which speaks HTTP at its `http_address`."""
    with served_process(repository, **SETTINGS) as process:
        yield process
        assert "Traceback" not in process.log
