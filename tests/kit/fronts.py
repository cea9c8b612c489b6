"""The HTTP front without a server behind it: a fake one, and the application asked directly or over sockets."""

import asyncio
import contextlib
import functools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import uvicorn
import uvloop

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.application import Application, FrontLimits
from rnnserve.web.app.front_server import FrontServer
from rnnserve.web.app.site import site_routes
from rnnserve.web.http1.connection_table import ConnectionTable
from rnnserve.web.http1.direct_protocol import DirectProtocol, DirectWay
from rnnserve.web.http1.limits import HttpLimits

__all__ = [
    "FakeUpstream",
    "Reply",
    "answers_in",
    "ask",
    "ask_application",
    "exchange",
    "metadata_of",
    "rest_of",
    "running_front",
]

LONGEST = 20.0


def metadata_of(name: str = "m", *, continuable: bool = False) -> pb.ModelMetadataResponse:
    """A model that takes walks and gives their logits, and states."""
    said = pb.ModelMetadataResponse(name=name, versions=["1"], platform="onnxruntime_onnx")
    said.properties["continuable"] = json.dumps(continuable)
    walk = said.inputs.add(name="input", datatype="FP32", shape=[-1, -1, 2])
    walk.parameters["axes"].string_param = "batch, sequence, features"
    state = said.inputs.add(name="h_0", datatype="FP32", shape=[1, -1, 2])
    state.parameters["axes"].string_param = "layers * directions, batch, hidden"
    state.parameters["optional"].bool_param = True
    logits = said.outputs.add(name="logits", datatype="FP32", shape=[-1, 2])
    logits.parameters["axes"].string_param = "batch, classes"
    last = said.outputs.add(name="h_n", datatype="FP32", shape=[1, -1, 2])
    last.parameters["axes"].string_param = "layers * directions, batch, hidden"
    last.parameters["continues_as"].string_param = "h_0"
    return said


class FakeUpstream:
    """Answers each request with its first input as the output "y", unless it is told otherwise.

    Attributes:
        asked: Every request and what came with it, in order: (method, request, context).
        answers: By method, what it answers, or an error that it raises.
        on_infer: Answers inference requests, where it is set.
        cancelled: How many calls were cancelled.
        has_stream: Whether there is a stream for small requests, and with it the direct way.
        streamed: How many requests came on the stream.
    """

    def __init__(self, *, trusts_peer: bool = True, has_stream: bool = True) -> None:
        self.trusts_peer = trusts_peer
        self.has_stream = has_stream
        self.streamed = 0
        self.asked: list[tuple[str, Any, Any]] = []
        self.answers: dict[str, Any] = {"ModelMetadata": metadata_of()}
        self.on_infer: Callable[[pb.ModelInferRequest], Any] | None = None
        self.cancelled = 0

    async def infer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        self.asked.append(("ModelInfer", request, context))
        try:
            if self.on_infer is not None:
                answer = self.on_infer(request)
                return await answer if asyncio.iscoroutine(answer) else answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        first = request.inputs[0]
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        response.outputs.add(name="y", datatype=first.datatype, shape=first.shape)
        response.raw_output_contents.extend(request.raw_input_contents[:1])
        return response

    def stream_for(self, *_: object) -> "FakeStream | None":
        return FakeStream(self) if self.has_stream else None

    async def call(self, method: str, request: Any, answer: Any, context: Any) -> Any:
        self.asked.append((method, request, context))
        said = self.answers.get(method, answer())
        if isinstance(said, Exception):
            raise said
        return said

    async def close(self) -> None:
        """Nothing to close."""


class FakeStream:
    """The stream of a fake upstream: a task for each request, whose answer goes to the waiter."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream
        self._task: asyncio.Task[None] | None = None

    def send(self, request: bytes, context: Any, waiter: Any) -> int:
        self._upstream.streamed += 1
        self._task = asyncio.get_running_loop().create_task(self._answer(request, context, waiter))
        return self._upstream.streamed

    def cancel(self, number: int) -> None:
        assert number
        self._task.cancel()

    async def _answer(self, request: bytes, context: Any, waiter: Any) -> None:
        try:
            response = await self._upstream.infer(pb.ModelInferRequest.FromString(request), context)
        except Exception as error:  # noqa: BLE001 - as it is told
            waiter.failed(error)
        else:
            waiter.answered(response.SerializeToString())


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
    upstream: Any,
    path: str,
    body: bytes | None = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    limits: FrontLimits | None = None,
) -> Reply:
    """Ask an application with this server behind it, without sockets."""
    return ask_application(Application(upstream, site_routes(), limits), path, body, method=method, headers=headers)


def ask_application(
    application: Application,
    path: str,
    body: bytes | None = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """The same of an application that there is."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    if body is not None and b"content-length" not in dict(raw):
        raw.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None else "POST"),
        "path": path,
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


@contextlib.contextmanager
def running_front(
    upstream: Any, http: HttpLimits | None = None, limits: FrontLimits | None = None
) -> Iterator[tuple[int, ConnectionTable]]:
    """Serve an application on a free port, by a thread; gives the port and the connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        table = ConnectionTable(http or HttpLimits())
        application = Application(upstream, site_routes(), limits)
        config = uvicorn.Config(
            application,
            http=functools.partial(DirectProtocol, table=table, way=DirectWay(application.direct)),  # type: ignore[arg-type]  # as in `rnnserve web`
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        server = FrontServer(config, application)
        thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], table
        finally:
            server.should_exit = True
            thread.join(LONGEST)
        assert not thread.is_alive()


def exchange(port: int, *pieces: bytes) -> bytes:
    """Send bytes, and give all that is answered until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return rest_of(connection)


def answers_in(said: bytes) -> list[tuple[int, Any]]:
    """The answers in what came, but 100 Continue: status, and JSON or None. An error is JSON."""
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
        assert is_json or status < 400, head
        answers.append((status, json.loads(body) if body and is_json else None))
        assert status < 400 or list(answers[-1][1]) == ["error", "id"], body
    return answers


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the other end closes, or resets."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            said += piece
    return said
