"""WebSocket streams against a fake server: frames, states, refusals, close codes, limits, and the end."""

import json
import struct
import threading
from contextlib import suppress
from socket import SHUT_RDWR, SO_RCVBUF, SOL_SOCKET, create_connection

import grpc
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_websocket

from kit.fakes import FakeModel, FakeModels
from kit.gateways import FakeUpstream, ask, running_front, walk_model
from kit.waiting import PATIENCE, until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import RestError, error_of_status
from rnnserve.web.limits import Limits


def count(tensors):
    """Sums a walk onto its state, whose second number counts the steps."""
    walk = tensors["input"]
    state = tensors.get("h_0", np.zeros((1, len(walk), 2), "f4")).copy()
    state[0, :, 0] += walk.sum((1, 2))
    state[0, :, 1] += walk.shape[1]
    return {"logits": state[0], "h_n": state}


@pytest.fixture
def upstream():
    return FakeUpstream(FakeModels({"m": walk_model(count, continuable=True), "plain": walk_model(count)}))


@pytest.fixture
def port(upstream):
    with running_front(upstream) as (port, _):
        yield port


def connect(port, path="/v2/models/m/stream", **more):
    return connect_websocket(f"ws://127.0.0.1:{port}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE, **more)


def ask_stream(socket, frame):
    socket.send(frame if isinstance(frame, bytes) else json.dumps(frame))
    said = socket.recv(PATIENCE)
    return said if isinstance(said, bytes) else json.loads(said)


def step(value, **more):
    return {"inputs": {"input": [[value, 0]]}, "outputs": ["logits"], **more}


def logits(answer):
    (output,) = answer["outputs"]
    assert output["name"] == "logits"
    return output["data"]


def test_state_continues_over_frames_and_answers_come_in_order(port):
    with connect(port) as socket:
        for index in range(50):
            socket.send(json.dumps(step(1, id=f"n{index}")))
        answers = [json.loads(socket.recv(PATIENCE)) for _ in range(50)]
    assert [answer["id"] for answer in answers] == [f"n{index}" for index in range(50)]
    assert [logits(answer) for answer in answers] == [[index + 1, index + 1] for index in range(50)]


def test_stream_can_restart_and_end_its_sequence(port):
    with connect(port) as socket, connect(port) as other:
        assert logits(ask_stream(socket, step(1))) == [1, 1]
        assert logits(ask_stream(other, step(5))) == [5, 1]
        assert logits(ask_stream(socket, step(1))) == [2, 2]
        assert logits(ask_stream(socket, step(7, parameters={"sequence_start": True}))) == [7, 1]
        assert logits(ask_stream(other, step(1, parameters={"sequence_end": True}))) == [6, 2]
        assert logits(ask_stream(other, step(1))) == [1, 1]
        answer = ask_stream(socket, step(1, parameters={"sequence_id": "a"}))
        assert answer["status"] == 400
        assert "open a stream for each sequence" in answer["error"]
        assert logits(ask_stream(socket, step(1))) == [8, 2]


def test_frames_are_accepted_in_every_form(port):
    """Without the batch axis, in full, with a state of the client's own, and as bytes."""
    whole = {"name": "input", "datatype": "FP32", "shape": [1, 1, 2], "data": [3, 0]}
    with connect(port) as socket:
        answer = ask_stream(socket, {"inputs": [whole]})
        assert [output["name"] for output in answer["outputs"]] == ["logits", "h_n"]
        state = {"name": "h_0", "datatype": "FP32", "shape": [1, 1, 2], "data": [100, 7]}
        assert logits(ask_stream(socket, {"inputs": [whole, state], "outputs": [{"name": "logits"}]})) == [103, 8]
        assert logits(ask_stream(socket, {"inputs": {"input": [[[1, 0]]]}, "outputs": ["logits"]})) == [104, 9]
        binary = {"name": "input", "datatype": "FP32", "shape": [1, 1, 2], "parameters": {"binary_data_size": 8}}
        head = json.dumps({"inputs": [binary], "outputs": ["logits"]}).encode()
        said = ask_stream(socket, struct.pack("<I", len(head)) + head + np.array([2, 0], "<f4").tobytes())
    (size,) = struct.unpack_from("<I", said)
    (output,) = json.loads(said[4 : 4 + size])["outputs"]
    assert output["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(said[4 + size :], "<f4").tolist() == [106, 10]


def test_refused_frame_changes_neither_state_nor_stream(upstream, port):
    with connect(port) as socket:
        assert logits(ask_stream(socket, step(1))) == [1, 1]
        for wrong, said in (
            ({"inputs": {"inptu": [[1, 0]]}}, '"inptu" is not an input'),
            ({"inputs": {"input": [1, 0]}}, "leave out the batch"),
            ({"inputs": {"input": [[1, 0], [1]]}}, "ragged"),
            ({}, "inputs is missing"),
            (step(1, parameters={"sequence_start": "true"}), "sequence_start must be true or false"),
        ):
            answer = ask_stream(socket, {**wrong, "id": "mine"})
            assert (answer["status"], answer["id"]) == (400, "mine")
            assert said in answer["error"]
        upstream.service.failure = grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full"
        assert ask_stream(socket, step(1)) | {"id": ""} == {"error": "the queue is full", "status": 429, "id": ""}
        upstream.service.failure = None
        assert logits(ask_stream(socket, step(1))) == [2, 2]


class KeptModel(FakeModel):
    """A model whose states the server found, and keeps."""

    def __init__(self):
        properties = {"sequences": "kept", "found_states": '["h"]', "continuable": "false"}
        super().__init__({"input": ("FP32", ("batch", "sequence", ("features", 2)))},
                         {"logits": ("FP32", ("batch", ("classes", 2)))}, count, properties, labels=None)  # fmt: skip


def test_server_side_state_has_a_secret_key_per_connection(upstream, port):
    upstream.service.models["kept"] = KeptModel()
    for _ in range(2):
        with connect(port, "/v2/models/kept/stream") as socket:
            for _ in range(2):
                ask_stream(socket, {**step(1), "parameters": {"sequence_key": "guessed" * 4}})
    asked = [request.parameters for method, request, _ in upstream.asked if method == "ModelInfer"]
    keys = [parameters["sequence_key"].string_param for parameters in asked]
    assert len(set(keys)) == 2
    assert "guessed" * 4 not in keys
    assert [parameters["sequence_start"].bool_param for parameters in asked] == [True, False, True, False]


def test_state_that_the_server_lost_closes_the_stream(upstream, port):
    upstream.service.models["kept"] = KeptModel()
    with connect(port, "/v2/models/kept/stream") as socket:
        ask_stream(socket, step(1))
        upstream.answers["ModelInfer"] = error_of_status(grpc.StatusCode.NOT_FOUND, "no such sequence")
        assert closed_by(socket, json.dumps(step(1)))[0] == 1013


def test_encrypted_state_continues_and_can_be_resumed(upstream, port):
    def answer(number):
        made = pb.ModelInferResponse(model_name="m", model_version="1")
        made.parameters["session"].string_param = f"token {number}"
        return made

    with connect(port) as socket:
        for number, given in enumerate(("sealed", None, None), 1):
            upstream.answers["ModelInfer"] = answer(number)
            parameters = {"session": given} if given else {}
            assert (
                ask_stream(socket, {**step(1), "parameters": parameters})["parameters"]["session"] == f"token {number}"
            )
    with connect(port) as socket:
        ask_stream(socket, {**step(1), "parameters": {"session": "token 3"}})
    asked = [request for method, request, _ in upstream.asked if method == "ModelInfer"]
    assert [each.parameters["session"].string_param for each in asked] == ["sealed", "token 1", "token 2", "token 3"]
    assert all(len(each.inputs) == 1 for each in asked)


def closed_by(socket, frame=None):
    if frame is not None:
        socket.send(frame)
    with pytest.raises(ConnectionClosed) as caught:
        socket.recv(PATIENCE)
    return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.mark.parametrize(
    ("frame", "code", "said"),
    [
        ("{", 1007, "not JSON"),
        ("[1]", 1007, "expected an object"),
        ('{"a": 1, "a": 2}', 1007, "occurs twice"),
        (b"", 1003, "four bytes"),
        (b"\xff\xff\xff\xff{}", 1003, "four bytes"),
        (b"\2\0\0\0[]", 1007, "expected an object"),
        ("x" * 2_000_000, 1009, ""),
    ],
)
def test_invalid_frame_closes_the_stream(frame, code, said):
    with running_front(FakeUpstream(), Limits(max_body_bytes=1 << 20)) as (port, application):
        with connect(port) as socket:
            found, reason = closed_by(socket, frame)
            assert found == code
            assert said in reason
        until(lambda: not application._running and application._budget.held == 0)
        assert len(application.streams) == 0


def refused(port, path="/v2/models/m/stream", **more):
    with pytest.raises(InvalidStatus) as caught, connect(port, path, **more):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]


def test_refused_stream_has_a_status_for_programs_and_a_close_code_for_pages(upstream, port):
    gone = error_of_status(grpc.StatusCode.NOT_FOUND, "no such model")
    upstream.answers["ModelMetadata"] = gone
    assert refused(port) == (404, "no such model")
    assert refused(port, "/v2/models/m/infer")[0] == 404
    assert refused(port, "/nothing")[0] == 404
    with connect(port, origin=f"http://127.0.0.1:{port}") as socket:
        assert closed_by(socket) == (1008, "no such model")
    for status in (503, 504):
        upstream.answers["ModelMetadata"] = RestError(status, "no server")
        with connect(port, origin=f"http://127.0.0.1:{port}") as socket:
            assert closed_by(socket)[0] == 1013


def test_pages_of_other_sites_cannot_open_streams_unless_allowed(upstream):
    limits = Limits(allowed=frozenset({"https://app.example"}))
    with running_front(upstream, limits) as (port, _):
        for origin in ("https://evil.example", "null", "http://["):
            status, said = refused(port, origin=origin)
            assert status == 403
            assert "--allow-host" in said
        assert not upstream.asked
        with connect(port, origin="https://app.example") as socket:
            assert logits(ask_stream(socket, step(1))) == [1, 1]


def test_request_without_an_upgrade_is_426(upstream):
    reply = ask(upstream, "/v2/models/m/stream")
    assert (reply.status, reply.headers["upgrade"]) == (426, "websocket")


def test_token_comes_by_header_or_subprotocol_and_is_checked_again(upstream):
    with running_front(upstream) as (port, _):
        with connect(port, additional_headers={"Authorization": "Bearer a"}) as socket:
            ask_stream(socket, step(1))
        with connect(port, subprotocols=["rnnserve", "rnnserve.token.b"]) as socket:
            assert socket.subprotocol == "rnnserve"
            ask_stream(socket, step(1))
            upstream.answers["ModelInfer"] = error_of_status(grpc.StatusCode.UNAUTHENTICATED, "the token has ended")
            assert closed_by(socket, json.dumps(step(1))) == (1008, "the token has ended")
    brought = [
        dict(context.metadata)["authorization"] for method, _, context in upstream.asked if method == "ModelInfer"
    ]
    assert brought == ["Bearer a", "Bearer b", "Bearer b"]


def test_streams_are_bounded(upstream):
    with running_front(upstream, Limits(max_streams=2)) as (port, application):
        with connect(port), connect(port):
            assert refused(port)[0] == 429
            with connect(port, origin=f"http://127.0.0.1:{port}") as socket:
                assert closed_by(socket)[0] == 1013
        until(lambda: len(application.streams) == 0)
        with connect(port) as socket:
            assert logits(ask_stream(socket, step(1))) == [1, 1]


def test_silent_stream_is_closed():
    with running_front(FakeUpstream(), Limits(stream_idle_seconds=0.3)) as (port, _), connect(port) as socket:
        assert closed_by(socket) == (1000, "the client sent no frame for 0.3 s")


def test_disconnected_client_leaves_no_call(upstream):
    with running_front(upstream) as (port, application):
        with connect(port) as socket:
            upstream.service.blocked = threading.Event()
            socket.send(json.dumps(step(1)))
            until(lambda: upstream.asked[-1][0] == "ModelInfer")
            socket.socket.shutdown(SHUT_RDWR)
            until(lambda: upstream.cancelled == 1)
        upstream.service.blocked.set()
        until(lambda: not application._running and len(application.streams) == 0)


def test_frames_before_the_handshake_ends_close_the_connection(upstream, caplog):
    upstream.service.blocked = threading.Event()
    handshake = (
        b"GET /v2/models/m/stream HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with running_front(upstream) as (port, application), create_connection(("127.0.0.1", port), PATIENCE) as socket:
        socket.sendall(handshake)
        until(lambda: upstream.asked)
        socket.sendall(b"\x83\x80\1\2\3\4")  # an unknown kind of frame
        with suppress(ConnectionResetError):
            assert socket.recv(1) == b""
        upstream.service.blocked.set()
        until(lambda: not application._running)
    assert not caplog.records


def test_shutdown_answers_the_frame_in_flight_and_closes_streams(upstream):
    upstream.service.blocked = gate = threading.Event()
    gate.set()
    with running_front(upstream) as (port, application), connect(port) as idle, connect(port) as busy:
        ask_stream(idle, step(1))
        gate.clear()
        busy.send(json.dumps(step(1)))
        until(lambda: [method for method, *_ in upstream.asked].count("ModelInfer") == 2)
        loop = next(iter(application._running)).task.get_loop()
        loop.call_soon_threadsafe(application.end)
        assert closed_by(idle)[0] == 1001
        gate.set()
        assert logits(json.loads(busy.recv(PATIENCE))) == [1, 1]
        assert closed_by(busy)[0] == 1001


def test_slow_reader_is_disconnected_in_bounded_memory(upstream):
    """Its unread answers stay bounded, because its next frames wait in the connection."""
    with running_front(upstream, Limits(write_seconds=1.0)) as (port, application), connect(port) as socket:
        socket.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        frame = json.dumps({"inputs": {"input": [[1, 0]] * 20_000}, "outputs": ["logits"], "id": "x" * 100_000})

        def flood():
            try:
                for _ in range(10_000):
                    socket.socket.sendall(encoded(frame))
            except OSError:
                pass

        thread = threading.Thread(target=flood)
        thread.start()
        until(lambda: not application._running and len(application.streams) == 0)
        assert len([1 for method, *_ in upstream.asked if method == "ModelInfer"]) < 200
        thread.join(PATIENCE)


def encoded(text):
    """A text frame as a client sends it, with a mask of zeros."""
    data = text.encode()
    return b"\x81\xff" + struct.pack(">Q", len(data)) + bytes(4) + data
