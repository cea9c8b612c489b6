"""Very large bodies are read in a process of its own: what it takes, and that it ends, is not the front's."""

import asyncio
import gzip
import json
import os
import signal
import zlib

import numpy as np
import pytest

from campaigns.drills.wire.resident_memory import resident_bytes
from kit.body_functions import allocate, end_by, fill_and_refuse, process_of, refuse
from kit.fronts import FakeUpstream, ask, metadata_of
from kit.running_processes import is_running
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app import large_bodies
from rnnserve.web.app.large_bodies import VERY_LARGE, read_beside_loop
from rnnserve.web.app.turns import Turns
from rnnserve.web.errors import RestError
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.infer_response import infer_response_pieces, write_infer_response
from rnnserve.web.rest.json_text import parse_object

PATH = "/v2/models/m/infer"
MIB = 1 << 20


def read(size, function, body, *args):
    return asyncio.run(read_beside_loop(size, function, body, *args))


def refused(size, function, body, *args):
    with pytest.raises(RestError) as caught:
        read(size, function, body, *args)
    return caught.value


@pytest.fixture(autouse=True)
def _ended():
    yield
    large_bodies._PROCESS_THREAD.submit(large_bodies._READER._end).result()


def test_only_what_is_very_large_goes_to_the_process():
    body = bytes(3 * MIB)
    assert read(VERY_LARGE - 1, process_of, body) == (os.getpid(), len(body))
    other, size = read(VERY_LARGE, process_of, body)
    assert other != os.getpid()
    assert size == len(body)
    assert read(MIB, process_of, body)[0] == other  # it stays for the next one


def test_it_ends_when_it_has_been_idle(monkeypatch):
    monkeypatch.setattr(large_bodies, "_IDLE_SECONDS", 0.1)

    async def go():
        pid, _ = await read_beside_loop(MIB, process_of, b"")
        while is_running(pid):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(go(), 30))


def test_it_gives_way_to_the_server():
    pid, _ = read(MIB, process_of, b"")
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)


def test_an_error_comes_as_it_is():
    error = refused(MIB, refuse, b"")
    assert (error.status, str(error), error.headers) == (418, "said", {"a": "b"})


@pytest.mark.parametrize(("number", "status"), [(signal.SIGSEGV, 413), (signal.SIGABRT, 413), (signal.SIGKILL, 503)])
def test_its_end_costs_one_request(number, status, caplog):
    error = refused(MIB, end_by, b"", number)
    assert (error.status, "retry-after" in error.headers) == (status, status == 503)
    assert signal.Signals(number).name in caplog.text
    assert read(MIB, process_of, b"abc")[1] == 3


def test_its_memory_has_a_limit():
    most = large_bodies._MEMORY_BYTES + large_bodies._ORJSON_TIMES * MIB
    assert read(MIB, allocate, b"", most // 2) == most // 2
    error = refused(MIB, allocate, b"", most + 32 * MIB)
    assert error.status == 413
    assert "binary tensors" in str(error)
    assert read(MIB, allocate, b"", most // 2) == most // 2


def test_refusals_leave_no_memory_held():
    before, _ = read(VERY_LARGE, process_of, b"")
    for _ in range(20):
        assert "bytes" in str(refused(VERY_LARGE, fill_and_refuse, b"x", 64 << 20))
    pid, _ = read(VERY_LARGE, process_of, b"")
    assert pid == before
    assert resident_bytes(pid) < 256 << 20


def test_its_time_has_a_limit(monkeypatch):
    pid, _ = read(MIB, process_of, b"")
    monkeypatch.setattr(large_bodies, "_READ_SECONDS", 0.5)
    assert refused(MIB, end_by, b"", signal.SIGSTOP).status == 503
    until(lambda: not is_running(pid))


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (b'{"inputs":' + b"[" * 8 * MIB + b"]" * 8 * MIB + b"}", 413, "values"),
        (b'{"inputs":' + b"[" * MIB + b"]" * MIB + b"}", 400, "nested too deeply"),
        (b'{"inputs":[' + b"[]," * 5 * MIB + b"[]]}", 413, "values"),
        (b'{"inputs":[' + b"[0.5,-0.25]," * (16 * MIB // 12) + b"[]]}", 413, "memory"),
        (b'{"inputs":' + b"1" * 2 * MIB + b"}", 400, "digits"),
        (b'{"inputs":[' + b"1," * 2 * MIB + b"}", 400, "not JSON"),
        (b'{"inputs":[' + b"\xff" * 2 * MIB + b"]}", 400, "not UTF-8"),
        (b'{"a":[' + b"NaN," * MIB + b'1],"a":1}', 400, '"a" stands twice'),
    ],
    ids=["depth", "less depth", "empty lists", "small lists", "digits", "no end", "no text", "a name twice"],
)
def test_hostile_json_is_refused_in_words(text, status, said):
    """And takes little of this process: the limit of the other one is what bounds it."""
    reply = ask(FakeUpstream(), PATH, text)
    assert reply.status == status
    assert said in reply.error


def test_nan_in_a_large_body():
    data = [1.5, float("nan"), float("inf"), float("-inf")] * (1 << 17)
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(data)], "data": data}]}).encode()
    reply = ask(FakeUpstream(), PATH, body)
    np.testing.assert_array_equal(np.array(json.loads(reply.body)["outputs"][0]["data"]), np.array(data))


def test_other_bodies_are_read_there_too():
    upstream = FakeUpstream()
    for path in ("/v2/logging", "/v2/models/m/generate"):
        reply = ask(upstream, path, b'{"a":' + b"[" * MIB + b"]" * MIB + b"}")
        assert (reply.status, reply.error) == (400, "the body is JSON that is nested too deeply")


def test_the_steps_of_a_long_sequence_are_made_one_by_one():
    """All of them at once took a kilobyte and 20 microseconds each, of 6 bytes of JSON."""
    asked = []

    def answer(request):
        asked.append(request)
        if len(asked) > 2:
            raise RestError(503, "enough")
        response = pb.ModelInferResponse(model_name="m")
        response.outputs.add(name="h_n", datatype="FP32", shape=[1, 1, 2])
        response.raw_output_contents.append(bytes(8))
        return response

    upstream = FakeUpstream()
    upstream.answers["ModelMetadata"] = metadata_of(continuable=True)
    upstream.on_infer = answer
    walk = b"[0,0]," * (2 * MIB // 6)
    reply = ask(upstream, "/v2/models/m/generate_stream", b'{"input":[%s]}' % walk[:-1])
    assert reply.body.count(b"data: ") == 3
    assert all(len(request.raw_input_contents[0]) == 8 for request in asked)


def large_response(datatype="FP32", count=MIB):
    response = pb.ModelInferResponse(model_name="m", model_version="1", id="i")
    response.parameters["p"].int64_param = 7
    array = np.arange(count)
    values = array % 2 == 0 if datatype == "BOOL" else array.astype("<f4")
    response.outputs.add(name="a", datatype=datatype, shape=[count]).parameters["q"].string_param = "r"
    response.raw_output_contents.append(values.tobytes())
    response.outputs.add(name="b", datatype="BYTES", shape=[2])
    response.raw_output_contents.append(b"\1\0\0\0x\2\0\0\0yz")
    response.outputs.add(name="c", datatype="INT64", shape=[0])
    response.raw_output_contents.append(b"")
    return response


@pytest.mark.parametrize("datatype", ["FP32", "BOOL"])
@pytest.mark.parametrize("count", [0, 1, 65_536, 65_537, 300_000])
def test_pieces_are_the_same_json(datatype, count):
    response = large_response(datatype, count)
    whole, _ = write_infer_response(response, AnswerForm(), "x")
    pieces = list(infer_response_pieces(response, "x"))
    assert b"".join(pieces) == whole
    assert max(map(len, pieces)) < 2 * MIB


@pytest.mark.parametrize(("coding", "unpack"), [("", bytes), ("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_large_answers_come_in_pieces(coding, unpack):
    upstream = FakeUpstream()
    upstream.on_infer = lambda _: large_response()
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}'
    reply = ask(upstream, PATH, body, headers={"Accept-Encoding": coding} if coding else {})
    assert "content-length" not in reply.headers
    assert reply.headers.get("content-encoding", "") == coding
    assert parse_object(unpack(reply.body))["outputs"][0]["data"][-1] == MIB - 1


def test_a_large_answer_without_a_form_in_json_is_refused_before_it_begins():
    response = pb.ModelInferResponse(model_name="m")
    response.outputs.add(name="a", datatype="FP16", shape=[MIB])
    response.raw_output_contents.append(bytes(2 * MIB))
    upstream = FakeUpstream()
    upstream.on_infer = lambda _: response
    reply = ask(upstream, PATH, b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}')
    assert (reply.status, "FP16 has no form in JSON" in reply.error) == (400, True)


def test_turns():
    """In the order in which they come; small ones need none; one that is cancelled leaves its turn to the next."""
    order = []

    async def take(turns, size, name, goes_on):
        async with turns.turn(size):
            order.append(name)
            await goes_on.wait()

    async def go():
        turns, goes_on, later = Turns(3 * MIB), asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(take(turns, 2 * MIB, "first", goes_on))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(take(turns, 2 * MIB, name, later)) for name in ("a", "b", "c")]
        beside = asyncio.create_task(take(turns, 100, "small", later))
        alone = asyncio.create_task(take(turns, 9 * MIB, "alone", later))
        await asyncio.sleep(0)
        assert order == ["first", "small"]
        waiting[1].cancel()
        goes_on.set()
        await first
        await asyncio.sleep(0)
        assert order == ["first", "small", "a"]
        waiting[0].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later.set()
        await asyncio.gather(*waiting, beside, alone, return_exceptions=True)
        assert order == ["first", "small", "a", "c", "alone"]
        await asyncio.wait_for(take(turns, 2 * MIB, "last", later), 10)

    asyncio.run(go())
