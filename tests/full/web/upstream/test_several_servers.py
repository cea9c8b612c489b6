"""A front before several servers: each gets requests in turn, a lost one is sent again. A sequence stays with one."""

import asyncio
import contextlib

import grpc
import pytest

from kit.fakes import serving
from kit.session_models import MODELS, FailingModels
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.listed_servers import ListedServers
from rnnserve.web.upstream.upstream import CallContext


def step(sequence=None, **parameters):
    request = pb.ModelInferRequest(model_name="sums", raw_input_contents=[bytes(8)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1, 2])
    if sequence is not None:
        request.parameters["sequence_id"].int64_param = sequence
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    return request


@pytest.fixture
def fakes():
    return [FailingModels(MODELS) for _ in range(3)]


@pytest.fixture
def run(fakes):
    """Runs a coroutine function of an upstream to the three."""
    with contextlib.ExitStack() as stack:
        endpoint = parse_endpoint([stack.enter_context(serving(fake)) for fake in fakes])

        async def with_upstream(go):
            upstream = ListedServers(endpoint, share_sequences=True)
            try:
                for _ in range(200):  # connections are not made at the same moment
                    if all(fake.asked for fake in fakes):
                        break
                    await upstream.infer(step(), CallContext())
                    await asyncio.sleep(0.01)
                for fake in fakes:
                    fake.asked.clear()
                await go(upstream)
            finally:
                await upstream.close()

        yield lambda go: asyncio.run(with_upstream(go))


def test_requests_go_to_each_in_turn_and_are_sent_again(run, fakes):
    async def go(upstream):
        for _ in range(9):
            await upstream.infer(step(), CallContext())
        assert [len(fake.asked) for fake in fakes] == [3, 3, 3]
        fakes[1].failures = [(grpc.StatusCode.UNAVAILABLE, False)] * 3
        for _ in range(9):
            await upstream.infer(step(), CallContext())
        assert not fakes[1].failures
        assert sum(len(fake.asked) for fake in fakes) == 18

    run(go)


def test_requests_of_a_sequence_go_to_one_server_once(run, fakes):
    async def go(upstream):
        for sequence in range(60):
            before = [len(fake.asked) for fake in fakes]
            for _ in range(3):
                await upstream.infer(step(sequence), CallContext())
            assert sorted(len(fake.asked) - n for fake, n in zip(fakes, before, strict=True)) == [0, 0, 3]
        assert all(len(fake.asked) >= 9 for fake in fakes)
        for fake in fakes:
            fake.failures = [(grpc.StatusCode.UNAVAILABLE, False)]
        with pytest.raises(RestError, match="the server is stopping"):
            await upstream.infer(step(7), CallContext())
        assert sorted(len(fake.failures) for fake in fakes) == [0, 1, 1]

    run(go)
