"""Very large bodies are read in a process of its own: what it takes, and that it ends, is not the front's."""

import asyncio
import gzip
import json
import os
import signal
import zlib

import numpy as np
import pytest

from kit.body_functions import allocate, end_by, process_of
from kit.fronts import FakeUpstream, ask
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app import large_bodies
from rnnserve.web.app.large_bodies import VERY_LARGE, read_beside_loop
from rnnserve.web.app.turns import Turns
from rnnserve.web.errors import RestError
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.infer_response import write_infer_response

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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGSEGV, 413), (signal.SIGKILL, 503)])
def test_end_of_the_process_costs_one_request(number, status, caplog):
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


def test_hostile_json_is_refused():
    """And takes little of this process: the limit of the other one is what bounds it."""
    tensor = {"name": "input", "datatype": "FP32", "shape": [600_000], "data": [0] * 599_999 + ["x"]}
    for text, status, said in (
        (json.dumps({"inputs": [tensor]}).encode(), 400, "element 599,999 of data"),
        (b'{"inputs":' + b"[" * 8 * MIB + b"]" * 8 * MIB + b"}", 413, "values"),
        (b'{"inputs":' + b"[" * MIB + b"]" * MIB + b"}", 400, "nested too deeply"),
        (b'{"inputs":[' + b"[0.5,-0.25]," * (16 * MIB // 12) + b"[]]}", 413, "memory"),
        (b'{"inputs":' + b"1" * 2 * MIB + b"}", 400, "digits"),
        (b'{"inputs":[' + b"1," * 2 * MIB + b"}", 400, "not JSON"),
        (b'{"a":[' + b"NaN," * MIB + b'1],"a":1}', 400, '"a" stands twice'),
    ):
        reply = ask(FakeUpstream(), PATH, text)
        assert (reply.status, said in reply.error) == (status, True), reply.error


def test_large_answer_comes_in_pieces():
    response = pb.ModelInferResponse(model_name="m", model_version="1", id="i")
    response.outputs.add(name="a", datatype="FP32", shape=[MIB])
    response.raw_output_contents.append(np.arange(MIB, dtype="<f4").tobytes())
    upstream = FakeUpstream()
    upstream.answers["ModelInfer"] = response
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}'
    for coding, unpack in (("", bytes), ("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        reply = ask(upstream, PATH, body, headers={"Accept-Encoding": coding} if coding else {})
        assert "content-length" not in reply.headers
        assert reply.headers.get("content-encoding", "") == coding
        assert unpack(reply.body) == write_infer_response(response, AnswerForm(), "i")[0]


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
