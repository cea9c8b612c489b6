"""`/v2/models/{model}[/versions/{version}]/stream`: a WebSocket of inference requests, with responses in order.

There are three ways to keep the state between frames:

- The gateway copies declared states from each response into the next request, so any worker can handle the request.
- Inferred states, which aren't part of the model's interface, stay on the server under a key of the connection.
- If the client requests it, the state travels as an encrypted token.
"""

import asyncio
import dataclasses
import json
import secrets
import struct
from typing import Any

from rnnserve.common.log_lines import new_request_id
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import (
    BATCH,
    SEQUENCE_END,
    SEQUENCE_ID,
    SEQUENCE_KEY,
    SEQUENCE_START,
    SESSION,
)
from rnnserve.web.app.bodies import beside_loop
from rnnserve.web.app.exchange import Answer, Exchange, Scope, Send, StreamClosed
from rnnserve.web.connection import Receive, drained
from rnnserve.web.errors import RestError, bad_request, quoted
from rnnserve.web.rest.infer_request import AnswerForm, read_parsed_request
from rnnserve.web.rest.json_tensors import dump, flatten, parse_object

__all__ = ["Stream", "close_message", "not_upgraded", "open_stream", "refuse_stream"]

_PROTOCOL = "rnnserve"
"""The subprotocol that a page offers together with its token, because pages can't set headers on a WebSocket."""

_TOKEN = "rnnserve.token."  # noqa: S105 - the prefix of a subprotocol name
_REASON_BYTES = 123
_LENGTH = struct.Struct("<I")

_MOST_STATE_BYTES = 4 << 20
"""Bytes of the states of one stream. Beyond it: the frame is refused, and its sequence ends."""


def close_message(closed: StreamClosed) -> dict[str, Any]:
    """Return the ASGI message that closes a stream."""
    reason = str(closed).encode()[:_REASON_BYTES].decode(errors="ignore")
    return {"type": "websocket.close", "code": closed.code, "reason": reason}


async def not_upgraded(exchange: Exchange) -> Answer:  # noqa: ARG001 - a handler
    """Refuse a plain HTTP request to the path of a stream."""
    raise RestError(
        426, "this path accepts only WebSockets (docs/clients/streaming.md)", headers={"upgrade": "websocket"}
    )


@dataclasses.dataclass(slots=True)
class _Sequence:
    """The gateway's record of the stream's sequence."""

    version: str = ""  # the model version that the sequence continues with
    token: str = ""  # the encrypted state, if the client requested it
    states: dict[str, tuple[str, list[int], bytes]] = dataclasses.field(default_factory=dict)  # by input
    is_begun: bool = False  # whether the server has run a frame of it


class Stream:
    """An open stream. It responds to frames until the client or the gateway closes it."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._metadata = pb.ModelMetadataResponse()
        self._states: dict[str, str] = {}  # the input that each output continues as
        self._is_kept = False  # whether the server keeps the states
        self._sequence = _Sequence()
        self._key = secrets.token_hex(16)

    async def accept(self) -> None:
        """Request the model's metadata from the server, then accept the stream."""
        self._metadata = metadata = await self._exchange.metadata()
        properties = metadata.properties
        pairs = {tensor.name: tensor.parameters["continues_as"].string_param for tensor in metadata.outputs}
        if json.loads(properties.get("continuable") or "false"):
            self._states = {output: input_ for output, input_ in pairs.items() if input_}
        has_found = properties.get("sequences") == "kept" and json.loads(properties.get("found_states") or "[]")
        self._is_kept = bool(has_found) and not self._states
        await self._send({"type": "websocket.accept", "subprotocol": _protocol_of(self._exchange.scope)})

    async def run(self, ending: asyncio.Event) -> None:
        """Respond to frames until the client closes the stream. Raises StreamClosed if the gateway has to close it."""
        while True:
            if ending.is_set():
                raise StreamClosed(1001, "the server is shutting down; connect again")
            self._exchange.wait_for_client("idle")
            message = await self._receive()
            self._exchange.phase = ""
            if message["type"] != "websocket.receive":
                return
            text, data = message.get("text"), message.get("bytes") or b""
            answer = await self._answered(data if text is None else text.encode(), is_binary=text is None)
            self._exchange.wait_for_client("writing")
            if text is None:
                await self._send({"type": "websocket.send", "bytes": answer})
            else:
                await self._send({"type": "websocket.send", "text": answer.decode()})
            await drained(self._receive)
            self._exchange.let_go()

    async def _answered(self, frame: bytes, *, is_binary: bool) -> bytes:
        """Return the response to a frame, or an error response with the reason."""
        exchange = self._exchange
        exchange.request_id = new_request_id()
        id_ = ""
        try:
            exchange.hold(len(frame))
            parsed, binary = await self._parsed(frame, is_binary=is_binary)
            if isinstance(parsed.get("id"), str):
                id_ = parsed["id"]
            text, length = await self._computed(parsed, binary, len(frame), is_binary=is_binary)
            return text if not is_binary else _LENGTH.pack(len(text) if length is None else length) + text
        except RestError as error:
            if error.status in (401, 403):
                raise StreamClosed(1008, str(error)) from None
            said: dict[str, object] = {"error": str(error), "status": error.status, "id": id_ or exchange.request_id}
            text = dump(said)
            return text if not is_binary else _LENGTH.pack(len(text)) + text

    async def _parsed(self, frame: bytes, *, is_binary: bool) -> tuple[dict[str, Any], memoryview]:
        """Split a frame into the parsed JSON and the bytes of its tensors."""
        size = len(frame)
        if is_binary:
            size = _LENGTH.unpack_from(frame)[0] if len(frame) >= _LENGTH.size else len(frame) + 1
            if size > len(frame) - _LENGTH.size:
                raise StreamClosed(
                    1003, "a binary frame must hold the size of its JSON in four bytes, then the JSON, then the tensors"
                )
            frame = frame[_LENGTH.size :]
        try:
            return await beside_loop(size, parse_object, frame[:size]), memoryview(frame)[size:]
        except RestError as error:
            if error.status == 413:
                raise
            raise StreamClosed(1007, str(error)) from None

    async def _computed(
        self, parsed: dict[str, Any], binary: memoryview, size: int, *, is_binary: bool
    ) -> tuple[bytes, int | None]:
        exchange = self._exchange
        in_full = self._in_full(parsed)
        names = exchange.parameter("model"), exchange.parameter("version")
        request, form = await beside_loop(size, read_parsed_request, in_full, binary, *names)
        starts, ends = self._taken(request)
        sequence = _Sequence() if starts else self._sequence
        added = self._continue(request, sequence, ends=ends)
        try:
            response = await exchange.upstream.infer(request, exchange.context())
        except RestError as error:
            is_lost = error.status == 404 or (error.status == 503 and not error.is_of_server)
            if self._is_kept and sequence.is_begun and is_lost:
                raise StreamClosed(
                    1013, "the state is lost; connect again, and start the sequence from the beginning"
                ) from None
            raise
        following = _Sequence() if ends else self._next(response, sequence)
        for output in reversed(added):
            at = next(at for at, tensor in enumerate(response.outputs) if tensor.name == output)
            del response.outputs[at], response.raw_output_contents[at]
        if is_binary and not request.outputs:
            form = AnswerForm(others_are_binary=True)
        elif is_binary:
            form = AnswerForm(frozenset(tensor.name for tensor in request.outputs))
        written = await exchange.write(response, form)
        exchange.hold_response(len(written[0]))
        self._sequence = following  # last, so that a client can send a refused frame again
        return written

    def _in_full(self, parsed: dict[str, Any]) -> dict[str, Any]:
        """Expand a request in short form (inputs as an object of lists, outputs as names) to the protocol's form."""
        inputs, outputs = parsed.get("inputs"), parsed.get("outputs")
        if isinstance(inputs, dict):
            parsed = {**parsed, "inputs": [self._tensor(name, value) for name, value in inputs.items()]}
        if isinstance(outputs, list) and all(isinstance(name, str) for name in outputs):
            parsed = {**parsed, "outputs": [{"name": name} for name in outputs]}
        return parsed

    def _tensor(self, name: str, value: object) -> dict[str, Any]:
        tensor = next((tensor for tensor in self._metadata.inputs if tensor.name == name), None)
        if tensor is None:
            takes = ", ".join(f'"{known.name}"' for known in self._metadata.inputs)
            raise bad_request(f"{quoted(name)} is not an input: {self._metadata.name} takes {takes}")
        axes = tensor.parameters["axes"].string_param.split(", ")
        flat, sizes = flatten(value, name) if isinstance(value, list) else ([value], ())
        shape = list(sizes)
        if len(shape) == len(axes) - 1 and BATCH in axes:
            shape.insert(axes.index(BATCH), 1)
        if len(shape) != len(axes):
            raise bad_request(
                f"input {quoted(name)} has the axes ({', '.join(axes)}), but its lists have {len(sizes)}. For one "
                "row, leave out the batch axis, but no other axis"
            )
        return {"name": name, "datatype": tensor.datatype, "shape": shape, "data": flat}

    def _taken(self, request: pb.ModelInferRequest) -> tuple[bool, bool]:
        """Return whether the frame starts and ends the sequence.

        Removes the sequence parameters from the request if the gateway sets them or doesn't need them.
        """
        parameters = request.parameters
        for key in (SEQUENCE_START, SEQUENCE_END):
            if key in parameters and not parameters[key].HasField("bool_param"):
                raise bad_request(f"parameter {key} must be true or false")
        starts, ends = (key in parameters and parameters[key].bool_param for key in (SEQUENCE_START, SEQUENCE_END))
        if self._states or self._is_kept or SESSION in parameters:
            if SEQUENCE_ID in parameters:
                raise bad_request("a stream holds one sequence and no sequence_id; open a stream for each sequence")
            for key in (SEQUENCE_START, SEQUENCE_END, SEQUENCE_KEY):
                if key in parameters:
                    del parameters[key]
        return starts, ends

    def _continue(self, request: pb.ModelInferRequest, sequence: _Sequence, *, ends: bool) -> list[str]:
        """Add the sequence's state to a request. Returns the outputs that only the gateway requests."""
        request.model_version = request.model_version or sequence.version
        if SESSION in request.parameters or sequence.token:
            if SESSION not in request.parameters:
                request.parameters[SESSION].string_param = sequence.token
            return []
        if self._is_kept:
            request.parameters[SEQUENCE_ID].string_param = "stream"
            request.parameters[SEQUENCE_KEY].string_param = self._key
            request.parameters[SEQUENCE_START].bool_param = not sequence.is_begun
            request.parameters[SEQUENCE_END].bool_param = ends
            return []
        given = {tensor.name for tensor in request.inputs}
        if request.raw_input_contents:
            for input_, (datatype, shape, data) in sequence.states.items():
                if input_ not in given:
                    request.inputs.add(name=input_, datatype=datatype, shape=shape)
                    request.raw_input_contents.append(data)
        asked = {tensor.name for tensor in request.outputs}
        added = [output for output in self._states if output not in asked] if asked else []
        for output in added:
            request.outputs.add(name=output)
        return added

    def _next(self, response: pb.ModelInferResponse, sequence: _Sequence) -> _Sequence:
        """Return the sequence with the state from a response, for the next frame."""
        if SESSION in response.parameters:
            return _Sequence(sequence.version, response.parameters[SESSION].string_param, is_begun=True)
        if not self._states:
            return dataclasses.replace(sequence, is_begun=True)
        states = {
            self._states[tensor.name]: (tensor.datatype, list(tensor.shape), data)
            for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True)
            if tensor.name in self._states
        }
        held = sum(len(data) for *_, data in states.values())
        if held > _MOST_STATE_BYTES:
            self._sequence = _Sequence()
            raise bad_request(
                f"the states of the stream take {held:,} bytes; at most {_MOST_STATE_BYTES:,} are allowed. Send "
                "fewer rows, or keep the states in the client"
            )
        return _Sequence(response.model_version, states=sequence.states | states, is_begun=True)


def open_stream(exchange: Exchange, receive: Receive, send: Send) -> Stream:
    """Create a stream without accepting it. A token from a subprotocol becomes the Authorization header."""
    for name in exchange.scope["subprotocols"]:
        if name.startswith(_TOKEN):
            exchange.headers.setdefault(b"authorization", b"Bearer " + name.removeprefix(_TOKEN).encode())
    return Stream(exchange, receive, send)


async def refuse_stream(error: RestError, exchange: Exchange, send: Send, *, is_own_page: bool) -> None:
    """Refuse a stream with an HTTP status, or with a close code if the client is a browser.

    Browsers hide the HTTP status from the page, so the gateway accepts their stream and closes it at once.
    """
    if b"origin" in exchange.headers and is_own_page:
        await send({"type": "websocket.accept", "subprotocol": _protocol_of(exchange.scope)})
        code = 1013 if error.status in (429, 503, 504) else 1011 if error.status == 500 else 1008
        await send(close_message(StreamClosed(code, str(error))))
        return
    body = dump({"error": str(error), "id": exchange.request_id})
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": fields})
    await send({"type": "websocket.http.response.body", "body": body})


def _protocol_of(scope: Scope) -> str | None:
    return _PROTOCOL if _PROTOCOL in scope["subprotocols"] else None
